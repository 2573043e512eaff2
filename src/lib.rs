//! Tollgate: an API gateway for microservices, as one plugin inside a stock Envoy.
//!
//! The library has a pure core and a thin shell. The core decides; it gets host, clock and randomness as
//! arguments, so it runs and is tested natively. The shell, [`host`](self), exists on `wasm32` only and
//! translates between the core and Envoy. The data flow:
//!
//! ```text
//! configure   bytes -> Config (shape) -> Plan (meaning); any error refuses the whole configuration
//! request     Event -> Exchange: match the route, drop managed headers, run the route's policies by stage
//!             -> Step -> Envoy -> upstream
//! refusal     Denial -> one Reply, from any stage
//! ```
//!
//! `docs/ARCHITECTURE.md` describes the files.

#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, reason = "a test may fail by panicking")
)]

pub mod auth;
pub mod client_network;
pub mod clock;
pub mod config;
pub mod denial;
pub mod exchange;
pub mod gateway;
pub mod http;
pub mod json;
pub mod limit;
pub mod message;
pub mod policy;
mod schema;
pub mod seam;
pub mod shared;
pub mod template;

#[cfg(target_arch = "wasm32")]
pub mod host;
