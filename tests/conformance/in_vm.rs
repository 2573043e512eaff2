//! The vectors of the primitives through the plugin's own code; `tests/e2e` runs them through the host's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tollgate::auth::jose::verify::verify;
use tollgate::auth::jose::{Algorithm, Key};

use tollgate::seam::simulated::Simulated;

use crate::primitives;

#[test]
fn every_primitive_accepts_what_it_must_and_nothing_else() {
    let vectors = primitives::all();
    let mut differences = Vec::new();
    let mut accepted = 0;
    for vector in &vectors {
        let key = match vector.jwk["k"].as_str() {
            Some(secret) => Key::from_secret(URL_SAFE_NO_PAD.decode(secret).unwrap(), None),
            None => Key::from_jwk(&vector.jwk),
        };
        let algorithm = Algorithm::from_name(vector.algorithm).unwrap();
        let found = key.is_ok_and(|key| {
            verify(
                &Simulated::default(),
                &key,
                algorithm,
                &vector.message,
                &vector.signature,
            )
        });
        accepted += usize::from(found);
        if found != vector.valid {
            differences.push(format!("{} ({}): accepted is {found}", vector.name, vector.algorithm));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {}:\n{}",
        differences.len(),
        vectors.len(),
        differences.join("\n")
    );
    println!("{} vectors of primitives, {accepted} accepted", vectors.len());
    assert!(accepted > 500, "{accepted}");
}
