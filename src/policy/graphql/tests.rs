use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fault::Kind;
use super::http::{Asked, Media};
use super::input::scalar;
use crate::config::Environment;
use crate::exchange::Exchange;
use crate::gateway::plan::Plan;
use crate::gateway::worker::Worker;
use crate::http::headers::Headers;
use crate::http::piece::Chunk;
use crate::message::managed_names::ManagedNames;
use crate::message::request::Request;
use crate::seam::simulated::Simulated;
use crate::seam::{Answer, Event, Reply, StreamId, Then, Wakeup};

/// The answer to a query, where every service answers the same.
fn answer(graphql: &Value, parts: &Value, query: &str, service: &Value) -> Reply {
    let route = json!({"match": {"path": "/"}, "public": true, "graphql": graphql});
    let config = json!({"version": 1, "parts": parts, "routes": [route]});
    let plan = Plan::of(&config, &Environment::new()).unwrap();
    let worker = Rc::new(Worker::new(plan));
    let world = Simulated::default();
    let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(0));
    let headers = [
        (":method", "POST"),
        (":authority", "h"),
        (":path", "/"),
        ("content-type", "application/json"),
    ];
    let event = Event::RequestHeaders {
        headers: Rc::new(headers.into_iter().collect()),
        route_name: None,
        has_body: true,
    };
    exchange.on(event, &world);
    let body = json!({"query": query}).to_string().into_bytes();
    let read = || Some(body.clone());
    let chunk = Chunk {
        size: body.len(),
        ends: true,
        read: &read,
    };
    let mut step = exchange.on(Event::RequestBody(chunk), &world);
    while step.then == Then::Wait {
        for (id, _) in worker.attend(&world).calls {
            worker.answered(id, Ok(Answer::new("200", service.to_string())), &world);
        }
        step = exchange.wake(Wakeup::Due, &world).unwrap().step;
    }
    step.reply().unwrap().clone()
}

