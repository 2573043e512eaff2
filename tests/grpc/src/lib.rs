//! The `products.v1` messages, server and client, and where their .proto files are.

/// What the build made of `proto/products/v1/products.proto`.
#[allow(missing_docs, reason = "generated")]
pub mod products {
    tonic::include_proto!("products.v1");
}

/// The folder of the .proto files, `google/api/annotations.proto` among them.
pub const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
