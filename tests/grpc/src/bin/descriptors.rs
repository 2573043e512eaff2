//! Compiles .proto files to a descriptor set for Envoy's `grpc_json_transcoder`: `descriptors OUTPUT FOLDER FILE...`.
//!
//! Files and what they import are named as below FOLDER. `google/api/annotations.proto` need not be there: this package's
//! `proto` has it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use protox::Compiler;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let [output, folder, files @ ..] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    if files.is_empty() {
        return Err(USAGE.into());
    }
    let mut compiler = Compiler::new([folder.as_path(), Path::new(tollgate_grpc::PROTO)])?;
    compiler.include_imports(true).open_files(files)?;
    // By rename: an Envoy that starts meanwhile reads a whole file.
    let unfinished = output.with_extension("new");
    // Encoded by protox: prost's own types would lose what methods say about HTTP, as every option that they do not know.
    fs::write(&unfinished, compiler.encode_file_descriptor_set())?;
    fs::rename(unfinished, output)?;
    Ok(())
}

const USAGE: &str = "usage: descriptors OUTPUT FOLDER FILE...";
