//! Tollgate: an API gateway for microservices, as one plugin inside a stock Envoy.
//!
//! The library is a pure core and a thin shell. The core decides; it knows no host, no clock and no
//! randomness, so it runs and is tested natively. The shell, [`host`](self), exists on `wasm32` only and
//! translates between the core and Envoy. Everything flows one way:
//!
//! ```text
//! configure   bytes -> Config (shape) -> Plan (meaning); any error refuses the whole configuration
//! request     Event -> Exchange: match the route, drop managed headers, run the route's policies by stage
//!             -> Step -> Envoy -> upstream
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
pub mod calls;
pub mod config;
pub mod credential;
pub mod denial;
pub mod exchange;
pub mod fields;
pub mod gateway;
pub mod grpc;
pub mod header_changes;
pub mod header_list;
pub mod headers;
pub mod http;
pub mod identity;
pub mod jose;
pub mod json;
pub mod keys;
pub mod limit;
pub mod managed_names;
pub mod media_range;
pub mod memory;
pub mod origin;
pub mod plan;
pub mod policy;
pub mod request;
pub mod response;
pub mod route;
pub mod seam;
pub mod slots;
pub mod suspended;
pub mod target;
pub mod template;
pub mod worker;

#[cfg(target_arch = "wasm32")]
pub mod host;
