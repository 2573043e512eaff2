//! Decoding of a configuration from the bytes that Envoy hands over.

use prost::Message as _;
use prost_types::value::Kind;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::ConfigError;
use super::strict::Strict;
use crate::json;

/// Decodes a configuration: JSON text, as from a `StringValue` or from Istio, or the serialized
/// `google.protobuf.Struct` that Envoy makes of YAML. `Err` is the first shape error, with its path.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ConfigError> {
    if looks_like_json(bytes) {
        let value = json::parse(bytes).map_err(|error| whole(error.to_string()))?;
        return shape(value);
    }
    let fields = prost_types::Struct::decode(bytes).map_err(|_| {
        whole("is neither a JSON object nor a google.protobuf.Struct; write it as YAML under a Struct, or as JSON text")
    })?;
    shape(to_json(Kind::StructValue(fields)))
}

/// Whether the bytes are JSON text. A serialized `Struct` begins with a newline, which is JSON's white space, and a
/// length: so text must begin with `{` after white space, and must parse if there was any.
fn looks_like_json(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim_start();
    text.starts_with('{') && (bytes.starts_with(b"{") || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

/// Deserializes the shape. Both forms go through one type, so that this large code is in the plugin only once.
fn shape<T: DeserializeOwned>(value: Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        ConfigError {
            path,
            message: error.into_inner().to_string(),
        }
    })
}

fn whole(message: impl Into<String>) -> ConfigError {
    ConfigError {
        path: String::new(),
        message: message.into(),
    }
}

/// Converts a `Struct` to JSON. It has only doubles: whole numbers become integers again. prost limits the depth.
fn to_json(kind: Kind) -> Value {
    match kind {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => Value::Bool(value),
        Kind::StringValue(value) => Value::String(value),
        Kind::NumberValue(value) => number(value),
        Kind::ListValue(list) => list
            .values
            .into_iter()
            .map(|value| value.kind.map_or(Value::Null, to_json))
            .collect(),
        Kind::StructValue(fields) => Value::Object(
            fields
                .fields
                .into_iter()
                .map(|(name, value)| (name, value.kind.map_or(Value::Null, to_json)))
                .collect::<Map<_, _>>(),
        ),
    }
}

fn number(value: f64) -> Value {
    #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
    let whole = (value.fract() == 0.0 && value.abs() <= MAX_EXACT).then_some(value as i64);
    whole
        .map(Number::from)
        .or_else(|| Number::from_f64(value))
        .map_or(Value::Null, Value::Number)
}

/// 2^53: up to here a double represents every integer.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
