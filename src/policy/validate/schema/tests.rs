use super::*;
use crate::denial::Location;
use proptest::prelude::*;
use serde_json::json;

/// The failures of a value, each as `pointer detail`.
fn failures(schema: &Value, body: &str) -> Vec<String> {
    let schema = Schema::compile(schema).unwrap();
    let Err(denial) = schema.check(body.as_bytes()) else {
        return Vec::new();
    };
    let shown = denial.failures.into_iter().map(|failure| match failure.location {
        Location::Body(pointer) => format!("{pointer} {}", failure.detail),
        other => panic!("{other:?}"),
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() {
        vec![denial.kind.refusal().code.to_owned()]
    } else {
        shown
    }
}

#[test]
fn each_keyword_is_checked() {
    for (schema, right, wrong) in [
        (
            json!({"type": "integer"}),
            vec!["1", "-1", "1.0", "12345678901234567890"],
            vec!["1.5", "\"1\"", "null"],
        ),
        (
            json!({"type": ["string", "null"]}),
            vec!["\"\"", "null"],
            vec!["1", "[]"],
        ),
        (json!({"type": "number"}), vec!["1", "1.5"], vec!["true"]),
        (json!({"type": "boolean"}), vec!["true"], vec!["0"]),
        (json!({"const": 1}), vec!["1", "1.0"], vec!["2", "\"1\""]),
        (
            json!({"enum": ["a", [1], {"b": 1}]}),
            vec!["\"a\"", "[1.0]", "{\"b\":1}"],
            vec!["\"b\"", "[]", "{\"b\":1,\"c\":1}"],
        ),
        (
            json!({"minimum": 1, "maximum": 3.5}),
            vec!["1", "3.5", "\"x\""],
            vec!["0", "0.9", "4"],
        ),
        (json!({"minimum": "3000000000"}), vec!["3000000000"], vec!["2999999999"]),
        (
            json!({"exclusiveMinimum": 1, "exclusiveMaximum": 3}),
            vec!["2", "1.1"],
            vec!["1", "3"],
        ),
        (json!({"multipleOf": 0.1}), vec!["0.3", "1"], vec!["0.35"]),
        (json!({"multipleOf": 5}), vec!["10", "0", "-5"], vec!["7"]),
        (
            json!({"minLength": 2, "maxLength": 3}),
            vec!["\"éé\"", "\"abc\"", "1"],
            vec!["\"é\"", "\"abcd\""],
        ),
        (
            json!({"pattern": "^[a-z]+-\\d$"}),
            vec!["\"ab-1\""],
            vec!["\"ab-\"", "\"A-1\""],
        ),
        (
            json!({"format": "uuid"}),
            vec!["\"00000000-0000-0000-0000-00000000000a\""],
            vec!["\"0\"", "\"00000000-0000-0000-0000-00000000000g\""],
        ),
        (
            json!({"format": "date-time"}),
            vec!["\"2026-01-02T03:04:05Z\""],
            vec!["\"2026-01-02\"", "\"2026-13-02T03:04:05Z\""],
        ),
        (
            json!({"format": "date"}),
            vec!["\"2026-01-02\""],
            vec!["\"2026-02-30\"", "\"2026\""],
        ),
        (json!({"format": "ipv4"}), vec!["\"1.2.3.4\""], vec!["\"1.2.3\""]),
        (json!({"format": "ipv6"}), vec!["\"::1\""], vec!["\"1.2.3.4\""]),
        (
            json!({"items": {"type": "string"}, "minItems": 1, "maxItems": 2}),
            vec!["[\"a\"]", "{}"],
            vec!["[]", "[1]", "[\"a\",\"b\",\"c\"]"],
        ),
        (
            json!({"properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false}),
            vec!["{\"a\":\"\"}", "1"],
            vec!["{}", "{\"a\":1}", "{\"a\":\"\",\"b\":1}"],
        ),
        (
            json!({"additionalProperties": {"type": "integer"}}),
            vec!["{\"a\":1}"],
            vec!["{\"a\":\"\"}"],
        ),
        (
            json!({"minProperties": 1, "maxProperties": 1}),
            vec!["{\"a\":1}"],
            vec!["{}", "{\"a\":1,\"b\":2}"],
        ),
        (
            json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}),
            vec!["1", "2"],
            vec!["0", "3"],
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"minimum": 5}]}),
            vec!["\"a\"", "5"],
            vec!["1"],
        ),
        (
            json!({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}),
            vec!["2", "9"],
            vec!["6", "7"],
        ),
        (json!({"not": {"type": "null"}}), vec!["1"], vec!["null"]),
        (json!(true), vec!["1"], vec![]),
        (json!(false), vec![], vec!["1"]),
        (
            json!({"title": "t", "description": "d", "default": 1, "$schema": "s"}),
            vec!["1"],
            vec![],
        ),
    ] {
        for body in right {
            assert_eq!(failures(&schema, body), [""; 0], "{schema} {body}");
        }
        for body in wrong {
            assert!(!failures(&schema, body).is_empty(), "{schema} {body}");
        }
    }
}

