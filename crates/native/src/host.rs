//! Clocks, the memory that workers share, and what is known of a stream: the core's `Host`.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tollgate::clock::Millis;
use tollgate::seam::store::Store;
use tollgate::seam::{Host, SignatureCheck};

use crate::abi::{Attribute, Stream};

/// Envoy as the core sees it, in a hook of this stream or of none.
#[derive(Clone, Copy)]
pub(crate) struct Here {
    pub(crate) stream: Option<Stream>,
    pub(crate) shared: &'static Shared,
}

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Host for Here {
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
        self.shared
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

/// A number that cannot be guessed.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The memory that all workers share, in parts with a lock each.
pub(crate) struct Shared {
    parts: [Mutex<Part>; PARTS],
    hasher: RandomState,
}

/// Values with their tickets.
type Part = HashMap<String, (Vec<u8>, u32)>;

/// What there is for each name of a filter. A new configuration of the same filter goes on with it, as VMs of one id do.
static ALL: Mutex<BTreeMap<Vec<u8>, &'static Shared>> = Mutex::new(BTreeMap::new());

const PARTS: usize = 64;

impl Shared {
    /// That of a filter. It stays: names of filters are few.
    pub(crate) fn of(name: Vec<u8>) -> &'static Self {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name).or_insert_with(|| {
            Box::leak(Box::new(Self {
                parts: std::array::from_fn(|_| Mutex::default()),
                hasher: RandomState::new(),
            }))
        })
    }

    fn part(&self, key: &str) -> Option<MutexGuard<'_, Part>> {
        let hash = usize::try_from(self.hasher.hash_one(key)).unwrap_or_default();
        // A poisoned lock is harmless: values are replaced as a whole.
        let part = self.parts.get(hash % PARTS)?;
        Some(part.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for Shared {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.part(key)?.get(key).cloned()
    }

    fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool {
        let Some(mut part) = self.part(key) else { return false };
        match part.get_mut(key) {
            Some((_, current)) if ticket != 0 && ticket != *current => false,
            Some((own, current)) => {
                value.clone_into(own);
                // Zero stands for any.
                *current = current.wrapping_add(1).max(1);
                true
            }
            None => {
                part.insert(key.to_owned(), (value.to_vec(), 1));
                true
            }
        }
    }
}
