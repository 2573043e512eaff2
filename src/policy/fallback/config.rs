//! The configuration of fallbacks.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::values::{self, Duration, FieldName};
use crate::policy::transform::StatusPattern;

/// What replaces the response of a failed upstream: the answer of another cluster, else the last good response, else
/// the gateway's own answer.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct FallbackConfig {
    /// The failures, detected by Envoy. Default: all.
    #[serde(deserialize_with = "values::present")]
    pub when: Option<Vec<Cause>>,
    /// Statuses of the upstream's responses that count as failures: `502`, or the class `5xx`. Default: none.
    pub statuses: Vec<StatusPattern>,
    /// Methods for which `answer` is used. `cluster` and `last_good` are for GET and HEAD only. Default `[GET, HEAD]`.
    #[serde(deserialize_with = "values::present")]
    pub methods: Option<Vec<String>>,
    /// Another cluster, which gets the same request. For GET and HEAD without a body.
    #[serde(deserialize_with = "values::present")]
    pub cluster: Option<ClusterConfig>,
    /// The last good response of the upstream to the same caller. For GET and HEAD.
    #[serde(deserialize_with = "values::present")]
    pub last_good: Option<LastGoodConfig>,
    /// The gateway's own answer.
    #[serde(deserialize_with = "values::present")]
    pub answer: Option<AnswerConfig>,
}

impl FallbackConfig {
    /// Whether nothing replaces a response.
    pub fn is_empty(&self) -> bool {
        self.cluster.is_none() && self.last_good.is_none() && self.answer.is_none()
    }
}

/// A failure of an upstream. In brackets, Envoy's response flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Cause {
    /// The upstream's circuit breaker is open (`UO`).
    Overflow,
    /// The upstream has no healthy host (`UH`).
    NoHealthyUpstream,
    /// The connection to the upstream failed (`UF`).
    ConnectionFailure,
    /// The upstream closed the connection before it answered (`UC`).
    ConnectionTermination,
    /// The upstream reset the request before it answered (`UR`).
    RemoteReset,
    /// The upstream did not answer in time (`UT`).
    Timeout,
}

/// Another cluster for the same request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ClusterConfig {
    /// The name of the Envoy cluster.
    pub name: String,
    /// The timeout for its answer, at most `2s`. Default `1s`.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

/// Which responses are kept, and how many.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct LastGoodConfig {
    /// Maximum age of a response that is used. Default `10m`.
    pub max_age: Duration,
    /// Maximum size of a response with its headers, in bytes; larger ones are not kept. Default 65536.
    #[serde(deserialize_with = "values::integer")]
    pub max_bytes: u32,
    /// How many responses all workers together keep for this rule, rounded up to a multiple of four. Default 256.
    #[serde(deserialize_with = "values::integer")]
    pub entries: u32,
    /// Which responses to anonymous callers are kept: `public`, those with `Cache-Control: public` (default), or
    /// `none`. `tollgate check` warns if a rule allows anonymous callers and this is absent.
    #[serde(deserialize_with = "values::present")]
    pub anonymous: Option<Anonymous>,
}

/// Which responses to anonymous callers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Anonymous {
    /// Those with `Cache-Control: public`.
    Public,
    /// None.
    None,
}

/// The gateway's own answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct AnswerConfig {
    /// The status, from 200 to 599.
    #[serde(deserialize_with = "values::integer")]
    pub status: u16,
    /// The headers.
    #[serde(default)]
    pub headers: BTreeMap<FieldName, String>,
    /// The body: a string as text, any other value as JSON.
    #[serde(default)]
    pub body: serde_json::Value,
}

impl Cause {
    pub(super) const ALL: [Self; 6] = [
        Self::Overflow,
        Self::NoHealthyUpstream,
        Self::Timeout,
        Self::ConnectionFailure,
        Self::ConnectionTermination,
        Self::RemoteReset,
    ];

    /// The bit in `response.flags` (Envoy's `StreamInfo::CoreResponseFlag`).
    pub(super) const fn flag(self) -> u64 {
        match self {
            Self::NoHealthyUpstream => 1 << 1,
            Self::Timeout => 1 << 2,
            Self::RemoteReset => 1 << 4,
            Self::ConnectionFailure => 1 << 5,
            Self::ConnectionTermination => 1 << 6,
            Self::Overflow => 1 << 7,
        }
    }

    /// The name in a configuration.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::NoHealthyUpstream => "no_healthy_upstream",
            Self::ConnectionFailure => "connection_failure",
            Self::ConnectionTermination => "connection_termination",
            Self::RemoteReset => "remote_reset",
            Self::Timeout => "timeout",
        }
    }
}

impl Default for LastGoodConfig {
    fn default() -> Self {
        Self {
            max_age: Duration::from_millis(600_000),
            max_bytes: 64 * 1024,
            entries: 256,
            anonymous: None,
        }
    }
}

fn default_timeout() -> Duration {
    Duration::from_millis(1000)
}
