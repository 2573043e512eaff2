use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::Environment;
use crate::exchange::Exchange;
use crate::gateway::plan::Plan;
use crate::gateway::worker::Worker;
use crate::http::headers::Headers;
use crate::seam::simulated::Simulated;
use crate::seam::{Event, StreamId};

fn plan(rule: Value) -> Result<Arc<Plan>, String> {
    let mut route = json!({"match": {"path_prefix": "/"}, "public": true});
    for (name, value) in rule.as_object().unwrap() {
        route[name] = value.clone();
    }
    let config = json!({"version": 1, "routes": [route]});
    Plan::of(&config, &Environment::default())
}

/// The headers that the upstream gets, or the code of the refusal; and the exchange, for the response.
fn send(rule: Value, path: &str, more: &[(&str, &str)]) -> (Result<Vec<String>, String>, Exchange) {
    let target = [(":method", "GET"), (":authority", "h"), (":path", path)];
    let pairs: Vec<_> = target.iter().chain(more).copied().collect();
    let headers: Headers = pairs.iter().copied().collect();
    let headers = Rc::new(headers);
    let event = Event::RequestHeaders {
        headers: Rc::clone(&headers),
        route_name: None,
        has_body: false,
    };
    let worker = Rc::new(Worker::new(plan(rule).unwrap()));
    let mut exchange = Exchange::new(worker, StreamId(0));
    let step = exchange.on(event, &Simulated::default());
    if let Some(reply) = step.reply() {
        return (Err(reply.details.clone()), exchange);
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let applied = step.headers.applied_to(&headers);
    let mut lines: Vec<_> = applied
        .map(|(name, value)| format!("{}: {}", text(name), text(value)))
        .collect();
    lines.retain(|line| line != ":authority: h");
    (Ok(lines), exchange)
}

fn request(rule: Value, path: &str, more: &[(&str, &str)]) -> Vec<String> {
    let (upstream, _) = send(json!({"request": rule}), path, more);
    upstream.unwrap()
}

/// The response's headers after the rule.
fn response(rule: Value, fields: &[(&str, &str)]) -> Vec<String> {
    let (_, mut exchange) = send(json!({"response": rule}), "/a?q=1", &[]);
    let headers: Headers = fields.iter().copied().collect();
    let event = Event::ResponseHeaders {
        headers: Rc::new(headers),
        has_body: true,
    };
    let step = exchange.on(event, &Simulated::default());
    let lines = step.headers.iter().map(|(name, values)| {
        let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value)).collect();
        format!("{}: {}", String::from_utf8_lossy(name), values.join(" | "))
    });
    lines.collect()
}

#[test]
fn headers_change_in_order() {
    let rule = json!({"headers": {
        "remove": ["X-A"],
        "rename": {"x-b": "x-a"},
        "replace": {"x-c": "{headers.x-b}", "x-none": "1"},
        "set": {"x-d": "{host}", "x-left-out": "{headers.x-none}"},
        "add": {"x-b": "again", "x-c": "no"},
        "append": {"x-c": "{query.q|none}"},
    }});
    let sent = [("x-a", "1"), ("x-b", "2"), ("x-b", "3"), ("x-c", "4")];
    let mut found = request(rule, "/a?q=5", &sent);
    found.sort();
    assert_eq!(
        found,
        [
            ":method: GET",
            ":path: /a?q=5",
            "x-a: 2",
            "x-a: 3",
            "x-b: again",
            "x-c: 2",
            "x-c: 5",
            "x-d: h"
        ]
    );
}

