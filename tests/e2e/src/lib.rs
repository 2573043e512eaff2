//! The harness: real Envoy processes on ports that the system chooses, an upstream that says what it received, an
//! issuer with fresh keys, and case files that run against the core and through Envoy alike.

pub mod attack;
pub mod bootstrap;
pub mod bundled;
pub mod case;
mod catalogue;
pub mod collector;
mod container;
pub mod echo;
pub mod envoy;
pub mod grpc;
pub mod http2;
pub mod imported;
pub mod issuer;
pub mod key_service;
pub mod keys;
pub mod native;
pub mod policies;
pub mod pooled;
pub mod postgres;
pub mod program;
pub mod publisher;
pub mod rate_limit_service;
pub mod raw;
pub mod server;
pub mod services;
pub mod steps;
pub mod streams;
pub mod tls;
