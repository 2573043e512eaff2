//! The configuration of token issuers.

use serde::Deserialize;

use super::subject::{ClaimsConfig, FixedPlan, TenantConfig};
use crate::auth::credential::Source;
use crate::auth::jose::Algorithm;
use crate::auth::jwks::RemoteConfig;
use crate::config::values::{self, Duration, HeaderName};

/// Token issuers and how their tokens are checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct JwtConfig {
    /// The realm in `WWW-Authenticate`. Default `tollgate`.
    #[serde(default = "values::realm")]
    pub realm: String,
    /// The trusted issuers.
    pub issuers: Vec<IssuerConfig>,
    /// Maximum size of each worker's cache of verified tokens, in bytes; a cached token needs no signature check. `0`
    /// disables the cache. Default `4194304`.
    #[serde(default = "default_cache_bytes", deserialize_with = "values::integer")]
    pub cache_bytes: u32,
    /// Maximum length of a token, in bytes; longer ones are refused. Envoy's `max_request_headers_kb` must allow it.
    /// Default `24576`.
    #[serde(default = "default_max_token", deserialize_with = "values::integer")]
    pub max_token: u32,
    /// Maximum length of one claim, in bytes; a list counts with its commas. Tokens with longer claims are refused. The
    /// header made from a claim can be longer, as non-ASCII characters are percent-encoded. Default `8192`.
    #[serde(default = "default_max_claim", deserialize_with = "values::integer")]
    pub max_claim: u32,
}

/// A trusted issuer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct IssuerConfig {
    /// The name by which rules refer to it.
    pub name: String,
    /// The value of `iss`, compared exactly.
    pub issuer: String,
    /// The accepted audiences, of which `aud` must name one exactly.
    pub audiences: Vec<String>,
    /// The accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The source of its keys.
    pub jwks: JwksConfig,
    /// The credential sources for its tokens. Default `Authorization: Bearer`.
    #[serde(default = "default_from")]
    pub from: Vec<Source>,
    /// The claims that make the identity.
    #[serde(default)]
    pub claims: ClaimsConfig,
    /// The leeway for clock differences. Default `60s`.
    #[serde(default = "default_leeway")]
    pub leeway: Duration,
    /// Accepted values of the header's `typ`, compared without case; a token without `typ` passes. Default `[JWT, at+jwt]`.
    #[serde(default = "default_typ")]
    pub typ: Vec<String>,
    /// Claims that must be present. Default `[exp]`.
    #[serde(default = "default_require")]
    pub require: Vec<String>,
    /// Maximum remaining lifetime of a token; unlimited if absent.
    #[serde(default, deserialize_with = "values::present")]
    pub max_lifetime: Option<Duration>,
    /// Restricts the issuer to its tenants; any tenant if absent.
    #[serde(default, deserialize_with = "values::present")]
    pub tenant: Option<TenantConfig>,
    /// Fixes the plan of the issuer's tokens; the token's own plan if absent.
    #[serde(default, deserialize_with = "values::present")]
    pub plan: Option<FixedPlan>,
    /// Whether to forward the token to upstreams. Default `false`.
    #[serde(default)]
    pub forward_token: bool,
    /// A header with the verified payload for upstreams, in base64url without padding. Like an identity header, it is
    /// removed from every client request. None if absent.
    #[serde(default, deserialize_with = "values::present")]
    pub payload_header: Option<HeaderName>,
}

/// The source of an issuer's keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum JwksConfig {
    /// A JWK set (RFC 7517 section 5) of public keys: `{ keys: [...] }`.
    Inline(
        #[cfg_attr(
            not(target_arch = "wasm32"),
            schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")
        )]
        serde_json::Value,
    ),
    /// A URL at which the issuer publishes its keys.
    Remote(RemoteConfig),
    /// Shared secrets for HS256, HS384 and HS512, from the VM's environment.
    Secrets(Vec<SecretConfig>),
}

/// A shared secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct SecretConfig {
    /// The environment variable that holds the key. It must be at least as long as the hash.
    pub env: String,
    /// The `kid` of tokens signed with it; without one, it is tried for every token.
    #[serde(default)]
    pub kid: Option<String>,
}

// === defaults ===

fn default_cache_bytes() -> u32 {
    4 * 1024 * 1024
}

/// Enough for tokens of Entra and Keycloak for a user with many groups.
fn default_max_token() -> u32 {
    24 * 1024
}

/// Enough for 200 group ids of 36 characters, the most that Entra sends.
fn default_max_claim() -> u32 {
    8 * 1024
}

fn default_from() -> Vec<Source> {
    vec![Source::bearer()]
}

fn default_leeway() -> Duration {
    Duration::from_secs(60)
}

fn default_typ() -> Vec<String> {
    vec!["JWT".into(), "at+jwt".into()]
}

fn default_require() -> Vec<String> {
    vec!["exp".into()]
}
