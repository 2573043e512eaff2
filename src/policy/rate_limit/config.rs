//! The configuration of rate limits.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::config::network::Network;
use crate::config::values::{self, Duration, HeaderName};
use crate::limit::Algorithm;
use crate::schema::schema;

/// A rate limit, to which rules refer by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct RateLimitConfig {
    /// The name in rules, metrics and response headers: letters, digits, `-`, `_`. Rules with the same limit share its
    /// counts.
    pub name: String,
    /// What is counted separately: a combination of `ip` (IPv6: the /64), `user`, `tenant`, `api_key`, `plan`, `route`,
    /// `header:NAME`, `claim:ATTRIBUTE`. A limit of only `ip`, `route` and headers is checked before authentication.
    pub key: Vec<KeyPart>,
    /// `sliding_window` (default), `exact_window`, `token_bucket` or `fixed_window`.
    #[serde(default = "default_algorithm")]
    pub algorithm: Algorithm,
    /// Cost units in each window.
    #[serde(deserialize_with = "values::integer")]
    pub limit: u64,
    /// The length of a window.
    pub window: Duration,
    /// Maximum cost units at once, for `token_bucket`. Default: `limit`.
    #[serde(default, deserialize_with = "values::integer_if_present")]
    pub burst: Option<u64>,
    /// Limits by plan. Callers with another plan, or without one, get the limit's own values.
    #[serde(default)]
    pub plans: BTreeMap<String, PlanConfig>,
    /// The cost of a request by its method. Default 1.
    #[serde(default)]
    pub costs: BTreeMap<String, Cost>,
    /// Networks whose requests are not counted, such as `10.0.0.0/8`.
    #[serde(default)]
    pub exempt: Vec<Network>,
    /// For requests without a part of the key: `ip` counts by address instead (default), `skip` does not count, `deny`
    /// refuses with 403.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// `enforce` (default), or `shadow`, which counts but does not refuse.
    #[serde(default)]
    pub mode: Mode,
    /// Where to count: `local`, in this Envoy alone (default), or `rls`, in the `rate_limit_service` for all gateways
    /// together.
    #[serde(default)]
    pub backend: Backend,
    /// For requests without an answer from the service: `local` counts in this Envoy (default), `allow` allows, `deny`
    /// refuses with 503. Only for `rls`.
    #[serde(default, deserialize_with = "values::present")]
    pub on_fault: Option<OnFault>,
    /// How many keys can be counted separately at once, which limits the memory; beyond, some share a count. Default
    /// `65536`.
    #[serde(default = "default_entries", deserialize_with = "values::integer")]
    pub entries: u32,
    /// Maximum random addition to `Retry-After`, so that refused clients do not all return at once. Default `0s`.
    #[serde(default)]
    pub retry_after_jitter: Duration,
}

/// A server of Envoy's Rate Limit Service protocol, such as envoyproxy/ratelimit or Limitador.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct RateLimitServiceConfig {
    /// The Envoy cluster of the server, with HTTP/2.
    pub cluster: String,
    /// The `:authority` of calls. Default: the cluster's name.
    #[serde(default, deserialize_with = "values::present")]
    pub authority: Option<String>,
    /// The domain of the limits in the server. Default `tollgate`.
    #[serde(default = "default_domain")]
    pub domain: String,
    /// The timeout for an answer, at most `1s`. Default `20ms`.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

/// The limit of one plan.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct PlanConfig {
    /// Cost units in each window.
    #[serde(deserialize_with = "values::integer")]
    pub limit: u64,
    /// Maximum cost units at once, for `token_bucket`. Default: `limit`.
    #[serde(default, deserialize_with = "values::integer_if_present")]
    pub burst: Option<u64>,
}

/// The cost of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct Cost(#[serde(deserialize_with = "values::integer")] pub u64);

/// A part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address.
    Ip,
    /// The user, separately for each issuer.
    User,
    /// The tenant, separately for each issuer.
    Tenant,
    /// The API key.
    ApiKey,
    /// The plan.
    Plan,
    /// The rule that the request has matched.
    Route,
    /// A request header, which the client chooses.
    Header(HeaderName),
    /// A claim, by its attribute name.
    Claim(String),
}

