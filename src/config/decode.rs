//! From the bytes that Envoy hands over to a [`Config`].

use prost::Message as _;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

use super::strict::Strict;
use super::{Config, ConfigError};
use crate::json;

/// Reads a configuration: JSON text, as from a `StringValue` or from Istio, or the serialized
/// `google.protobuf.Struct` that Envoy makes of YAML. The first shape error, with its path.
pub fn decode(bytes: &[u8]) -> Result<Config, ConfigError> {
    if looks_like_json(bytes) {
        let value = json::parse(bytes).map_err(|error| whole(error.to_string()))?;
        return shape(value);
    }
    let fields = prost_types::Struct::decode(bytes).map_err(|_| {
        whole("is neither a JSON object nor a google.protobuf.Struct; write it as YAML under a Struct, or as JSON text")
    })?;
    shape(to_json(Kind::StructValue(fields)))
}

/// A serialized `Struct` begins with a newline, JSON's white space, and its second byte, a length, may be anything.
/// What tells them apart is the first byte of text that is not white space.
fn looks_like_json(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim_start();
    text.starts_with('{') && (bytes.starts_with(b"{") || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

/// From both forms through one type: the code that reads shapes is large, and is in the plugin once.
fn shape(value: Value) -> Result<Config, ConfigError> {
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

/// A `Struct` knows only doubles: whole numbers become integers again. prost bounds the depth.
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

/// 2^53: up to here every integer is a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{"version":1,"routes":[{"match":{"path_prefix":"/"},"public":true}]}"#;

    fn to_struct(value: &Value) -> prost_types::Value {
        let kind = match value {
            Value::Null => Kind::NullValue(0),
            Value::Bool(value) => Kind::BoolValue(*value),
            Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap()),
            Value::String(value) => Kind::StringValue(value.clone()),
            Value::Array(items) => Kind::ListValue(prost_types::ListValue {
                values: items.iter().map(to_struct).collect(),
            }),
            Value::Object(members) => Kind::StructValue(prost_types::Struct {
                fields: members
                    .iter()
                    .map(|(name, value)| (name.clone(), to_struct(value)))
                    .collect(),
            }),
        };
        prost_types::Value { kind: Some(kind) }
    }

    fn serialized(text: &str) -> Vec<u8> {
        match to_struct(&serde_json::from_str(text).unwrap()).kind {
            Some(Kind::StructValue(fields)) => fields.encode_to_vec(),
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn json_text_and_a_struct_are_the_same() {
        for bytes in [
            MINIMAL.as_bytes().to_vec(),
            serialized(MINIMAL),
            format!("\n {MINIMAL}\n").into_bytes(),
        ] {
            let config = decode(&bytes).unwrap();
            assert_eq!((config.version, config.routes.len()), (1, 1));
        }
    }

    #[test]
    fn a_struct_of_any_length_is_never_taken_for_text() {
        for padding in 0..400 {
            let text = MINIMAL.replace(
                "\"public\"",
                &format!("\"name\":\"{}\",\"public\"", "n".repeat(padding)),
            );
            assert!(decode(&serialized(&text)).is_ok(), "{padding}");
        }
    }

    #[test]
    fn shape_errors_have_a_path() {
        let error = |text: &str| decode(text.as_bytes()).unwrap_err().to_string();
        assert!(error(r#"{"version":1,"rotes":[]}"#).starts_with("rotes: unknown field `rotes`"));
        assert!(
            error(r#"{"version":1,"routes":[{"match":{"path":1}}]}"#).starts_with("routes[0].match.path: invalid type")
        );
        assert!(error(r#"{"version":1,"version":1}"#).contains("duplicate member \"version\" at line 1 column"));
        assert!(error(r#"{"version":1"#).contains("line 1 column"));
        assert!(error(r#"{"routes":[]}"#).contains("missing field `version`"));
        assert!(error(r#"{"version":1} x"#).contains("trailing"));
        for text in ["", "[]", "version: 1", "\0", "\"text\""] {
            assert!(decode(text.as_bytes()).is_err(), "{text:?}");
        }
        let bytes = serialized(r#"{"version":1,"defaults":{"auth":null}}"#);
        assert!(
            decode(&bytes)
                .unwrap_err()
                .to_string()
                .starts_with("defaults.auth: invalid type: null, expected a map of keys: `any`")
        );
    }

    #[test]
    fn numbers_may_arrive_as_doubles_or_text() {
        for version in ["1", "\"1\"", "1.0"] {
            assert!(
                decode(format!(r#"{{"version":{version}}}"#).as_bytes()).is_ok(),
                "{version}"
            );
        }
        for version in ["1.5", "-1", "\"one\"", "\"\"", "4294967296", "true"] {
            assert!(
                decode(format!(r#"{{"version":{version}}}"#).as_bytes()).is_err(),
                "{version}"
            );
        }
    }
}
