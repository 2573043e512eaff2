//! The shape of the configuration; each policy's own shape is beside the policy. Errors of shape are found while
//! decoding ([`decode`](super::decode)), one at a time; errors of meaning all at once while compiling the
//! [plan](crate::gateway::plan).

use serde::Deserialize;

use crate::config::values::{self, Named};
use crate::gateway::route::{MatchConfig, MethodOverride};
use crate::message::target::PathParameters;
use crate::policy::aggregate::AggregateConfig;
use crate::policy::api_key::ApiKeysConfig;
use crate::policy::authenticate::AuthConfig;
use crate::policy::authorize::RequireConfig;
use crate::policy::fallback::FallbackConfig;
use crate::policy::graphql::GraphqlConfig;
use crate::policy::identity_headers::IdentityConfig;
use crate::policy::jwt::JwtConfig;
use crate::policy::network::NetworkConfig;
use crate::policy::parts::{PartConfig, PartLimitsConfig};
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
    /// What upstreams are told about the caller.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// Token issuers and how their tokens are checked.
    #[serde(default, deserialize_with = "values::present")]
    pub jwt: Option<JwtConfig>,
    /// API keys: their format, their hashing, and where to look them up.
    #[serde(default, deserialize_with = "values::present")]
    pub api_keys: Option<ApiKeysConfig>,
    /// Rate limits, which rules refer to by name.
    #[serde(default)]
    pub rate_limits: Vec<RateLimitConfig>,
    /// The service that counts limits with `backend: rls`.
    #[serde(default, deserialize_with = "values::present")]
    pub rate_limit_service: Option<RateLimitServiceConfig>,
    /// The response headers with the remaining quota: `ratelimit` (default), `x_ratelimit` or `none`.
    #[serde(default)]
    pub quota_headers: QuotaHeaders,
    /// Calls to services whose answers aggregates use, by name.
    #[serde(default)]
    pub parts: Named<PartConfig>,
    /// Bounds for all aggregates of one worker together.
    #[serde(default)]
    pub part_limits: PartLimitsConfig,
    /// Settings that rules inherit, and that apply to requests that no rule matches.
    #[serde(default)]
    pub defaults: DefaultsConfig,
    /// The rules, in order; the first that matches decides.
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
}

/// Defines the settings of policies for `defaults`, for rules, and for the policies.
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
            /// Path parameters, which are `;` and what follows it in a segment: `refuse` (400, the default) or `keep`.
            pub path_parameters: PathParameters,
            /// Headers that name another method, such as `X-HTTP-Method-Override`: `remove` (the default) or `keep`.
            pub method_override: MethodOverride,
        }

        /// One rule: which requests it matches, and what they need. It inherits absent settings from `defaults`.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
        pub struct RouteConfig {
            /// The rule's name in metrics. Default: `match.route`, or the path.
            #[serde(default)]
            pub name: Option<String>,
            /// The requests that the rule matches.
            pub r#match: MatchConfig,
            /// Whether to allow everybody, without looking at credentials. Excludes `auth` and `require`.
            #[serde(default)]
            pub public: bool,
            $($(#[doc = $doc])+
            #[doc = " Inherited from `defaults` if absent."]
            #[serde(default, deserialize_with = "values::present")]
            pub $name: Option<$type>,)+
            /// Path parameters, which are `;` and what follows it in a segment: `refuse` (400) or `keep`; rules match
            /// segments without them. Inherited from `defaults` if absent.
            #[serde(default, deserialize_with = "values::present")]
            pub path_parameters: Option<PathParameters>,
            /// Headers that name another method, such as `X-HTTP-Method-Override`: `remove` or `keep`. Inherited from
            /// `defaults` if absent.
            #[serde(default, deserialize_with = "values::present")]
            pub method_override: Option<MethodOverride>,
        }

        /// The settings of one rule, with the defaults filled in.
        #[derive(Debug, Clone, Copy)]
        pub struct Settings<'a> {
            $($(#[doc = $doc])+ pub $name: Option<&'a $type>,)+
        }

        impl<'a> Settings<'a> {
            /// The settings of a rule, or of requests that no rule matches.
            pub fn new(route: Option<&'a RouteConfig>, defaults: &'a DefaultsConfig) -> Self {
                Self {
                    $($name: route.and_then(|route| route.$name.as_ref()).or(defaults.$name.as_ref()),)+
                }
            }
        }
    };
}

settings! {
    /// The networks that requests may come from; `{}` for all.
    network: NetworkConfig,
    /// How callers authenticate. If `defaults` has none, a request that no rule matches is refused: 403 `no_policy`.
    auth: AuthConfig,
    /// The scopes and roles that a caller must have.
    require: RequireConfig,
    /// The rate limits that apply, each by name or as `{ limit: NAME, cost: 5 }`; `[]` for none.
    rate_limits: Vec<LimitRef>,
    /// What requests must contain; `{}` for nothing.
    validate: ValidateConfig,
    /// Changes of requests; `{}` for none.
    request: RequestConfig,
    /// Changes of responses; `{}` for none.
    response: ResponseConfig,
    /// What replaces the response of a failed upstream; `{}` for nothing.
    fallback: FallbackConfig,
    /// An answer made of parts, in place of an upstream's.
    aggregate: AggregateConfig,
    /// A GraphQL schema whose fields are parts, in place of an upstream.
    graphql: GraphqlConfig,
}
