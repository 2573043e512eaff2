use prost::Message as _;
use prost_types::value::Kind;
use serde_json::Value;

use super::decode;

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
