//! The gateway as a whole: what operators write of it, every policy that there is, the plan that comes of both, and the workers that go by it.

mod config;
pub mod plan;
mod registry;
pub mod route;
pub mod worker;

pub use config::{Config, DefaultsConfig, RouteConfig, Settings};
pub use registry::{Definitions, REGISTRY, Registration, Stage};

use crate::config::ConfigError;

/// Reads a configuration: JSON text, as from a `StringValue` or from Istio, or the serialized
/// `google.protobuf.Struct` that Envoy makes of YAML. The first shape error, with its path.
pub fn decode(bytes: &[u8]) -> Result<Config, ConfigError> {
    crate::config::decode(bytes)
}

#[cfg(test)]
mod tests;
