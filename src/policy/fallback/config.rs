//! What operators write about failures of upstreams.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::values::{self, Duration, FieldName};
use crate::policy::transform::StatusPattern;

/// What stands in for an upstream that fails: another cluster, else the last good response, else an answer of its own; the
/// first of them that is there.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct FallbackConfig {
    /// Failures that Envoy answers for. Default: all of them.
    #[serde(deserialize_with = "values::present")]
    pub when: Option<Vec<Cause>>,
    /// Statuses of the upstream's own that count as failures: `502`, or the whole class `5xx`. Default none.
    pub statuses: Vec<StatusPattern>,
    /// Methods of requests that `answer` stands in for. `cluster` and `last_good` are for GET and HEAD alone. Default
    /// `[GET, HEAD]`.
    #[serde(deserialize_with = "values::present")]
    pub methods: Option<Vec<String>>,
    /// Another cluster, which is sent the same request: GET and HEAD without a body.
    #[serde(deserialize_with = "values::present")]
    pub cluster: Option<ClusterConfig>,
    /// What the upstream answered the same caller the last time: GET and HEAD.
    #[serde(deserialize_with = "values::present")]
    pub last_good: Option<LastGoodConfig>,
    /// An answer of the gateway's own.
    #[serde(deserialize_with = "values::present")]
    pub answer: Option<AnswerConfig>,
}

/// How an upstream can fail. In brackets, Envoy's response flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Cause {
    /// Its circuit breaker is open (`UO`).
    Overflow,
    /// No host of it is healthy (`UH`).
    NoHealthyUpstream,
    /// It could not be connected to (`UF`).
    ConnectionFailure,
    /// It closed the connection before it answered (`UC`).
    ConnectionTermination,
    /// It reset the request before it answered (`UR`).
    RemoteReset,
    /// It did not answer in time (`UT`).
    Timeout,
}

/// Another cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ClusterConfig {
    /// Its name in Envoy.
    pub name: String,
    /// How long its answer may take, at most `2s`. Default `1s`.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

/// Which responses are kept, and how many.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct LastGoodConfig {
    /// How old a response may be that stands in. Default `10m`.
    pub max_age: Duration,
    /// Bytes of a response, headers included; a larger one is not kept. Default 65536.
    #[serde(deserialize_with = "values::integer")]
    pub max_bytes: u32,
    /// Responses that are kept for this rule by all workers together, rounded up to a multiple of four. Default 256.
    #[serde(deserialize_with = "values::integer")]
    pub entries: u32,
    /// What is kept of responses to callers without an identity: `public`, those with `Cache-Control: public` (default), or `none`.
    /// `tollgate check` warns where a rule takes such callers and this is not said.
    #[serde(deserialize_with = "values::present")]
    pub anonymous: Option<Anonymous>,
}

/// What is kept of responses to callers without an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Anonymous {
    /// Those that say that they are everybody's.
    Public,
    /// Nothing.
    None,
}

/// An answer of the gateway's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct AnswerConfig {
    /// Its status, from 200 to 599.
    #[serde(deserialize_with = "values::integer")]
    pub status: u16,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<FieldName, String>,
    /// Its body: a text, or anything else as JSON.
    #[serde(default)]
    pub body: serde_json::Value,
}

impl Cause {
    /// Every one.
    pub(super) const ALL: [Self; 6] = [
        Self::Overflow,
        Self::NoHealthyUpstream,
        Self::Timeout,
        Self::ConnectionFailure,
        Self::ConnectionTermination,
        Self::RemoteReset,
    ];

    /// Its bit in `response.flags` (Envoy's `StreamInfo::CoreResponseFlag`).
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

    /// As operators write it.
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