fn of_text(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn bodies_are_utf8_and_batches_are_not_supported() {
    for (body, told) in [
        (&b"{\"query\":\"\xff\"}"[..], "not UTF-8"),
        (b"[{\"query\":\"{a}\"}]", "Batches"),
        (b"7", "not a JSON object"),
        (b"", "not JSON"),
        (
            b"{\"query\":\"{a}\",\"extensions\":{\"persistedQuery\":{}}}",
            "sha256Hash",
        ),
    ] {
        let refusal = Asked::from_body(body).unwrap_err();
        assert!(
            refusal.errors.iter().all(|error| error.text.contains(told)),
            "{refusal:?}"
        );
        assert_eq!(refusal.kind, Kind::Malformed);
    }
}

#[test]
fn the_media_type_is_the_one_of_most_weight() {
    for (accept, wanted) in [
        (
            "application/graphql-response+json, application/json;q=0.9",
            Some(Media::Graphql),
        ),
        ("application/json, application/graphql-response+json", Some(Media::Json)),
        ("application/graphql-response+json;q=0, */*;q=0.1", Some(Media::Json)),
        ("application/json;q=x", None),
        ("text/html, application/*", Some(Media::Json)),
        ("application/xml", None),
    ] {
        let headers = [
            (":method", "GET"),
            (":authority", "h"),
            (":path", "/"),
            ("accept", accept),
        ];
        let headers: Headers = headers.into_iter().collect();
        let request = Request::simulated(headers, ManagedNames::of(&[]));
        assert_eq!(Media::of(request.received()), wanted, "{accept}");
    }
}

#[test]
fn numbers_keep_their_spelling_where_their_type_lets_them() {
    for (name, text, wanted) in [
        ("Int", "5", Some("5")),
        ("Int", "5.0", Some("5")),
        ("Int", "5e0", Some("5")),
        ("Int", "2147483648", None),
        ("Int", "\"5\"", None),
        ("Int", "true", None),
        ("Float", "4", Some("4")),
        ("Float", "1.50", Some("1.50")),
        ("Float", "1e400", None),
        ("Float", "nan", None),
        ("ID", "7", Some("\"7\"")),
        ("ID", "7.0", Some("\"7\"")),
        ("ID", "-0", Some("\"0\"")),
        ("ID", "12345678901234567890123", Some("\"12345678901234567890123\"")),
        ("ID", "7.5", None),
        ("String", "7", None),
        ("Boolean", "true", Some("true")),
        ("JSON", "[1.0]", Some("[1.0]")),
    ] {
        assert_eq!(scalar(name, text).as_deref(), wanted, "{name} {text}");
    }
}

#[test]
fn a_name_that_a_client_chooses_counts_as_a_part_of_the_answer() {
    let graphql = json!({
        "schema": "type Query { all: [Item] } type Item { id: Int }",
        "fields": {"Query.all": {"part": "all"}},
    });
    let parts = json!({"all": {"cluster": "c", "path": "/"}});
    let items = vec![json!({"id": 1}); 1000];
    let query = format!("{{ all {{ {}: id }} }}", "a".repeat(50_000));
    let reply = answer(&graphql, &parts, &query, &json!(items));
    let told = of_text(&reply);
    assert_eq!(told["data"], Value::Null);
    assert_eq!(
        told["errors"][0]["extensions"],
        json!({"code": "LIMIT_EXCEEDED", "limit": "answer"})
    );
    // The same of errors: their paths have the names.
    let wrong = vec![json!({"id": "x"}); 1000];
    let query = format!("{{ all {{ {}: id }} }}", "a".repeat(500));
    let reply = answer(&graphql, &parts, &query, &json!(wrong));
    assert!(reply.body.len() < 2 << 20, "{}", reply.body.len());
    assert_eq!(of_text(&reply)["extensions"]["errors_omitted"], 900);
}

#[test]
fn lists_that_are_longer_than_was_said_make_no_more_calls_than_allowed() {
    let graphql = json!({
        "schema": "type Query { all: [Item] } type Item { id: Int one: Item many: Item }",
        "fields": {"Query.all": {"part": "all", "size": 1}, "Item.one": {"part": "one"}, "Item.many": {"part": "many"}},
        "limits": {"calls": 5, "errors": 1000},
    });
    let parts = json!({
        "all": {"cluster": "c", "path": "/"},
        "one": {"cluster": "c", "path": "/{item.id}"},
        "many": {"cluster": "c", "path": "/", "query": {"ids": "{keys}"}, "batch": {"key": "{item.id}", "by": "id", "max": 2}},
    });
    let items: Vec<_> = (0..10).map(|id| json!({"id": id})).collect();
    // One call for the list, four for its items; two of ten keys with each of four calls.
    for (field, without) in [("one", 6), ("many", 2)] {
        let query = format!("{{ all {{ {field} {{ id }} }} }}");
        let told = of_text(&answer(&graphql, &parts, &query, &json!(items)));
        let refused = told["errors"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|error| error["extensions"]["code"] == "PART_FAILED");
        assert_eq!(refused.count(), without, "{told}");
    }
}

#[test]
fn interfaces_in_interfaces_do_not_multiply() {
    let kinds: Vec<_> = (0..20)
        .map(|number| format!("type T{number} implements N {{ n: N }}"))
        .collect();
    let schema = format!("type Query {{ n: N }} interface N {{ n: N }} {}", kinds.join(" "));
    let graphql = json!({
        "schema": schema, "fields": {"Query.n": {"part": "n"}}, "types": {"N": {"by": "kind"}}, "limits": {"depth": 30, "cost": 1000},
    });
    let parts = json!({"n": {"cluster": "c", "path": "/"}});
    // One selection for all types is one shape for each of them, at each level.
    let same = format!("{{ n {} {{ __typename }} {} }}", "{ n ".repeat(20), "}".repeat(20));
    let reply = answer(&graphql, &parts, &same, &json!({"kind": "T3", "n": null}));
    assert_eq!(of_text(&reply), json!({"data": {"n": {"n": null}}}));
    // Another one for each type is another shape: 20 to the power of 5 of them are too many.
    let mut inner = "__typename".to_owned();
    for _ in 0..2 {
        let own = (0..20).map(|number| format!("... on T{number} {{ n {{ {inner} }} }} "));
        inner = own.collect();
    }
    let reply = answer(&graphql, &parts, &format!("{{ n {{ {inner} }} }}"), &Value::Null);
    assert_eq!(of_text(&reply)["errors"][0]["extensions"]["code"], "LIMIT_EXCEEDED");
}

proptest! {
    /// Whatever a service answers, the answer is JSON with the members that were asked for, in their order.
    #[test]
    fn any_answer_of_a_service_gives_an_answer(service in any_json(), nullable in any::<bool>()) {
        let mark = if nullable { "" } else { "!" };
        let graphql = json!({
            "schema": format!("type Query {{ a: A{mark} }} type A {{ s: String{mark} i: Int b: [A{mark}] x: Any }} scalar Any"),
            "fields": {"Query.a": {"part": "a"}},
        });
        let parts = json!({"a": {"cluster": "c", "path": "/"}});
        let reply = answer(&graphql, &parts, "{ a { i z: x b { s i } s } }", &service);
        let told: BTreeMap<String, Value> = serde_json::from_slice(&reply.body).unwrap();
        let data = told.get("data").unwrap();
        if let Some(own) = data.get("a").and_then(Value::as_object) {
            prop_assert_eq!(own.keys().collect::<Vec<_>>(), ["i", "z", "b", "s"]);
            prop_assert!(nullable || own["s"].is_string());
            prop_assert!(own["i"].is_null() || own["i"].as_i64().is_some_and(|own| i32::try_from(own).is_ok()));
        }
        prop_assert!(!data.is_null() || told.contains_key("errors"));
    }
}

/// JSON that fits now and then.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[sibxz]", inner, 0..5)
                .prop_map(|own| Value::Object(own.into_iter().collect())),
        ]
    })
}

