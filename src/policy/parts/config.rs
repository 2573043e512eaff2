//! The configuration of parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::config::Report;
use crate::config::values::{self, Duration, FieldName, Named};
use crate::json::Path;
use crate::policy::transform::{BodyConfig, StatusPattern};
use crate::schema::schema;
use crate::template::{Content, Template, Vocabulary};

/// A part: a call to a service, made from a template, whose answer aggregates use by the part's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct PartConfig {
    /// The name of Envoy's cluster.
    pub cluster: String,
    /// The `:authority` of the call. Default: the cluster's name.
    #[serde(default, deserialize_with = "values::present")]
    pub authority: Option<String>,
    /// The method. Default `GET`. A part of another method than GET and HEAD is unsafe: only rules for unsafe methods use
    /// it, and it has neither `batch` nor `cache`.
    #[serde(default = "get")]
    pub method: String,
    /// The path: `/v1/users/{identity.user_id}`. Values are percent-encoded; the part is not called with a path that could
    /// be read in two ways.
    pub path: PartTemplate,
    /// Query parameters; one without a value is left out.
    #[serde(default)]
    pub query: Named<PartTemplate>,
    /// Headers besides those that every part gets; one without a value is left out.
    #[serde(default)]
    pub headers: BTreeMap<FieldName, PartTemplate>,
    /// The JSON body. A string that is nothing but one value becomes that JSON value; a member without a value is left out.
    #[serde(default, deserialize_with = "values::present")]
    pub body: Option<PartContent>,
    /// The gateway's own bearer token for the service.
    #[serde(default, deserialize_with = "values::present")]
    pub token: Option<TokenConfig>,
    /// The time for the complete answer, at most what is left of the aggregate's deadline. Default `1s`.
    #[serde(default, deserialize_with = "values::present")]
    pub timeout: Option<Duration>,
    /// Maximum size of the answer, in bytes. Default 262144, at most 4194304.
    #[serde(default = "max_bytes", deserialize_with = "values::integer")]
    pub max_bytes: u64,
    /// What statuses mean.
    #[serde(default)]
    pub statuses: StatusesConfig,
    /// Changes of the answer.
    #[serde(default)]
    pub response: ReshapeConfig,
    /// The value that stands in for the answer of a part that fails. Without it, the part is required.
    #[serde(default, deserialize_with = "values::present")]
    pub default: Option<Value>,
    /// A condition: the part is not called, and is `null`, if this renders to nothing, `false` or `0`.
    #[serde(default, deserialize_with = "values::present")]
    pub when: Option<PartTemplate>,
    /// One call for many items.
    #[serde(default, deserialize_with = "values::present")]
    pub batch: Option<BatchConfig>,
    /// How long an answer with status 200 is used again for the same call, headers included: `1s` to `60s`. For GET.
    #[serde(default, deserialize_with = "values::present")]
    pub cache: Option<Duration>,
    /// Whether the call carries no identity headers, so that all callers may share its answer.
    #[serde(default)]
    pub anonymous: bool,
}

/// The source of a token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct TokenConfig {
    /// The environment variable that holds the token.
    pub env: String,
}

/// What statuses of a part's answer mean. Any other status is a failure.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct StatusesConfig {
    /// The answer is the part's value. Default `[2xx]`.
    pub ok: Vec<StatusPattern>,
    /// The part is `null`, which is not a failure.
    pub none: Vec<StatusPattern>,
    /// A failure. If the part is required, the client gets this status.
    pub pass: Vec<StatusPattern>,
}

/// Changes of a part's answer. They run in the order of this list, each on the result of the previous ones.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ReshapeConfig {
    /// Replaces the answer by the value at this path, if it exists.
    #[serde(deserialize_with = "values::present")]
    pub unwrap: Option<Path>,
    /// Keeps only these paths.
    #[serde(deserialize_with = "values::present")]
    pub keep: Option<Vec<Path>>,
    /// Removes these paths.
    pub remove: Vec<Path>,
    /// Renames members in place: `avatar_url: avatar`.
    pub rename: BTreeMap<Path, String>,
    /// Moves members: `address.city: city`. Both paths must have the same `[*]`, if any.
    pub r#move: BTreeMap<Path, Path>,
    /// Wraps the answer in an object as the only member, with this name.
    #[serde(deserialize_with = "values::present")]
    pub wrap: Option<String>,
}

