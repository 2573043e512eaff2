//! What operators write about issuers.

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
    /// Bytes that each worker may keep of verified tokens, so that a known token costs no signature. `0` keeps none.
    /// Default `4194304`.
    #[serde(default = "default_cache_bytes", deserialize_with = "values::integer")]
    pub cache_bytes: u32,
    /// Bytes of a token; longer ones are refused. Envoy's `max_request_headers_kb` must leave room for it. Default `24576`.
    #[serde(default = "default_max_token", deserialize_with = "values::integer")]
    pub max_token: u32,
    /// Bytes of what one claim says, of a list with a comma behind each of its items: it becomes a header of that length or more, for what
    /// is not ASCII is percent-encoded. Tokens with longer claims are refused. Default `8192`.
    #[serde(default = "default_max_claim", deserialize_with = "values::integer")]
    pub max_claim: u32,
}

/// A trusted issuer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct IssuerConfig {
    /// What routes call it.
    pub name: String,
    /// The value of `iss`, compared exactly.
    pub issuer: String,
    /// `aud` must name one of them, exactly.
    pub audiences: Vec<String>,
    /// The algorithms that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys come from.
    pub jwks: JwksConfig,
    /// Where in a request its tokens are. Default `Authorization: Bearer`.
    #[serde(default = "default_from")]
    pub from: Vec<Source>,
    /// Which claims say who the caller is.
    #[serde(default)]
    pub claims: ClaimsConfig,
    /// How far clocks may differ. Default `60s`.
    #[serde(default = "default_leeway")]
    pub leeway: Duration,
    /// Accepted values of the header's `typ`, compared without case; a token without `typ` passes. Default `[JWT, at+jwt]`.
    #[serde(default = "default_typ")]
    pub typ: Vec<String>,
    /// Claims that must be there. Default `[exp]`.
    #[serde(default = "default_require")]
    pub require: Vec<String>,
    /// How long a token may still live; no bound where absent.
    #[serde(default, deserialize_with = "values::present")]
    pub max_lifetime: Option<Duration>,
    /// Ties the issuer to its tenants; any tenant where absent.
    #[serde(default, deserialize_with = "values::present")]
    pub tenant: Option<TenantConfig>,
    /// Ties the issuer to a plan; whatever the token says where absent.
    #[serde(default, deserialize_with = "values::present")]
    pub plan: Option<FixedPlan>,
    /// Whether upstreams see the token. Default `false`.
    #[serde(default)]
    pub forward_token: bool,
    /// A header that carries the verified payload to upstreams, base64url without padding. Like an identity header it
    /// is removed from every client request. None where absent.
    #[serde(default, deserialize_with = "values::present")]
    pub payload_header: Option<HeaderName>,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum JwksConfig {
    /// A JWK set (RFC 7517 section 5) of public keys, as it is: `{ keys: [...] }`.
    Inline(
        #[cfg_attr(
            not(target_arch = "wasm32"),
            schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")
        )]
        serde_json::Value,
    ),
    /// A URL where the issuer publishes its keys.
    Remote(RemoteConfig),
    /// Shared secrets for HS256, HS384 and HS512, from the VM's environment.
    Secrets(Vec<SecretConfig>),
}

/// A shared secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct SecretConfig {
    /// The environment variable that holds it. The variable's bytes are the key, at least as many as the hash has.
    pub env: String,
    /// The `kid` of tokens signed with it; without one it is tried for every token.
    #[serde(default)]
    pub kid: Option<String>,
}

// === defaults ===

fn default_cache_bytes() -> u32 {
    4 * 1024 * 1024
}

/// What Entra and Keycloak make of a user with many groups.
fn default_max_token() -> u32 {
    24 * 1024
}

/// 200 identifiers of 36 characters, of which Entra sends as many at most.
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
