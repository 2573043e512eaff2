//! Clocks, the memory that workers share, and what is known of a stream: the core's `Host`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tollgate::clock::Millis;
use tollgate::seam::store::Store;
use tollgate::seam::store::memory::Memory;
use tollgate::seam::{Host, SignatureCheck};

use crate::abi::{Attribute, Stream};

/// Envoy as the core sees it, in a hook of this stream or of none.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    pub(crate) stream: Option<Stream>,
    pub(crate) memory: &'a Memory,
}

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Host for Here<'_> {
    fn wall(&self) -> Millis {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().into()
    }

    fn monotonic(&self) -> Millis {
        STARTED.elapsed().into()
    }

    fn client_address(&self) -> Option<IpAddr> {
        let address: SocketAddr = self.stream?.text(Attribute::SourceAddress)?.parse().ok()?;
        Some(address.ip())
    }

    fn store(&self) -> &dyn Store {
        self.memory
    }

    fn response_flags(&self) -> Option<u64> {
        let stream = self.stream?;
        // After a retry, an upstream's response still has the flags of the first attempt.
        if stream.text(Attribute::ResponseCodeDetails).as_deref() == Some("via_upstream") {
            return None;
        }
        Some(stream.number(Attribute::ResponseFlags).unwrap_or_default())
    }

    fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool> {
        tollgate_signatures::verify(check)
    }
}

/// What there is for each name of a filter. A new configuration of the same filter goes on with it, as VMs of one id do.
static ALL: LazyLock<Mutex<BTreeMap<Vec<u8>, Memory>>> = LazyLock::new(Mutex::default);

/// The memory that all workers of a filter share.
pub(crate) fn memory_of(name: Vec<u8>) -> Memory {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(name).or_default().clone()
}
