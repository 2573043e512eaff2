//! Any bytes as a token, as a key and as a payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::auth::jose::{Jws, KeySet};
use tollgate::json;

fuzz_target!(|bytes: &[u8]| {
    let _ = Jws::parse(bytes);
    if let Ok(document) = json::parse(bytes) {
        let _ = KeySet::from_jwks(&document);
    }
});
