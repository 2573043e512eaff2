//! The interface of the host to the core.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use crate::clock::{Millis, Seconds};
use crate::seam::store::Store;

/// The clocks, the client's address, the workers' shared memory and the host's cryptography. The core gets them as an
/// argument.
///
/// Each method may be a call into the host, so the core calls it only if needed.
pub trait Host {
    /// The wall clock, since the epoch.
    fn wall(&self) -> Millis;

    /// The wall clock in whole seconds, since the epoch.
    fn wall_seconds(&self) -> Seconds {
        self.wall().seconds()
    }

    /// The monotonic clock, the same for all workers.
    fn monotonic(&self) -> Millis;

    /// The client address that the host trusts; `None` if it has none, as with a Unix socket.
    fn client_address(&self) -> Option<IpAddr>;

    /// The store that all workers share.
    fn store(&self) -> &dyn Store;

    /// Envoy's response flags, which say why Envoy answers in place of the upstream; `None` for the upstream's own
    /// response.
    fn response_flags(&self) -> Option<u64> {
        None
    }

    /// Verifies a signature with the host's cryptography; `None` if this host cannot, and the core must do it.
    fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool>;
}

/// A signature to verify with a public key that fits the algorithm.
#[derive(Debug, Clone, Copy)]
pub struct SignatureCheck<'a> {
    /// The registered name of the algorithm, as `RS256` (RFC 7518, RFC 8037).
    pub algorithm: &'static str,
    /// The hash function's name, as OpenSSL spells it: `sha256`, `sha384`, `sha512`.
    pub hash: &'static str,
    /// The public key as SubjectPublicKeyInfo (RFC 5280), DER. Ed25519: its 32 bytes (RFC 8032).
    pub public_key: &'a [u8],
    /// What the host has made of this key before, for this algorithm.
    pub prepared: &'a Prepared,
    /// The signed bytes.
    pub message: &'a [u8],
    /// The signature. RSA: as in RFC 8017. ECDSA: `ECDSA-Sig-Value` (RFC 3279), minimal DER. Ed25519: as in RFC 8032.
    pub signature: &'a [u8],
}

/// A place for what a host makes of one public key, as reading a key takes long.
#[derive(Default)]
pub struct Prepared(OnceLock<Box<dyn Any + Send + Sync>>);

impl Prepared {
    /// What was made of the key; `None` if it could not be made.
    pub fn get_or_make<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> Option<T>) -> Option<&T> {
        let made = self.0.get_or_init(|| Box::new(make()));
        made.downcast_ref::<Option<T>>()?.as_ref()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Prepared")
    }
}

/// A simulated host for running the core natively.
#[cfg(not(target_arch = "wasm32"))]
pub mod simulated {
    use std::cell::Cell;
    use std::net::{IpAddr, Ipv4Addr};

    use super::{Host, SignatureCheck};
    use crate::clock::Millis;
    use crate::seam::store::Store;
    use crate::seam::store::memory::Memory;
    use crate::seam::{Context, Locals};

    /// A host whose state only changes by assignment.
    #[derive(Debug)]
    pub struct Simulated {
        /// The time of both clocks, in milliseconds: a plain number, as tests count with it.
        pub now: Cell<u64>,
        /// The client's address.
        pub address: Cell<Option<IpAddr>>,
        /// The result for every signature.
        pub verdict: Cell<Option<bool>>,
        /// The number of signatures verified so far.
        pub asked: Cell<u32>,
        /// Envoy's response flags; `None` for an upstream's own response.
        pub flags: Cell<Option<u64>>,
        /// The workers' store; clones share their content.
        pub store: Memory,
        /// The worker's own state.
        pub locals: Locals,
    }

    impl Simulated {
        /// The context of a callback now.
        pub fn cx(&self) -> Context<'_> {
            Context {
                host: self,
                locals: &self.locals,
            }
        }

        /// The context at another time, in milliseconds.
        pub fn at(&self, millis: u64) -> Context<'_> {
            self.now.set(millis);
            self.cx()
        }
    }

    impl Default for Simulated {
        /// The epoch, loopback, and no cryptography.
        fn default() -> Self {
            Self {
                now: Cell::new(0),
                address: Cell::new(Some(Ipv4Addr::LOCALHOST.into())),
                verdict: Cell::new(None),
                asked: Cell::new(0),
                flags: Cell::new(None),
                store: Memory::default(),
                locals: Locals::default(),
            }
        }
    }

    /// A simulated host with another store.
    pub struct Sharing<'a> {
        /// The host for everything else.
        pub host: &'a Simulated,
        /// The workers' store.
        pub store: &'a dyn Store,
    }

    impl Host for Sharing<'_> {
        fn wall(&self) -> Millis {
            self.host.wall()
        }

        fn monotonic(&self) -> Millis {
            self.host.monotonic()
        }

        fn client_address(&self) -> Option<IpAddr> {
            self.host.client_address()
        }

        fn store(&self) -> &dyn Store {
            self.store
        }

        fn response_flags(&self) -> Option<u64> {
            self.host.response_flags()
        }

        fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool> {
            self.host.verify_signature(check)
        }
    }

    impl Host for Simulated {
        fn wall(&self) -> Millis {
            Millis::new(self.now.get())
        }

        fn monotonic(&self) -> Millis {
            Millis::new(self.now.get())
        }

        fn client_address(&self) -> Option<IpAddr> {
            self.address.get()
        }

        fn store(&self) -> &dyn Store {
            &self.store
        }

        fn response_flags(&self) -> Option<u64> {
            self.flags.get()
        }

        fn verify_signature(&self, _: &SignatureCheck<'_>) -> Option<bool> {
            self.asked.set(self.asked.get().saturating_add(1));
            self.verdict.get()
        }
    }
}
