//! The configuration of validation.

use serde::Deserialize;
use serde_json::Value;

use crate::config::values::{self, FieldName};
use crate::message::media_range::MediaRange;

/// What requests must contain.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ValidateConfig {
    /// Required headers.
    pub headers: Vec<FieldName>,
    /// Required query parameters.
    pub query: Vec<String>,
    /// Allowed media types of bodies, such as `application/json`, `application/*+json` or `image/*`. Default: all; with
    /// a `schema`, `[application/json]`.
    pub content_types: Vec<MediaRange>,
    /// Maximum size of a body, in bytes. Default: unlimited; with a `schema`, 1048576.
    #[serde(deserialize_with = "values::integer_if_present")]
    pub max_bytes: Option<u64>,
    /// Whether a body is required.
    pub body_required: bool,
    /// The JSON Schema of a body.
    #[serde(deserialize_with = "values::present")]
    pub schema: Option<Value>,
}
