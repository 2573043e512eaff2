//! The gateway as a dynamic module of Envoy: the same core as in the Wasm plugin, without a sandbox. Envoy calls the functions in `hooks`; each
//! finds its `filter` or its `gateway`, which tell the core and carry out what it says through `abi`.

mod abi;
mod crew;
mod filter;
mod gateway;
mod hooks;
mod host;
mod logger;
mod metrics;
mod timer;
