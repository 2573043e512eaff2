//! API keys for tests and measurements: minted, hashed and described as an operator would.

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::Rng as _;
use serde_json::{Value, json};
use sha2::Sha256;
use tollgate::auth::api_key::{Format, Minted};

/// The environment variable of the secret, and its value.
pub const SECRET: (&str, &str) = ("TOLLGATE_KEY_SECRET", "the-secret-of-the-tests-0123456789abcdef");

/// A new key of the default format.
pub fn mint() -> Minted {
    let mut random = rand::rng();
    let format = Format::new("tg", "live", false).expect("a format");
    format.mint(|| random.next_u32() as u8)
}

/// The hash of a key with this secret, under this name.
pub fn hash(name: &str, secret: &str, key: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    let digest = mac.chain_update(key.as_bytes()).finalize().into_bytes();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}:{digits}")
}

/// What the configuration says of a key: hashed with [`SECRET`] as `v1`.
pub fn record(minted: &Minted) -> Value {
    json!({"id": minted.id, "hash": hash("v1", SECRET.1, &minted.key), "user_id": "u1"})
}

/// A configuration with these keys, which lets whoever has one pass everywhere.
pub fn config(keys: &[Value]) -> Value {
    json!({
        "version": 1,
        "api_keys": {"secrets": [{"id": "v1", "env": SECRET.0}], "keys": keys},
        "routes": [{"name": "all", "match": {"path_prefix": "/"}, "auth": {"any": ["api_key"]}}],
    })
}