#[test]
fn queries_and_paths_change_and_credentials_stay_out() {
    let query = json!({"remove": ["debug"], "rename": {"u": "user"}, "set": {"v": "{headers.x-v}"}});
    assert_eq!(
        request(json!({"query": query}), "/a?debug=1&u=%31&keep=a+b", &[("x-v", "1&2")])[1..],
        ["x-v: 1&2", ":path: /a?user=%31&keep=a+b&v=1%262"]
    );
    let rewrite = json!({
        "reroute": true, "method": "POST",
        "path": {"match": "/users/{id}/{rest*}", "rewrite": "/v2/{path.id}/of/{path.rest}"},
    });
    let found = request(rewrite.clone(), "/users/7%21/a/b?x", &[]);
    assert_eq!(found, [":path: /v2/7%21/of/a/b?x", ":method: POST"]);
    assert_eq!(
        request(rewrite, "/other?x", &[]),
        [":path: /other?x", ":method: POST"],
        "the path does not match"
    );
    let strip = json!({"reroute": true, "path": {"strip_prefix": "/api"}});
    assert_eq!(request(strip.clone(), "/api/a?x", &[]), [":method: GET", ":path: /a?x"]);
    assert_eq!(request(strip, "/apis/a", &[]), [":method: GET", ":path: /apis/a"]);
}

#[test]
fn no_value_makes_a_path_of_two_meanings() {
    let rule = json!({"request": {
        "reroute": true, "path": {"match": "/{all*}", "rewrite": "/v/{headers.x-v}/{path.all}"},
    }});
    let code = |value: &str| send(rule.clone(), "/a", &[("x-v", value)]).0;
    assert_eq!(code("b").unwrap()[1], "x-v: b");
    for value in ["..", ".", "a/b", "a\\b", "%2e%2e"] {
        let refused = code(value);
        // A percent sign in a value is encoded.
        assert!(
            refused
                .as_ref()
                .is_err_and(|details| details.starts_with("tollgate{invalid_request:"))
                || value.starts_with('%'),
            "{value}: {refused:?}"
        );
    }
}

#[test]
fn responses_change() {
    let headers = json!({
        "remove": ["X-Powered-By"], "rename": {"x-old": "x-new"}, "set": {"x-q": "{query.q}"}, "append": {"vary": "origin"},
    });
    let rule = json!({"headers": headers, "status": {"5xx": 502, "503": 429}});
    let fields = [
        (":status", "500"),
        ("x-powered-by", "php"),
        ("x-old", "1"),
        ("vary", "accept"),
    ];
    assert_eq!(
        response(rule.clone(), &fields),
        [
            ":status: 502",
            "vary: accept | origin",
            "x-new: 1",
            "x-old: ",
            "x-powered-by: ",
            "x-q: 1"
        ]
    );
    assert_eq!(
        response(rule.clone(), &[(":status", "503"), ("x-q", "1")])[0],
        ":status: 429"
    );
    assert_eq!(response(rule, &[(":status", "200"), ("x-q", "1")]), ["vary: origin"]);
}

#[test]
fn an_empty_rule_changes_nothing() {
    let empty = json!({"request": {"headers": {}, "query": {}, "path": {}}, "response": {"headers": {}, "status": {}}});
    let sent = [("x-a", "1"), ("x-a", "1")];
    let (upstream, exchange) = send(empty, "/a?&=%%41", &sent);
    assert_eq!(
        upstream.unwrap(),
        [":method: GET", ":path: /a?&=%%41", "x-a: 1", "x-a: 1"]
    );
    assert!(!exchange.changes_response());
}

