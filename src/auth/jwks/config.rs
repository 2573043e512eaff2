//! The configuration of published keys (JWKS).

use serde::Deserialize;

use crate::config::values::Duration;

/// Where an issuer publishes its keys, and how often they are fetched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct RemoteConfig {
    /// The Envoy cluster of the issuer's server; configure TLS in the cluster.
    pub cluster: String,
    /// The URL of the key set. With `discovery`, of the discovery document; default
    /// `ISSUER/.well-known/openid-configuration`.
    #[serde(default)]
    pub url: Option<String>,
    /// Whether to take the URL of the key set from the issuer's discovery document. Both must be on the same host.
    /// Default `false`.
    #[serde(default)]
    pub discovery: bool,
    /// How long a fetch may take. Default `5s`.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// How often the keys are fetched; `Cache-Control: max-age` may shorten it, not below `cooldown`. Default `10m`.
    #[serde(default = "default_refresh")]
    pub refresh: Duration,
    /// How often tokens with an unknown key may cause a fetch: three at once, then one in this time. Default `30s`.
    #[serde(default = "default_cooldown")]
    pub cooldown: Duration,
    /// How long after the last successful fetch keys are used; then tokens are refused with 503. Default `24h`.
    #[serde(default = "default_max_stale")]
    pub max_stale: Duration,
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_refresh() -> Duration {
    Duration::from_secs(600)
}

fn default_cooldown() -> Duration {
    Duration::from_secs(30)
}

fn default_max_stale() -> Duration {
    Duration::from_secs(24 * 3600)
}
