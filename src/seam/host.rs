//! What the core may ask of its host.

use std::net::IpAddr;

use crate::seam::store::Store;

/// The clock, the client's address, the workers' shared memory and the host's cryptography, as arguments: the core itself
/// has none of them.
///
/// Each call may be a call into the host, so the core asks only when the answer decides something.
pub trait Host {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_millis(&self) -> u64;

    /// Seconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> u64 {
        self.now_millis() / 1000
    }

    /// Milliseconds of a clock that never goes back, the same for all workers.
    fn monotonic_millis(&self) -> u64;

    /// The address that the host trusts to be the client's; `None` where it has none, as behind a Unix socket.
    fn client_address(&self) -> Option<IpAddr>;

    /// What all workers share.
    fn store(&self) -> &dyn Store;

    /// Why Envoy answers in an upstream's place, as its response flags have it; `None` for a response of an upstream's own.
    fn response_flags(&self) -> Option<u64> {
        None
    }

    /// Verifies a signature outside the core. `None`: this host cannot, and the core computes it itself.
    fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool>;
}

/// An RSASSA-PKCS1-v1_5 or ECDSA signature to verify.
#[derive(Debug, Clone, Copy)]
pub struct SignatureCheck<'a> {
    /// The hash function's name, as OpenSSL spells it: `sha256`, `sha384`, `sha512`.
    pub hash: &'static str,
    /// The public key as SubjectPublicKeyInfo (RFC 5280), DER.
    pub public_key: &'a [u8],
    /// The signed bytes.
    pub message: &'a [u8],
    /// RSA: as in RFC 8017. ECDSA: `ECDSA-Sig-Value` (RFC 3279), minimal DER.
    pub signature: &'a [u8],
}

/// A host to run the core natively, which is told everything.
#[cfg(not(target_arch = "wasm32"))]
pub mod simulated {
    use std::cell::Cell;
    use std::net::{IpAddr, Ipv4Addr};

    use super::{Host, SignatureCheck};
    use crate::seam::store::Store;
    use crate::seam::store::memory::Memory;
    use crate::seam::{Context, Locals};

    /// Everything in it stands still until it is changed.
    #[derive(Debug)]
    pub struct Simulated {
        /// Milliseconds since the epoch, and of the clock that never goes back.
        pub now: Cell<u64>,
        /// Where requests come from.
        pub address: Cell<Option<IpAddr>>,
        /// What it says of every signature.
        pub verdict: Cell<Option<bool>>,
        /// How many signatures it was asked about.
        pub asked: Cell<u32>,
        /// Envoy's response flags; `None` for a response of an upstream's own.
        pub flags: Cell<Option<u64>>,
        /// What workers share; clones of it are the same.
        pub store: Memory,
        /// What its worker remembers.
        pub locals: Locals,
    }

    impl Simulated {
        /// The surroundings of a callback now.
        pub fn cx(&self) -> Context<'_> {
            Context {
                host: self,
                locals: &self.locals,
            }
        }

        /// The same at another moment, in milliseconds.
        pub fn at(&self, now: u64) -> Context<'_> {
            self.now.set(now);
            self.cx()
        }
    }

    impl Default for Simulated {
        /// 1970, loopback, and no cryptography of its own.
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

    /// A simulated host with other shared memory than its own.
    pub struct Sharing<'a> {
        /// What it is in all else.
        pub host: &'a Simulated,
        /// What its workers share.
        pub store: &'a dyn Store,
    }

    impl Host for Sharing<'_> {
        fn now_millis(&self) -> u64 {
            self.host.now_millis()
        }

        fn monotonic_millis(&self) -> u64 {
            self.host.monotonic_millis()
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
        fn now_millis(&self) -> u64 {
            self.now.get()
        }

        fn monotonic_millis(&self) -> u64 {
            self.now.get()
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
