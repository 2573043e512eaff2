//! The host's clock, addresses, shared memory and cryptography.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::abi;
use crate::clock::Millis;
use crate::seam::store::Store;
use crate::seam::{Host, SignatureCheck};

/// Envoy as the core's [`Host`] and [`Store`].
#[derive(Debug)]
pub struct Envoy;

/// Begins a callback. Within one, the clock is read at most once.
pub(super) fn begin_callback() {
    MONOTONIC.set(None);
}

/// Compares the clocks. Between two ticks, the wall clock is the monotonic one plus the difference.
pub(super) fn set_clock() {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    AHEAD.set(Millis::from(elapsed).get().wrapping_sub(monotonic().get()));
}

/// The wall clock, since the epoch.
fn wall() -> Millis {
    Millis::new(monotonic().get().wrapping_add(AHEAD.get()))
}

fn monotonic() -> Millis {
    let read = || Millis::new(abi::monotonic_nanos() / 1_000_000);
    let now = MONOTONIC.get().unwrap_or_else(read);
    MONOTONIC.set(Some(now));
    now
}

thread_local! {
    /// The monotonic clock in this callback, once it was read.
    static MONOTONIC: Cell<Option<Millis>> = const { Cell::new(None) };

    /// By how much the wall clock is ahead of the monotonic one, in milliseconds. It wraps around: behind is far ahead.
    static AHEAD: Cell<u64> = const { Cell::new(0) };
}

impl Store for Envoy {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        abi::shared_data(key)
    }

    fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool {
        abi::set_shared_data(key, value, ticket).is_ok()
    }
}

impl Host for Envoy {
    fn wall(&self) -> Millis {
        wall()
    }

    fn monotonic(&self) -> Millis {
        monotonic()
    }

    fn client_address(&self) -> Option<IpAddr> {
        // The address has a port, and IPv6 is in brackets.
        let address = String::from_utf8(abi::property(&["source", "address"])?).ok()?;
        let address: SocketAddr = address.parse().ok()?;
        Some(address.ip())
    }

    fn store(&self) -> &dyn Store {
        self
    }

    fn response_flags(&self) -> Option<u64> {
        // After a retry, an upstream's response still has the flags of the first attempt.
        if abi::property(&["response", "code_details"]).is_some_and(|details| details == b"via_upstream") {
            return None;
        }
        let flags = abi::property(&["response", "flags"]);
        let flags = flags.and_then(|flags| flags.first_chunk().copied());
        Some(flags.map(u64::from_le_bytes).unwrap_or_default())
    }

    fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool> {
        // `verify_signature` knows no RSASSA-PSS and no Ed25519.
        let has_it = check.algorithm.starts_with("RS") || check.algorithm.starts_with("ES");
        if LACKING.get() || !has_it {
            return None;
        }
        let arguments = Arguments {
            hash: check.hash.into(),
            public_key: check.public_key.into(),
            signature: check.signature.into(),
            text: check.message.into(),
        };
        match abi::call("verify_signature", &arguments.encode_to_vec()) {
            Ok(result) => Some(Outcome::decode(result.as_slice()).is_ok_and(|outcome| outcome.verified)),
            Err(error) => {
                log::warn!(
                    "this host cannot verify signatures (status {}): the plugin verifies them itself, which is slower",
                    error.0
                );
                LACKING.set(true);
                None
            }
        }
    }
}

/// Envoy's `envoy.source.extensions.common.wasm.VerifySignatureArguments`.
#[derive(Clone, PartialEq, Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

/// Envoy's `VerifySignatureResult`.
#[derive(Clone, PartialEq, Message)]
struct Outcome {
    #[prost(bool, tag = "1")]
    verified: bool,
}

thread_local! {
    /// Whether a call has failed, which means that the host does not have the function.
    static LACKING: Cell<bool> = const { Cell::new(false) };
}
