//! The service's messages, server and client, from its .proto file.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["products/v1/products.proto"], ["proto"])?;
    tonic_prost_build::compile_fds(files)?;
    Ok(())
}
