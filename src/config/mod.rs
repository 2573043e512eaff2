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

/// A variable of the environment that must be there; `Err` says that it is not.
pub(crate) fn secret<'a>(environment: &'a Environment, name: &str) -> Result<&'a str, String> {
    let value = environment.get(name).map(String::as_str);
    value.ok_or_else(|| format!("the environment has no `{name}`; name it in the VM's `environment_variables`"))
}

/// The same for one of at least so many bytes.
pub(crate) fn long_secret<'a>(environment: &'a Environment, name: &str, least: usize) -> Result<&'a str, String> {
    let value = secret(environment, name)?;
    match value.len() {
        bytes if bytes < least => Err(format!("`{name}` has {bytes} bytes; a secret needs at least {least}")),
        _ => Ok(value),
    }
}
