//! The vectors of the primitives through the native library.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test may fail by panicking"
)]

use std::cell::Cell;
use std::net::IpAddr;

use tollgate::auth::jose::verify::verify;
use tollgate::auth::jose::{Algorithm, Key};
use tollgate::clock::Millis;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::store::Store;
use tollgate::seam::{Host, SignatureCheck};

#[path = "../../../tests/conformance/primitives.rs"]
mod primitives;

/// A host with the native library, which counts what it verifies.
#[derive(Default)]
struct Native {
    simulated: Simulated,
    asked: Cell<u32>,
}

impl Host for Native {
    fn wall(&self) -> Millis {
        self.simulated.wall()
    }

    fn monotonic(&self) -> Millis {
        self.simulated.monotonic()
    }

    fn client_address(&self) -> Option<IpAddr> {
        None
    }

    fn store(&self) -> &dyn Store {
        &self.simulated.store
    }

    fn verify_signature(&self, check: &SignatureCheck<'_>) -> Option<bool> {
        self.asked.set(self.asked.get() + 1);
        tollgate_signatures::verify(check)
    }
}

#[test]
fn the_library_accepts_what_it_must_and_nothing_else() {
    let vectors = primitives::all();
    let mut differences = Vec::new();
    let (mut seen, mut accepted, mut asked) = (0, 0, 0);
    for vector in vectors.iter().filter(|vector| !vector.algorithm.starts_with("HS")) {
        let host = Native::default();
        let algorithm = Algorithm::from_name(vector.algorithm).unwrap();
        let verified = |key: &Key| verify(&host, key, algorithm, &vector.message, &vector.signature);
        let key = Key::from_jwk(&vector.jwk);
        // The second time, the key is prepared.
        let found = key.is_ok_and(|key| {
            let found = verified(&key);
            assert_eq!(verified(&key), found, "{}", vector.name);
            found
        });
        seen += 1;
        accepted += usize::from(found);
        asked += host.asked.get();
        if found != vector.valid || found && host.asked.get() != 2 {
            differences.push(format!("{} ({}): accepted is {found}", vector.name, vector.algorithm));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {seen}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    println!("{seen} vectors, {accepted} accepted, the library asked {asked} times");
    assert!(accepted > 500, "{accepted}");
}
