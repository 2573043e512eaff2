//! JSON Object Signing and Encryption, the part that a gateway needs: verifying compact JWS (RFC 7515) with JWK
//! keys (RFC 7517, 7518, 8037). The primitives are RustCrypto's, or the host's.

pub mod algorithm;
pub mod claims;
pub mod jwk;
pub mod jws;
mod roca;
pub mod verify;

pub use algorithm::Algorithm;
pub use jwk::{Key, KeySet};
pub use jws::Jws;
