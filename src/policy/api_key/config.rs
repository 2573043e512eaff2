//! The configuration of API keys.

use serde::Deserialize;

use crate::auth::api_key::{KeyRecord, SecretConfig};
use crate::auth::credential::Source;
use crate::config::values::{self, Duration, HeaderName};

/// API keys: their format, their hashing, and where to look them up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ApiKeysConfig {
    /// The realm in `WWW-Authenticate`. Default `tollgate`.
    #[serde(default = "values::realm")]
    pub realm: String,
    /// The credential sources for keys. Default: the header `x-api-key`.
    #[serde(default = "default_from")]
    pub from: Vec<Source>,
    /// The first part of every key, lower-case letters and digits. Default `tg`.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// The second part of every key; keys of another environment are refused. Default `live`.
    #[serde(default = "default_environment")]
    pub environment: String,
    /// Whether to accept keys that were minted elsewhere, of 16 to 256 printable characters. Default `false`.
    #[serde(default)]
    pub opaque: bool,
    /// The secrets for hashing keys, the newest first, from the VM's environment. Keys are tried with each.
    pub secrets: Vec<SecretConfig>,
    /// Keys in the configuration itself.
    #[serde(default)]
    pub keys: Vec<KeyRecord>,
    /// A key service for further keys.
    #[serde(default, deserialize_with = "values::present")]
    pub lookup: Option<LookupConfig>,
    /// Limits on bad keys from one source.
    #[serde(default)]
    pub throttle: ThrottleConfig,
}

/// A key service, called through an Envoy cluster. `tollgate keys serve` is one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct LookupConfig {
    /// The Envoy cluster of the key service; configure TLS in the cluster.
    pub cluster: String,
    /// The `:authority` of calls. Default: the cluster's name.
    #[serde(default, deserialize_with = "values::present")]
    pub authority: Option<String>,
    /// The path for lookups. Default `/v1/keys/lookup`.
    #[serde(default = "default_path")]
    pub path: String,
    /// The path for changes, by which revoked keys are dropped at once. Default `/v1/keys/changes`.
    #[serde(default = "default_changes")]
    pub changes: String,
    /// The gateway's bearer token, from the VM's environment; none if absent, as with mTLS.
    #[serde(default, deserialize_with = "values::present")]
    pub token: Option<TokenConfig>,
    /// How long a lookup may take. Default `250ms`.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// How long a known key is cached: the delay of a revocation whose change gets lost. Default `60s`.
    #[serde(default = "default_cache")]
    pub cache: Duration,
    /// How long an unknown key is refused without another lookup. Default `60s`.
    #[serde(default = "default_cache")]
    pub negative_cache: Duration,
    /// How long a known key is used while the service is unavailable; then 503. Default `10m`.
    #[serde(default = "default_max_stale")]
    pub max_stale: Duration,
    /// How many known keys all workers cache together, and a quarter as many unknown keys. Default `16384`.
    #[serde(default = "default_entries", deserialize_with = "values::integer")]
    pub entries: u32,
}

/// A token for the key service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct TokenConfig {
    /// The environment variable that holds the token.
    pub env: String,
}

/// How many bad keys a source may send before it gets 429 for all keys, except those that were valid from there
/// recently.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ThrottleConfig {
    /// Maximum bad keys from one address, or one IPv6 /64, in each window; and maximum lookups of one key id. Default
    /// `20`.
    #[serde(deserialize_with = "values::integer")]
    pub limit: u32,
    /// The window, which begins with the first bad key. Default `1m`.
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
