use super::*;
use crate::http::headers::Headers;
use crate::message::managed_names::ManagedNames;
use crate::message::request::Request;
use proptest::prelude::*;
use serde_json::{Value, json};

fn config(value: Value) -> BodyConfig {
    serde_json::from_value(value).unwrap()
}

/// A change with the values of a request with `x-client: mobile`.
fn ready(value: Value) -> BodyChange {
    let config = config(value);
    assert_eq!(config.mistakes(), []);
    let pairs = [
        (":method", "GET"),
        (":authority", "h"),
        (":path", "/a%20b?q=1%2B1+2"),
        ("x-client", "mobile"),
        ("x-text", "\"é\""),
    ];
    let headers: Headers = pairs.into_iter().collect();
    let request = Request::simulated(headers, ManagedNames::default());
    let captures = [("all", "a%20b")];
    let scope = Scope {
        request: &request,
        route: "r",
        captures: &captures,
        data: None,
    };
    Arc::new(BodyRules::new(&config, &[])).ready(scope)
}

fn changed(rules: Value, text: &str) -> String {
    ready(rules).apply(text.as_bytes()).unwrap()
}

#[test]
fn each_change_does_what_it_says() {
    let text = r#"{"a":{"b":1,"c":[{"d":1.0,"e":2},{"d":3}]},"x":"1"}"#;
    for (rules, expected) in [
        (
            json!({"remove": ["a.b", "a.c[*].d", "none.at"]}),
            r#"{"a":{"c":[{"e":2},{}]},"x":"1"}"#,
        ),
        (json!({"remove": ["a.c[*]"]}), r#"{"a":{"b":1,"c":[]},"x":"1"}"#),
        (json!({"rename": {"a.c[*].d": "id", "x": "a"}}), r#"{"a":"1"}"#),
        (
            json!({"rename": {"a.c[*].d": "e", "none": "x"}}),
            r#"{"a":{"b":1,"c":[{"e":1.0},{"e":3}]},"x":"1"}"#,
        ),
        (
            json!({"move": {"a.b": "y.z", "a.none": "x"}}),
            r#"{"a":{"c":[{"d":1.0,"e":2},{"d":3}]},"x":"1","y":{"z":1}}"#,
        ),
        (
            json!({"move": {"a.c[*].d": "a.c[*].f.g"}}),
            r#"{"a":{"b":1,"c":[{"e":2,"f":{"g":1.0}},{"f":{"g":3}}]},"x":"1"}"#,
        ),
        (
            json!({"replace": {"a.c[*].d": 0, "x": null, "none": 1}}),
            r#"{"a":{"b":1,"c":[{"d":0,"e":2},{"d":0}]},"x":null}"#,
        ),
        (
            json!({"replace": {"a.c[*]": []}}),
            r#"{"a":{"b":1,"c":[[],[]]},"x":"1"}"#,
        ),
        (
            json!({"set": {"x": {"k": ["{route}", 1]}, "n.m": true}}),
            r#"{"a":{"b":1,"c":[{"d":1.0,"e":2},{"d":3}]},"x":{"k":["r",1]},"n":{"m":true}}"#,
        ),
        (
            json!({"add": {"x": 1, "a.c[*].e": 9}}),
            r#"{"a":{"b":1,"c":[{"d":1.0,"e":2},{"d":3,"e":9}]},"x":"1"}"#,
        ),
        (
            json!({"append": {"x": 2, "a.c": 3, "new": 4}}),
            r#"{"a":{"b":1,"c":[{"d":1.0,"e":2},{"d":3},3]},"x":["1",2],"new":[4]}"#,
        ),
        (
            json!({"keep": ["a.c[*].d", "x"]}),
            r#"{"a":{"c":[{"d":1.0},{"d":3}]},"x":"1"}"#,
        ),
        (json!({"unwrap": "a.b", "wrap": "data"}), r#"{"data":1}"#),
        (json!({"unwrap": "none", "remove": ["a"]}), r#"{"x":"1"}"#),
    ] {
        assert_eq!(changed(rules.clone(), text), expected, "{rules}");
    }
}

#[test]
fn each_sees_what_those_before_it_have_done() {
    let rules = json!({
        "unwrap": "data", "keep": ["a", "b"], "remove": ["a"], "rename": {"b": "a"}, "move": {"a": "c.d"}, "replace": {"c.d": 2},
        "set": {"e": 1}, "add": {"e": 3}, "append": {"e": 4}, "wrap": "data",
    });
    assert_eq!(
        changed(rules, r#"{"data":{"a":0,"b":1,"z":9}}"#),
        r#"{"data":{"c":{"d":2},"e":[1,4]}}"#
    );
}

#[test]
fn what_no_rule_names_stays_byte_for_byte() {
    let text = r#" {"big":12345678901234567890,"float":1.0,"exponent":1e2,"text":"\u00e9\/","twice":1,"twice":2,"deep": {"a" : [ 1 ]},"gone":0} "#;
    assert_eq!(
        changed(json!({"remove": ["gone"], "add": {"new": 1.5}}), text),
        r#"{"big":12345678901234567890,"float":1.0,"exponent":1e2,"text":"\u00e9\/","twice":1,"twice":2,"deep":{"a" : [ 1 ]},"new":1.5}"#
    );
}

#[test]
fn duplicates_do_not_hide() {
    let text = r#"{"secret":1,"s\u0065cret":2,"x":{"y":1},"x":{"y":2}}"#;
    assert_eq!(
        changed(json!({"remove": ["secret", "x.y"]}), text),
        r#"{"x":{},"x":{}}"#
    );
    assert_eq!(
        changed(json!({"set": {"secret": 0}, "remove": ["x"]}), text),
        r#"{"secret":0}"#
    );
    assert_eq!(
        changed(json!({"replace": {"secret": 0}, "remove": ["x"]}), text),
        r#"{"secret":0,"s\u0065cret":0}"#
    );
}

#[test]
fn nothing_is_lost_where_something_is_in_the_way() {
    let text = r#"{"a":1,"b":2}"#;
    assert_eq!(changed(json!({"move": {"a": "b.c"}}), text), r#"{"b":2,"a":1}"#);
    assert_eq!(
        changed(
            json!({"set": {"a.x": 1}, "add": {"b.x": 1}, "append": {"b.y": 1}}),
            text
        ),
        text
    );
    for other in ["[1]", "\"a\"", "null", "1"] {
        let rules = json!({"remove": ["a"], "rename": {"b": "c"}, "set": {"d": 1}, "move": {"a": "e"}});
        assert_eq!(changed(rules, other), other);
    }
    assert_eq!(changed(json!({"keep": ["a"]}), "\"secret\""), "null");
}

#[test]
fn values_are_made_from_the_request() {
    let rules = json!({"set": {
        "user": "{identity.user_id|nobody}", "roles": "{identity.roles}", "query": "{query.q}",
        "path": "{path.all}", "header": "{headers.x-text}", "brace": "{{}}", "left_out": ["{headers.none}"], "default": "{headers.none|é}",
    }});
    assert_eq!(
        changed(rules, "{}"),
        r#"{"brace":"{}","default":"é","header":"\"é\"","path":"a b","query":"1+1 2","user":"nobody"}"#
    );
}

#[test]
fn forms_and_json_become_each_other() {
    let rules = json!({"convert": "form_to_json", "rename": {"a": "b"}});
    assert_eq!(changed(rules, "a=1&c=%22&c"), r#"{"b":"1","c":["\"",""]}"#);
    let rules = json!({"convert": "json_to_form", "remove": ["a"]});
    assert_eq!(changed(rules.clone(), r#"{"a":1,"b":[1,"x y"]}"#), "b=1&b=x+y");
    assert_eq!(ready(rules.clone()).apply(b"[]"), None);
    assert_eq!(
        (
            changed(rules.clone(), ""),
            changed(json!({"convert": "form_to_json"}), "")
        ),
        (String::new(), "{}".into())
    );
    let reads = |rules: Value, content_type| ready(rules).reads(&[content_type]);
    assert!(reads(
        json!({"convert": "form_to_json"}),
        "Application/x-www-form-urlencoded; charset=utf-8"
    ));
    assert!(!reads(json!({"convert": "form_to_json"}), "application/json"));
    assert!(!reads(
        json!({"convert": "json_to_form"}),
        "application/x-www-form-urlencoded"
    ));
}

#[test]
fn a_mask_is_chosen_by_the_request() {
    let masked = |by: &str, default: &str| {
        let shapes = json!({"mobile": ["id"], "web": ["id", "name"], "admin": "all"});
        changed(
            json!({"mask": {"by": by, "shapes": shapes, "default": default}}),
            r#"{"id":1,"name":2,"cost":3}"#,
        )
    };
    assert_eq!(masked("{headers.x-client}", "web"), r#"{"id":1}"#);
    assert_eq!(masked("{headers.none}", "web"), r#"{"id":1,"name":2}"#);
    assert_eq!(masked("{method}", "mobile"), r#"{"id":1}"#, "no shape of this name");
    assert_eq!(masked("admin", "mobile"), r#"{"id":1,"name":2,"cost":3}"#);
}

#[test]
fn each_mistake_says_where_it_is() {
    for (rules, expected) in [
        (
            json!({"mask": {"by": "a", "shapes": {"b": []}, "default": "c"}}),
            "mask.default",
        ),
        (
            json!({"mask": {"by": "a", "shapes": {"b": []}, "default": "b"}, "keep": []}),
            "mask",
        ),
        (json!({"unwrap": "a[*]"}), "unwrap"),
        (json!({"rename": {"a[*]": "b"}}), "rename.a[*]"),
        (json!({"set": {"a[*]": 1}}), "set.a[*]"),
        (json!({"append": {"a[*]": 1}}), "append.a[*]"),
        (json!({"move": {"a[*].b": "c"}}), "move.a[*].b"),
        (json!({"move": {"a[*]": "a[*]"}}), "move.a[*]"),
        (json!({"move": {"a": "a.b"}}), "move.a"),
        (json!({"max_bytes": 0}), "max_bytes"),
        (json!({"convert": "json_to_form", "on_fault": "pass"}), "on_fault"),
    ] {
        let places: Vec<_> = config(rules.clone()).mistakes().into_iter().map(|(at, _)| at).collect();
        assert_eq!(places, [expected], "{rules}");
    }
    for wrong in [
        json!({"set": {"a..b": 1}}),
        json!({"set": {"a": "{nothing}"}}),
        json!({"keep": "a"}),
        json!({"mask": {"by": "a", "shapes": {"b": "some"}, "default": "b"}}),
    ] {
        assert!(serde_json::from_value::<BodyConfig>(wrong.clone()).is_err(), "{wrong}");
    }
}

/// A model: the same changes on a `serde_json` value.
fn model(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.remove("a");
        if let Some(inner) = members.get_mut("b").and_then(Value::as_object_mut) {
            inner.remove("a");
        }
        members.insert("c".into(), 1.into());
    }
    value
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\é]{0,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]", inner, 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn it_agrees_with_a_naive_model(value in document(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let found = changed(json!({"remove": ["a", "b.a"], "set": {"c": 1}}), &text);
        prop_assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), model(value));
    }

    #[test]
    fn no_rules_change_no_byte(value in document(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        prop_assert_eq!(changed(json!({"remove": ["none.at.all"]}), &text).replace([' ', '\n'], ""), text.replace([' ', '\n'], ""));
        prop_assert_eq!(changed(json!({}), &text), text);
    }
}
