//! Reading what operators write: from bytes to shapes, with the path of every mistake, and the small values that shapes are made of.

mod decode;
pub mod network;
mod report;
mod strict;
pub mod values;

use std::collections::BTreeMap;

pub use decode::decode;
pub use report::{ConfigError, Report};

/// Named values of the environment: secrets, which never stand in the configuration itself.
pub type Environment = BTreeMap<String, String>;