#[test]
fn each_mistake_says_where_it_is() {
    for (rule, expected) in [
        (
            json!({"request": {"headers": {"set": {"X-User-Id": "1"}}}}),
            "routes[0].request.headers.set.x-user-id: `x-user-id` is an identity header",
        ),
        (
            json!({"request": {"headers": {"rename": {"x-a": "x_user_id"}}}}),
            "routes[0].request.headers.rename.x-a: `x_user_id` is an identity header",
        ),
        (
            json!({"response": {"headers": {"remove": ["content-length"]}}}),
            "routes[0].response.headers.remove[0]: invalid value: string \"content-length\"",
        ),
        (
            json!({"request": {"headers": {"set": {":path": "/"}}}}),
            "routes[0].request.headers.set",
        ),
        (
            json!({"request": {"headers": {"set": {"x-a": "{user}"}}}}),
            "routes[0].request.headers.set.x-a: \"{user}\" \"user\" is not a value",
        ),
        (
            json!({"response": {"headers": {"set": {"x-a": "{claims.email}"}}}}),
            "routes[0].response.headers.set.x-a: nothing defines \"email\"",
        ),
        (
            json!({"request": {"query": {"set": {"a": "{path.id}"}}}}),
            "routes[0].request.query.set.a: nothing names \"id\"; name it in `request.path.match`",
        ),
        (
            json!({"request": {"path": {"strip_prefix": "/a"}}}),
            "routes[0].request.reroute: must be true",
        ),
        (
            json!({"request": {"reroute": true, "path": {"rewrite": "/a"}}}),
            "routes[0].request.path.rewrite: needs `path.match`",
        ),
        (
            json!({"request": {"reroute": true, "path": {"match": "/a", "rewrite": "b"}}}),
            "routes[0].request.path.rewrite: is not a path",
        ),
        (
            json!({"request": {"reroute": true, "path": {"match": "a"}}}),
            "routes[0].request.path.match: \"a\" does not begin with `/`",
        ),
        (
            json!({"request": {"reroute": true, "path": {"strip_prefix": "/a/../b"}}}),
            "routes[0].request.path.strip_prefix: \"/a/../b\" is not",
        ),
        (
            json!({"match": {"route": "r"}, "request": {"reroute": true, "method": "POST"}}),
            "routes[0].request.reroute: with `match.route`",
        ),
        (
            json!({"request": {"reroute": true, "method": "TRACE"}}),
            "routes[0].request.method: \"TRACE\" is not a method",
        ),
        (
            json!({"response": {"status": {"200": 204}}}),
            "routes[0].response.status.200: 204 is not a status from 200 to 599 that may have a body",
        ),
        (
            json!({"response": {"status": {"6xx": 200}}}),
            "\"6xx\" is not a status such as",
        ),
        (
            json!({"request": {"bodies": {}}}),
            "routes[0].request.bodies: unknown field `bodies`",
        ),
    ] {
        let found = plan(rule.clone()).map(|_| ()).unwrap_err();
        assert!(
            found.contains(expected),
            "{rule}\n  expected: {expected}\n  found: {found}"
        );
    }
}

#[test]
fn a_value_that_reads_a_credential_is_warned_of() {
    let rule = json!({
        "request": {
            "headers": {"set": {"x-a": "{headers.authorization}", "x-b": "{headers.x-other} {headers.cookie}", "x-c": "{headers.x-api-key}"}},
            "query": {"add": {"a": "{query.access_token}", "b": "{query.other}"}},
            "body": {"set": {"a": {"b": ["{headers.authorization|none}"]}}},
        },
        "response": {"headers": {"set": {"x-a": "{query.access_token}"}}},
    });
    let warnings = |auth: Value| {
        let mut route = rule.clone();
        for (name, value) in auth.as_object().unwrap().clone() {
            route[name] = value;
        }
        route["match"] = json!({"path_prefix": "/"});
        let config = json!({
            "version": 1,
            "jwt": {"issuers": [{
                "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"],
                "jwks": {"remote": {"cluster": "c", "url": "https://i/keys"}},
                "from": [{"header": {"name": "authorization"}}, {"cookie": "session"}, {"query": "access_token"}],
            }]},
            "api_keys": {"secrets": [{"id": "v1", "env": "S"}], "from": [{"header": {"name": "x-api-key"}}]},
            "routes": [route],
        });
        let environment = Environment::from([("S".to_owned(), "s".repeat(32))]);
        let plan = Plan::of(&config, &environment).unwrap();
        let told: Vec<_> = plan.warnings.iter().map(ToString::to_string).collect();
        told.into_iter()
            .map(|line| {
                line.split(", where")
                    .next()
                    .unwrap()
                    .trim_start_matches("routes[0].")
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warnings(json!({"auth": {"any": ["jwt"]}})),
        [
            "request.headers.set.x-a: reads `authorization`",
            "request.headers.set.x-b: reads `cookie`",
            "request.query.add.a: reads `access_token`",
            "request.body.set.a: reads `authorization`",
            "response.headers.set.x-a: reads `access_token`",
        ]
    );
    assert_eq!(
        warnings(json!({"auth": {"any": ["api_key"]}})),
        ["request.headers.set.x-c: reads `x-api-key`"]
    );
    // There the client's headers are the upstream's business.
    assert_eq!(warnings(json!({"public": true})), [""; 0]);
}
