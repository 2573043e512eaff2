//! The only place that names proxy_wasm: translates between the core and Envoy, decides nothing.

#![allow(missing_docs, reason = "the entry point that the macro makes is for Envoy")]
#![cfg_attr(
    not(feature = "plugin"),
    allow(dead_code, reason = "the tests' own plugin takes the world alone")
)]

#[cfg(feature = "plugin")]
use proxy_wasm::types::LogLevel;

mod abi;
mod edits;
mod http;
mod metrics;
mod root;
mod streams;
mod world;

pub use world::Envoy;

#[cfg(feature = "plugin")]
proxy_wasm::main! {{
    // Envoy allows almost no host call here; `on_vm_start` asks for its log level.
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::<root::Root>::default());
}}
