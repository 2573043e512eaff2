//! What operators write about API keys.

use serde::Deserialize;

use crate::auth::api_key::{KeyRecord, SecretConfig};
use crate::auth::credential::Source;
use crate::config::values::{self, Duration, HeaderName};

/// API keys: how they look, how they are hashed, and where they are known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ApiKeysConfig {
    /// The realm in `WWW-Authenticate`. Default `tollgate`.
    #[serde(default = "values::realm")]
    pub realm: String,
    /// Where in a request keys are. Default the header `x-api-key`.
    #[serde(default = "default_from")]
    pub from: Vec<Source>,
    /// The first part of every key, lower-case letters and digits. Default `tg`.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// The second part of every key: a key of another environment is refused. Default `live`.
    #[serde(default = "default_environment")]
    pub environment: String,
    /// Whether keys are taken that were minted elsewhere: 16 to 256 printable characters. Default `false`.
    #[serde(default)]
    pub opaque: bool,
    /// The secrets that keys are hashed with, the newest first, from the VM's environment. Keys are tried with each.
    pub secrets: Vec<SecretConfig>,
    /// Keys that are known here.
    #[serde(default)]
    pub keys: Vec<KeyRecord>,
    /// A key service that knows others.
    #[serde(default, deserialize_with = "values::present")]
    pub lookup: Option<LookupConfig>,
    /// How many bad keys a source may send.
    #[serde(default)]
    pub throttle: ThrottleConfig,
}

/// A key service, asked through an Envoy cluster. `tollgate keys serve` is one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct LookupConfig {
    /// The Envoy cluster that leads there; TLS is the cluster's.
    pub cluster: String,
    /// The host that it is asked as. Default the cluster's name.
    #[serde(default, deserialize_with = "values::present")]
    pub authority: Option<String>,
    /// Where keys are looked up. Default `/v1/keys/lookup`.
    #[serde(default = "default_path")]
    pub path: String,
    /// Where changes are told, so that a revoked key is forgotten at once. Default `/v1/keys/changes`.
    #[serde(default = "default_changes")]
    pub changes: String,
    /// The token that the gateway shows, from the VM's environment; none where absent, as behind mTLS.
    #[serde(default, deserialize_with = "values::present")]
    pub token: Option<TokenConfig>,
    /// How long a lookup may take. Default `250ms`.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// How long a known key is used without asking again: how late a revocation is when its push is lost. Default `60s`.
    #[serde(default = "default_cache")]
    pub cache: Duration,
    /// How long an unknown key is refused without asking again. Default `60s`.
    #[serde(default = "default_cache")]
    pub negative_cache: Duration,
    /// How long a known key is used while the service cannot be asked; then 503. Default `10m`.
    #[serde(default = "default_max_stale")]
    pub max_stale: Duration,
    /// How many known keys the workers remember together; a quarter as many unknown ones besides. Default `16384`.
    #[serde(default = "default_entries", deserialize_with = "values::integer")]
    pub entries: u32,
}

/// A token for the key service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct TokenConfig {
    /// The environment variable that holds it.
    pub env: String,
}

/// How many bad keys a source may send before it gets 429 for every key, but those found good from there recently.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ThrottleConfig {
    /// Bad keys from one address, or one /64 of IPv6, in each window; and lookups of one key id by the key service.
    /// Default `20`.
    #[serde(deserialize_with = "values::integer")]
    pub limit: u32,
    /// Begins with the first bad key. Default `1m`.
    pub window: Duration,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self {
            limit: 20,
            window: Duration::from_secs(60),
        }
    }
}

fn default_from() -> Vec<Source> {
    vec![Source::Header {
        name: HeaderName::constant("x-api-key"),
        scheme: None,
    }]
}

fn default_prefix() -> String {
    "tg".into()
}

fn default_environment() -> String {
    "live".into()
}

fn default_path() -> String {
    "/v1/keys/lookup".into()
}

fn default_changes() -> String {
    "/v1/keys/changes".into()
}

fn default_timeout() -> Duration {
    Duration::from_millis(250)
}

fn default_cache() -> Duration {
    Duration::from_secs(60)
}

fn default_max_stale() -> Duration {
    Duration::from_secs(600)
}

fn default_entries() -> u32 {
    16_384
}
