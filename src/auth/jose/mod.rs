//! JSON Object Signing and Encryption: verification of compact JWS (RFC 7515) with JWK keys (RFC 7517, 7518, 8037). The
//! cryptographic primitives are those of RustCrypto or of the host.

pub mod algorithm;
pub mod claims;
pub mod jwk;
pub mod jws;
mod roca;
pub mod verify;

pub use algorithm::Algorithm;
pub use jwk::{Key, KeySet};
pub use jws::Jws;
