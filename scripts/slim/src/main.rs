//! `slim IN OUT`: takes the callbacks that Tollgate has no use for out of a module's exports.
//!
//! The SDK exports every callback of the ABI, and Envoy enters the VM for each that is exported: for the response's
//! headers, its body, the access log. What is not exported is not called. A policy that begins to use a callback adds
//! it to [`KEPT`].

use std::env;
use std::error::Error;
use std::fs;

use wasm_encoder::{ExportKind, ExportSection, Module, RawSection};
use wasmparser::{ExternalKind, Parser, Payload};

/// What Envoy must find: the memory, the ABI's version, and the callbacks in use.
const KEPT: [&str; 18] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_http_call_response",
    "proxy_on_done",
    "proxy_on_delete",
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (input, output) = arguments.next().zip(arguments.next()).ok_or("slim IN OUT")?;
    let bytes = fs::read(input)?;
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(&bytes) {
        let payload = payload?;
        if let Payload::ExportSection(exports) = payload {
            let mut kept = ExportSection::new();
            for export in exports {
                let export = export?;
                if KEPT.contains(&export.name) {
                    kept.export(export.name, kind(export.kind)?, export.index);
                }
            }
            if kept.len() as usize != KEPT.len() {
                return Err(format!("the module exports {} of {KEPT:?}", kept.len()).into());
            }
            module.section(&kept);
        } else if let Some((id, range)) = payload.as_section() {
            let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
            let data = bytes.get(range).ok_or("a section beyond the end")?;
            module.section(&RawSection { id, data });
        }
    }
    fs::write(output, module.finish())?;
    Ok(())
}

fn kind(kind: ExternalKind) -> Result<ExportKind, Box<dyn Error>> {
    match kind {
        ExternalKind::Func => Ok(ExportKind::Func),
        ExternalKind::Memory => Ok(ExportKind::Memory),
        other => Err(format!("an export of kind {other:?} is not expected").into()),
    }
}
