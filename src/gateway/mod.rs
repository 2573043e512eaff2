//! The gateway as a whole: the configuration, the registry of policies, the plan compiled from both, and the workers.

mod config;
pub mod plan;
mod registry;
pub mod route;
pub mod start;
pub mod worker;

pub use config::{Config, DefaultsConfig, RouteConfig, Settings};
pub use registry::{Definitions, REGISTRY, Registration, Stage};

use crate::config::ConfigError;

/// Decodes a configuration: JSON text, as from a `StringValue` or from Istio, or the serialized
/// `google.protobuf.Struct` that Envoy makes of YAML. `Err` is the first shape error, with its path.
pub fn decode(bytes: &[u8]) -> Result<Config, ConfigError> {
    crate::config::decode(bytes)
}

#[cfg(test)]
mod tests;
