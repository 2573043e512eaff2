//! What operators write about what requests must look like.

use serde::Deserialize;
use serde_json::Value;

use crate::config::values::{self, FieldName};
use crate::message::media_range::MediaRange;

/// What a request must look like.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ValidateConfig {
    /// Headers that must be there.
    pub headers: Vec<FieldName>,
    /// Query parameters that must be there.
    pub query: Vec<String>,
    /// Media types that a body may be of, such as `application/json`, `application/*+json` or `image/*`. Default all; with a `schema`,
    /// `[application/json]`.
    pub content_types: Vec<MediaRange>,
    /// Bytes that a body may have. Where there is a `schema`, default 1048576.
    #[serde(deserialize_with = "values::integer_if_present")]
    pub max_bytes: Option<u64>,
    /// Whether there must be a body.
    pub body_required: bool,
    /// The JSON Schema of a body.
    #[serde(deserialize_with = "values::present")]
    pub schema: Option<Value>,
}
