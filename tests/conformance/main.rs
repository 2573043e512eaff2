//! Standards: Wycheproof's JSON Web Signature, Key and Crypto vectors and those of the primitives behind them, the
//! examples of the RFCs, and tokens of an independent library.
//!
//! Wycheproof's files are found by `TOLLGATE_VECTORS`, a folder that holds `json_web_signature_test.json` and its
//! siblings. The payloads are no JSON objects, so the vectors run at the JWS level: parse, choose keys, verify. A
//! vector that is refused for another reason than its own still counts as refused; valid ones must pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test may fail by panicking"
)]

mod in_vm;
mod interoperability;
mod primitives;
mod rfc;
mod wycheproof;