/// One call for many items, whose answer is an array.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct BatchConfig {
    /// The key of an item: `{item.product_id}`. The part's templates have the distinct keys as `{keys}`.
    pub key: PartTemplate,
    /// The member by which an item's object is found in the answer.
    pub by: String,
    /// Maximum number of keys in one call. Default 50, at most 200.
    #[serde(default = "max_keys", deserialize_with = "values::integer")]
    pub max: u64,
    /// How `{keys}` is written in a query parameter: `comma` (default) or `repeat`.
    #[serde(default)]
    pub join: Join,
}

/// How several keys are written in a query parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Join {
    /// `ids=a,b`.
    #[default]
    Comma,
    /// `ids=a&ids=b`.
    Repeat,
}

/// A template with the values of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTemplate(pub Template);

/// A JSON value whose strings are templates with the values of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartContent(pub Content);

impl Default for StatusesConfig {
    fn default() -> Self {
        Self {
            ok: vec![StatusPattern::Class(2)],
            none: Vec::new(),
            pass: Vec::new(),
        }
    }
}

impl ReshapeConfig {
    pub(super) fn is_empty(&self) -> bool {
        self.as_body().is_empty()
    }

    /// The same as changes of a response's body.
    pub(super) fn as_body(&self) -> BodyConfig {
        BodyConfig {
            unwrap: self.unwrap.clone(),
            keep: self.keep.clone(),
            remove: self.remove.clone(),
            rename: self.rename.clone(),
            r#move: self.r#move.clone(),
            wrap: self.wrap.clone(),
            ..BodyConfig::default()
        }
    }
}

impl<'de> Deserialize<'de> for PartTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let template = Template::parse_with(&text, Vocabulary::Part);
        template
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format_args!("\"{text}\" {error}")))
    }
}

impl<'de> Deserialize<'de> for PartContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let content = Content::of(Value::deserialize(deserializer)?, Vocabulary::Part);
        content.map(Self).map_err(serde::de::Error::custom)
    }
}

schema!(PartTemplate, "PartTemplate", {"type": "string"});
schema!(PartContent, "PartContent", true);

fn get() -> String {
    "GET".into()
}

const fn max_bytes() -> u64 {
    256 << 10
}

const fn max_keys() -> u64 {
    50
}

/// Bounds for all aggregates of one worker together. They can only be lowered.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct PartLimitsConfig {
    /// Requests that wait for parts. Default 1024; one source has half of them.
    #[serde(deserialize_with = "values::integer")]
    pub requests: u64,
    /// Calls under way. Default 2048.
    #[serde(deserialize_with = "values::integer")]
    pub calls: u64,
    /// Bytes of answers that are held. Default 67108864.
    #[serde(deserialize_with = "values::integer")]
    pub bytes: u64,
}

impl PartLimitsConfig {
    const MOST: Self = Self {
        requests: 1024,
        calls: 2048,
        bytes: 64 << 20,
    };

    /// Reports bounds that are out of range.
    pub fn check(self, report: &mut Report) {
        for (name, own, most) in [
            ("requests", self.requests, Self::MOST.requests),
            ("calls", self.calls, Self::MOST.calls),
            ("bytes", self.bytes, Self::MOST.bytes),
        ] {
            if !(1..=most).contains(&own) {
                report.error_at(name, format!("must be from 1 to {most}"));
            }
        }
    }

    pub(super) fn requests(self) -> usize {
        usize::try_from(self.requests).unwrap_or(usize::MAX)
    }

    pub(super) fn calls(self) -> usize {
        usize::try_from(self.calls).unwrap_or(usize::MAX)
    }

    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}

impl Default for PartLimitsConfig {
    fn default() -> Self {
        Self::MOST
    }
}
