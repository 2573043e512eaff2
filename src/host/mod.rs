//! The shell: translates between the core and Envoy, without decisions. Only this uses `proxy_wasm`.

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
    // Envoy allows almost no host calls here; `on_vm_start` reads the real log level.
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::<root::Root>::default());
}}
