//! API keys: what they look like, how they are hashed, and what is known of one. The plugin and the key service share it.

pub mod format;
pub mod record;
pub mod secrets;
pub mod wire;

pub use format::{Format, Minted, Presented};
pub use record::KeyRecord;
pub use secrets::{KeyHash, SecretConfig, Secrets};
