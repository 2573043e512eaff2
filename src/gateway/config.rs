//! What operators write. The shape of the whole is here, each policy's own shape beside the policy. Shape errors
//! are found while reading ([`decode`](super::decode)), meaning errors all at once while making the [plan](crate::gateway::plan).

use serde::Deserialize;

use crate::config::values;
use crate::gateway::route::{MatchConfig, MethodOverride};
use crate::message::target::PathParameters;
use crate::policy::api_key::ApiKeysConfig;
use crate::policy::authenticate::AuthConfig;
use crate::policy::authorize::RequireConfig;
use crate::policy::fallback::FallbackConfig;
use crate::policy::identity_headers::IdentityConfig;
use crate::policy::jwt::JwtConfig;
use crate::policy::network::NetworkConfig;
use crate::policy::rate_limit::{LimitRef, QuotaHeaders, RateLimitConfig, RateLimitServiceConfig};
use crate::policy::transform::{RequestConfig, ResponseConfig};
use crate::policy::validate::ValidateConfig;

/// The configuration of one Tollgate filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Config {
    /// The version of this format: `1`.
    #[serde(deserialize_with = "values::integer")]
    pub version: u32,
    /// What upstreams learn about the caller.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// Token issuers and how their tokens are checked.
    #[serde(default, deserialize_with = "values::present")]
    pub jwt: Option<JwtConfig>,
    /// API keys: how they look, how they are hashed, and where they are known.
    #[serde(default, deserialize_with = "values::present")]
    pub api_keys: Option<ApiKeysConfig>,
    /// Limits, which routes name.
    #[serde(default)]
    pub rate_limits: Vec<RateLimitConfig>,
    /// Who counts limits of `backend: rls`.
    #[serde(default, deserialize_with = "values::present")]
    pub rate_limit_service: Option<RateLimitServiceConfig>,
    /// How responses tell what is left: `ratelimit` (default), `x_ratelimit` or `none`.
    #[serde(default)]
    pub quota_headers: QuotaHeaders,
    /// What a rule inherits where it says nothing, and what a request gets that no rule names.
    #[serde(default)]
    pub defaults: DefaultsConfig,
    /// Rules, tried in order; the first that matches decides.
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
}

/// Spells the settings of policies once, for `defaults`, for each rule, and for the policies.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty,)+) => {
        /// Settings that rules inherit.
        #[derive(Debug, Default, Clone, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
        pub struct DefaultsConfig {
            $($(#[doc = $doc])+
            #[serde(deserialize_with = "values::present")]
            pub $name: Option<$type>,)+
            /// What becomes of path parameters, `;` and what follows in a segment: `refuse` (400, the default) or `keep`.
            pub path_parameters: PathParameters,
            /// What becomes of headers that name another method, as `X-HTTP-Method-Override`: `remove` (the default) or `keep`.
            pub method_override: MethodOverride,
        }

        /// One rule: which requests, and what they need. What it does not say, it inherits from `defaults`.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
        pub struct RouteConfig {
            /// The rule's name in metrics; `match.route` or the path otherwise.
            #[serde(default)]
            pub name: Option<String>,
            /// Which requests this rule decides about.
            pub r#match: MatchConfig,
            /// Anybody may pass; credentials are not looked at. Excludes `auth` and `require`.
            #[serde(default)]
            pub public: bool,
            $($(#[doc = $doc])+
            #[doc = " Inherited from `defaults` where absent."]
            #[serde(default, deserialize_with = "values::present")]
            pub $name: Option<$type>,)+
            /// What becomes of path parameters, `;` and what follows in a segment: `refuse` (400) or `keep`; rules match on segments without
            /// them. Inherited from `defaults` where absent.
            #[serde(default, deserialize_with = "values::present")]
            pub path_parameters: Option<PathParameters>,
            /// What becomes of headers that name another method, as `X-HTTP-Method-Override`: `remove` or `keep`. Inherited from `defaults` where
            /// absent.
            #[serde(default, deserialize_with = "values::present")]
            pub method_override: Option<MethodOverride>,
        }

        /// What one rule says, with the defaults filled in.
        #[derive(Debug, Clone, Copy)]
        pub struct Settings<'a> {
            $($(#[doc = $doc])+ pub $name: Option<&'a $type>,)+
        }

        impl<'a> Settings<'a> {
            /// Those of a rule, or of what no rule names.
            pub fn new(route: Option<&'a RouteConfig>, defaults: &'a DefaultsConfig) -> Self {
                Self {
                    $($name: route.and_then(|route| route.$name.as_ref()).or(defaults.$name.as_ref()),)+
                }
            }
        }
    };
}

settings! {
    /// Which networks requests may come from; `{}` for all.
    network: NetworkConfig,
    /// How callers prove who they are. Where `defaults` has none, a request that no rule names is refused: 403 `no_policy`.
    auth: AuthConfig,
    /// What an identity must have.
    require: RequireConfig,
    /// The limits that a request must be within, by name, or as `{ limit: NAME, cost: 5 }`; `[]` for none.
    rate_limits: Vec<LimitRef>,
    /// What requests must look like; `{}` for nothing.
    validate: ValidateConfig,
    /// What changes of requests; `{}` for nothing.
    request: RequestConfig,
    /// What changes of responses; `{}` for nothing.
    response: ResponseConfig,
    /// What stands in for an upstream that fails; `{}` for nothing.
    fallback: FallbackConfig,
}
