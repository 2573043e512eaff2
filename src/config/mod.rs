//! Reading a configuration: decoding, errors with their paths, and the value types of settings.

mod decode;
pub mod network;
mod report;
mod strict;
pub mod values;

use std::collections::BTreeMap;

pub use decode::decode;
pub use report::{ConfigError, Report};

/// The VM's environment variables. They hold the secrets, which are never in the configuration itself.
pub type Environment = BTreeMap<String, String>;
