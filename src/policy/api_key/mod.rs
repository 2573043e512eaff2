//! API keys: looked up in the configuration or by the key service, by the HMAC of the whole key.

mod accept;
mod changes;
mod config;
mod lookup;
mod service;
mod throttle;

pub use accept::ApiKeys;
pub use config::{ApiKeysConfig, LookupConfig, ThrottleConfig};

#[cfg(test)]
mod tests;