#[test]
fn failures_say_where() {
    let schema = json!({
        "type": "object", "required": ["id", "a/b"],
        "properties": {"id": {"type": "string"}, "items": {"items": {"$ref": "#/$defs/item"}}},
        "$defs": {"item": {"type": "object", "properties": {"n": {"minimum": 1}, "next": {"$ref": "#/$defs/item"}}}},
    });
    assert_eq!(
        failures(&schema, r#"{"id":1,"items":[{"n":1},{"n":0,"next":{"next":3}}]}"#),
        [
            "/a~1b is required",
            "/id is not of type string",
            "/items/1/n is below the minimum of 1",
            "/items/1/next/next is not of type object",
        ]
    );
    let many = format!("[{}]", vec!["1"; 100].join(","));
    assert_eq!(failures(&json!({"items": {"type": "null"}}), &many).len(), check::MOST);
}

#[test]
fn no_schema_takes_for_ever() {
    let endless = json!({"$ref": "#"});
    assert_eq!(failures(&endless, "1"), [" takes too many steps to check"]);
    let either = json!({"anyOf": [{"items": {"$ref": "#"}, "minItems": 1}, {"items": {"$ref": "#"}, "minItems": 2}]});
    let deep = format!("{}{}", "[".repeat(32), "]".repeat(32));
    assert_eq!(failures(&either, &deep), [" takes too many steps to check"]);
    assert_eq!(failures(&json!(true), &"[".repeat(33)), ["invalid_body"]);
}

#[test]
fn what_costs_much_comes_last_or_not_at_all() {
    let long = format!("\"{}\"", "y".repeat(1 << 20));
    let reason = |schema: Value, body: &str| {
        Schema::compile(&schema)
            .unwrap()
            .check(body.as_bytes())
            .unwrap_err()
            .reason
    };
    assert_eq!(reason(json!({"pattern": "^.{1,50}x$"}), &long), "too_many_steps");
    assert_eq!(
        reason(json!({"pattern": "^.{1,50}x$", "maxLength": 100}), &long),
        "schema"
    );
    assert_eq!(
        failures(&json!({"pattern": "^.{1,50}x$", "maxLength": 100}), &long),
        [" has more than 100 characters"],
        "the pattern is not tried"
    );
    let texts = format!(
        "[{}]",
        vec!["\"00000000-0000-0000-0000-00000000000a\""; 20_000].join(",")
    );
    let uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    assert_eq!(failures(&json!({"items": {"pattern": uuid}}), &texts), [""; 0]);
    let many = format!("[{}]", vec!["\"ab\""; 100_000].join(","));
    let wide = json!({"items": {"anyOf": vec![json!({"pattern": "(a|b){1,99}x"}); 9]}});
    assert_eq!(reason(wide, &many), "too_many_steps");
}

#[test]
fn a_long_name_is_copied_for_failures_only_and_in_part() {
    let name = "n".repeat(1 << 19);
    let body = format!("{{\"{name}\":[{}]}}", vec!["1"; 1 << 18].join(","));
    let schema = json!({"additionalProperties": {"items": {"type": "string"}}});
    let found = failures(&schema, &body);
    assert_eq!(found.len(), check::MOST);
    assert!(
        found
            .iter()
            .all(|failure| failure.len() < 200 && failure.starts_with("/nnn"))
    );
    assert_eq!(
        failures(&json!({"additionalProperties": {"items": {"type": "number"}}}), &body),
        [""; 0]
    );
}

#[test]
fn patterns_with_too_many_states_are_refused() {
    let message = |pattern: &str| Schema::compile(&json!({ "pattern": pattern })).unwrap_err().remove(0).1;
    for pattern in [".{1,1000}x", "([a-z]{1,60}){1,60}", "(((a{1,20}){1,20}){1,20}){1,20}"] {
        assert!(
            message(pattern).contains("too many states"),
            "{pattern}: {}",
            message(pattern)
        );
    }
    for pattern in [
        "^[^@]{1,64}@[a-z0-9.-]{1,190}$",
        "^\\+?[0-9]{7,15}$",
        "^(?:[a-z]{2}-[A-Z]{2}|[a-z]{2})$",
    ] {
        assert!(Schema::compile(&json!({ "pattern": pattern })).is_ok(), "{pattern}");
    }
}

#[test]
fn what_is_not_checked_is_refused() {
    let mistakes = |schema: Value| Schema::compile(&schema).map(|_| ()).unwrap_err();
    let one = |schema: Value| mistakes(schema).remove(0);
    assert_eq!(
        one(json!({"properties": {"a": {"uniqueItems": true}}})).0,
        "/properties/a/uniqueItems"
    );
    for (schema, expected) in [
        (json!({"typ": "string"}), "is not checked by this gateway"),
        (json!({"type": "text"}), "is none of null"),
        (json!({"type": []}), "is none of null"),
        (json!({"pattern": "("}), "is not a pattern"),
        (json!({"pattern": 1}), "is not text"),
        (
            json!({"format": "email"}),
            "is none of the formats that are checked: date-time, date",
        ),
        (json!({"$ref": "other.json"}), "names nothing within this schema"),
        (json!({"$ref": "#/$defs/none"}), "names nothing within this schema"),
        (json!({"minLength": -1}), "is not a whole number"),
        (json!({"minimum": "x"}), "is not a number"),
        (json!({"multipleOf": 0}), "is not above 0"),
        (json!({"enum": 1}), "is not a list"),
        (json!({"required": [1]}), "is not a list of names"),
        (json!({"anyOf": []}), "is not a list of schemas"),
        (json!({"properties": []}), "is not an object"),
        (json!({"items": []}), "is not a schema"),
    ] {
        let (_, message) = one(schema.clone());
        assert!(message.starts_with(expected), "{schema}: {message}");
    }
    let both = mistakes(json!({"properties": {"a": {"x": 1}, "b": {"$ref": "#/$defs/c"}}, "$defs": {"c": {"y": 1}}}));
    assert_eq!(
        both.into_iter().map(|(at, _)| at).collect::<Vec<_>>(),
        ["/properties/a/x", "/$defs/c/y"]
    );
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in r#"[\[\]{}:,"a0-9.e-]{0,30}"#) {
        let schema = json!({"items": {"$ref": "#"}, "properties": {"a": {"multipleOf": 3, "pattern": "a"}}, "minLength": 1, "maximum": 3});
        let _ = failures(&schema, &body);
    }
}
