//! API keys: their format, their hashes and their records. The plugin and the key service share this module.

pub mod format;
pub mod record;
pub mod secrets;
pub mod wire;

pub use format::{Format, Minted, Presented};
pub use record::KeyRecord;
pub use secrets::{KeyHash, SecretConfig, Secrets};
