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

fn plan(validate: &Value) -> Result<Arc<Plan>, String> {
    let config =
        json!({"version": 1, "routes": [{"match": {"path_prefix": "/"}, "public": true, "validate": validate}]});
    Plan::of(&config, &Environment::new())
}

/// The refusal's status and body; `None` if the request's headers pass.
fn send(validate: &Value, path: &str, more: &[(&str, &str)], has_body: bool) -> Option<(u16, Value)> {
    let is_upgrade = more.iter().any(|(name, _)| *name == "upgrade");
    let method = if is_upgrade { "GET" } else { "POST" };
    let target = [(":method", method), (":authority", "h"), (":path", path)];
    let headers: Headers = target.iter().chain(more).copied().collect();
    let event = Event::RequestHeaders {
        headers: Rc::new(headers),
        route_name: None,
        has_body,
    };
    let worker = Rc::new(Worker::new(plan(validate).unwrap()));
    let step = Exchange::new(worker, StreamId(0)).on(event, &Simulated::default());
    let reply = step.reply()?;
    Some((reply.status, serde_json::from_slice(&reply.body).unwrap()))
}

#[test]
fn what_must_be_there_is_named_at_once() {
    let validate = json!({"headers": ["X-A", "x-b"], "query": ["q", "a b"], "body_required": true});
    assert_eq!(send(&validate, "/?a+b&%71=", &[("x-a", ""), ("x-b", "1")], true), None);
    let (status, body) = send(&validate, "/?qq=1", &[("x-b", "1")], false).unwrap();
    assert_eq!((status, &body["code"]), (400, &json!("validation_failed")));
    assert_eq!(
        body["errors"],
        json!([
            {"detail": "is required", "header": "x-a"},
            {"detail": "is required", "parameter": "q"},
            {"detail": "is required", "parameter": "a b"},
            {"detail": "is required", "pointer": "#"},
        ])
    );
}

#[test]
fn content_types_are_of_a_list() {
    let validate = json!({"content_types": ["application/json", "Text/*"]});
    let status = |more: &[(&str, &str)]| send(&validate, "/", more, true).map(|(status, _)| status);
    for right in ["application/json", "APPLICATION/json; charset=utf-8", "text/plain"] {
        assert_eq!(status(&[("content-type", right)]), None, "{right}");
    }
    for wrong in ["application/xml", "", "text/", "application/jsonx"] {
        assert_eq!(status(&[("content-type", wrong)]), Some(415), "{wrong}");
    }
    assert_eq!(status(&[]), Some(415));
    assert_eq!(
        status(&[("content-type", "text/plain"), ("content-type", "text/plain")]),
        Some(415),
        "which one?"
    );
    assert_eq!(send(&validate, "/", &[], false), None, "no body, no type");
    let schema = json!({"schema": true});
    assert_eq!(
        send(&schema, "/", &[("content-type", "text/plain")], true).map(|(status, _)| status),
        Some(415)
    );
}

#[test]
fn what_follows_an_upgrade_is_no_body() {
    let validate = json!({"max_bytes": 10, "content_types": ["application/json"], "schema": {"type": "object"}});
    let socket = [("connection", "upgrade"), ("upgrade", "websocket")];
    assert_eq!(send(&validate, "/", &socket, true), None);
    for framed in [("content-length", "11"), ("transfer-encoding", "chunked")] {
        let more = [&socket[..], &[framed]].concat();
        assert_eq!(
            send(&validate, "/", &more, true).map(|(status, _)| status),
            Some(415),
            "{framed:?}"
        );
    }
    assert_eq!(
        send(&json!({"body_required": true}), "/", &socket, true).map(|(status, _)| status),
        Some(400)
    );
}

#[test]
fn types_that_are_built_on_json() {
    let validate = json!({"content_types": ["application/*+json"]});
    let status = |sent| send(&validate, "/", &[("content-type", sent)], true).map(|(status, _)| status);
    assert_eq!(status("application/merge-patch+json"), None);
    assert_eq!(status("application/json"), Some(415));
}

#[test]
fn a_length_that_is_declared_is_not_waited_for() {
    let validate = json!({"max_bytes": 10});
    assert_eq!(send(&validate, "/", &[("content-length", "10")], true), None);
    assert_eq!(
        send(&validate, "/", &[("content-length", "11")], true).map(|(status, _)| status),
        Some(413)
    );
}

#[test]
fn each_mistake_says_where_it_is() {
    for (validate, expected) in [
        (
            json!({"headers": ["x-user-id"]}),
            "routes[0].validate.headers[0]: `x-user-id` is an identity header",
        ),
        (json!({"headers": ["content-length"]}), "routes[0].validate.headers[0]"),
        (
            json!({"content_types": ["json"]}),
            "routes[0].validate.content_types[0]: \"json\" is not a media type such as",
        ),
        (json!({"content_types": ["*/*"]}), "routes[0].validate.content_types[0]"),
        (
            json!({"schema": {"a": 1}}),
            "routes[0].validate.schema: #/a is not checked",
        ),
        (json!({"max_bytes": -1}), "routes[0].validate.max_bytes"),
        (
            json!({"schema": true, "max_bytes": 67108865}),
            "routes[0].validate.max_bytes: must be at most 67108864",
        ),
        (json!({"body": 1}), "routes[0].validate.body: unknown field"),
    ] {
        let found = plan(&validate).map(|_| ()).unwrap_err();
        assert!(found.starts_with(expected), "{validate}: {found}");
    }
}