/// What to do with a request without a part of the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum OnMissing {
    /// Count by its address instead.
    #[default]
    Ip,
    /// Do not count it.
    Skip,
    /// Refuse it.
    Deny,
}

/// Whether a limit refuses requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Mode {
    /// It refuses requests over the limit.
    #[default]
    Enforce,
    /// It only counts.
    Shadow,
}

/// Where a limit is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Backend {
    /// In this Envoy.
    #[default]
    Local,
    /// In the Rate Limit Service.
    Rls,
}

/// What to do with a request without an answer from the Rate Limit Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum OnFault {
    /// Count it in this Envoy.
    #[default]
    Local,
    /// Allow it.
    Allow,
    /// Refuse it.
    Deny,
}

/// The response headers with the remaining quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum QuotaHeaders {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
    #[default]
    Ratelimit,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    XRatelimit,
    /// None.
    None,
}

/// A rule's reference to a limit: its name, or `{ limit: NAME, cost: 5 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRef {
    /// The limit's name.
    pub limit: String,
    /// A factor for the cost of requests of this rule. Default 1.
    pub cost: u64,
}

impl<'de> Deserialize<'de> for LimitRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            limit: String,
            #[serde(default = "one", deserialize_with = "values::integer")]
            cost: u64,
        }

        fn one() -> u64 {
            1
        }

        struct RefVisitor;

        impl<'de> Visitor<'de> for RefVisitor {
            type Value = LimitRef;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a limit, or `{ limit: NAME, cost: 5 }`")
            }

            fn visit_str<E>(self, name: &str) -> Result<LimitRef, E> {
                Ok(LimitRef {
                    limit: name.to_owned(),
                    cost: 1,
                })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, members: A) -> Result<LimitRef, A::Error> {
                let Whole { limit, cost } = Whole::deserialize(serde::de::value::MapAccessDeserializer::new(members))?;
                Ok(LimitRef { limit, cost })
            }
        }

        deserializer.deserialize_any(RefVisitor)
    }
}

impl<'de> Deserialize<'de> for KeyPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let part = match text.as_str() {
            "ip" => Some(Self::Ip),
            "user" => Some(Self::User),
            "tenant" => Some(Self::Tenant),
            "api_key" => Some(Self::ApiKey),
            "plan" => Some(Self::Plan),
            "route" => Some(Self::Route),
            other => match other.split_once(':') {
                Some(("header", name)) => HeaderName::parse(name).map(Self::Header),
                Some(("claim", name)) if !name.is_empty() => Some(Self::Claim(name.to_owned())),
                _ => None,
            },
        };
        part.ok_or_else(|| {
            D::Error::custom(format_args!(
                "\"{text}\" is not a part of a key: `ip`, `user`, `tenant`, `api_key`, `plan`, `route`, `header:NAME`, \
                 `claim:ATTRIBUTE`"
            ))
        })
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => formatter.write_str("ip"),
            Self::User => formatter.write_str("user"),
            Self::Tenant => formatter.write_str("tenant"),
            Self::ApiKey => formatter.write_str("api_key"),
            Self::Plan => formatter.write_str("plan"),
            Self::Route => formatter.write_str("route"),
            Self::Header(name) => write!(formatter, "header:{}", name.as_str()),
            Self::Claim(name) => write!(formatter, "claim:{name}"),
        }
    }
}

fn default_domain() -> String {
    "tollgate".into()
}

/// The same as in Envoy's own filter.
fn default_timeout() -> Duration {
    Duration::from_millis(20)
}

fn default_algorithm() -> Algorithm {
    Algorithm::SlidingWindow
}

fn default_entries() -> u32 {
    65_536
}

schema!(KeyPart, "KeyPart", {"type": "string", "pattern": "^(ip|user|tenant|api_key|plan|route|header:.+|claim:.+)$"});
schema!(LimitRef, "LimitRef", {
    "oneOf": [
        {"type": "string"},
        {
            "type": "object",
            "additionalProperties": false,
            "required": ["limit"],
            "properties": {
                "limit": {"type": "string", "description": "The limit's name."},
                "cost": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "A factor for the cost of requests of this rule. Default 1."
                }
            }
        }
    ]
});