#[test]
fn fields_of_one_name_have_the_same_arguments() {
    let graphql = json!({
        "schema": "type Query { a(l: [Int], o: O): Int } input O { x: [Int] y: Int }",
        "fields": {"Query.a": {"part": "a"}},
    });
    let parts = json!({"a": {"cluster": "c", "path": "/"}});
    for (query, is_right) in [
        ("{ a(l: [1]) a(l: [1]) }", true),
        ("{ a(l: []) a(l: [0]) }", false),
        ("{ a(l: [0]) a(l: [0, 1]) }", false),
        ("{ a(l: [0]) a(l: [0, 1]) @skip(if: true) }", false),
        ("{ a(l: [0]) @skip(if: true) a(l: []) @skip(if: true) }", false),
        (
            "{ a(o: {x: [1], y: 2}) ...f } fragment f on Query { a(o: {y: 2, x: [1]}) }",
            true,
        ),
        (
            "{ a(o: {x: [1], y: 2}) ...f } fragment f on Query { a(o: {y: 2, x: []}) }",
            false,
        ),
    ] {
        let told = of_text(&answer(&graphql, &parts, query, &json!(1)));
        let code = told["errors"][0]["extensions"]["code"].as_str();
        let wanted = (!is_right).then_some("GRAPHQL_VALIDATION_FAILED");
        assert_eq!(code, wanted, "{query}: {told}");
    }
}

/// Members of objects, at all depths.
fn members(value: &Value) -> u64 {
    match value {
        Value::Object(own) => own.values().map(|value| 1 + members(value)).sum(),
        Value::Array(items) => items.iter().map(members).sum(),
        _ => 0,
    }
}

#[test]
fn answers_about_the_schema_are_counted_before_they_are_made() {
    let asked = |query: &str, limit: u64| {
        let graphql = json!({
            "schema": "type Query { find(by: [By!]! = []): [Node!]!  sorts: [Sort!]  item: Item }
                interface Node { id: ID! }  type User implements Node { id: ID!  name(short: Boolean): String }
                type Post implements Node { id: ID! }  union Item = User | Post  enum Sort { NAME DATE }
                input By { name: String!  sort: Sort }",
            "fields": {"Query.find": {"part": "a"}, "Query.sorts": {"part": "a"}, "Query.item": {"part": "a"}},
            "types": {"Node": {"by": "kind"}, "Item": {"by": "kind"}},
            "introspection": true,
            "limits": {"answer": limit, "depth": 20, "aliases": 1000},
        });
        of_text(&answer(
            &graphql,
            &json!({"a": {"cluster": "a", "path": "/"}}),
            query,
            &Value::Null,
        ))
    };
    let all = "__schema {
            queryType { name } mutationType { name } directives { name args { name type { ...Ref } } }
            types { name fields { name args { name type { ...Ref } } type { ...Ref } } interfaces { name } enumValues { name }
                possibleTypes { name ofType { name } } inputFields { name type { ...Ref } } }
        }";
    let refs = "fragment Ref on __Type { kind name ofType { name fields { name } ofType { name ofType { name } } } }";
    for query in [
        "{ __schema { types { name } } }".to_owned(),
        format!("{{ {all} }} {refs}"),
        format!("{{ __typename a: {all} ... on Query {{ b: {all} }} }} {refs}"),
        "{ __type(name: \"User\") { fields { type { name } } } other: __type(name: \"Other\") { name } }".to_owned(),
        "query($name: String! = \"Node\") { __type(name: $name) { possibleTypes { fields { name } } } }".to_owned(),
    ] {
        let told = asked(&query, 1 << 20);
        let count = members(&told["data"]);
        assert!(count > 4, "{told}");
        // Large enough to be made, and then too large; then not made.
        for (limit, is_made) in [(count * 6, true), (count * 6 - 6, false)] {
            let told = asked(&query, limit);
            assert_eq!(told["errors"][0]["extensions"]["limit"], "answer", "{told}");
            assert_eq!(told.get("data").is_some(), is_made, "{query}: {told}");
        }
    }
}
