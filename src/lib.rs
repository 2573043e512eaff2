//! Tollgate: an API gateway for microservices, as one plugin inside a stock Envoy.
//!
//! The library is a pure core and a thin shell. The core decides; it knows no host, no clock and no
//! randomness, so it runs and is tested natively. The shell, [`host`](self), exists on `wasm32` only and
//! translates between the core and Envoy. Everything flows one way:
//!
//! ```text
//! configure   bytes -> Config (shape) -> Plan (meaning); any error refuses the whole configuration
//! request     Event -> Exchange: match the route, drop managed headers, run the route's policies by stage
//!             -> Effects -> Envoy -> upstream
//! refusal     Denial -> one Reply, from any stage
//! ```
//!
//! `docs/ARCHITECTURE.md` walks through the files.

#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, reason = "a test may fail by panicking")
)]

pub mod api_key;
pub mod body;
pub mod breaker;
pub mod config;
pub mod credential;
pub mod denial;
pub mod effect;
pub mod event;
pub mod exchange;
pub mod fields;
pub mod grpc;
pub mod headers;
pub mod identity;
pub mod jose;
pub mod json;
pub mod keys;
pub mod limit;
pub mod media_range;
pub mod origin;
pub mod plan;
pub mod policy;
pub mod questions;
pub mod remote;
pub mod request;
pub mod route;
pub mod slots;
pub mod store;
pub mod target;
pub mod template;
pub mod world;

#[cfg(target_arch = "wasm32")]
pub mod host;
