//! What clients and operators see of a refusal.

use serde_json::json;
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::raw::request;

fn start() -> Envoy {
    let routes = json!([{"name": "everything", "match": {"path_prefix": "/all"}, "auth": {"any": ["jwt"]}}]);
    Envoy::start(&Bare::new(one_issuer(routes), &Echo::start("upstream")).bootstrap())
}

#[test]
fn the_whole_answer_of_a_refusal() {
    let envoy = start();
    let response = envoy.send(&request(
        "GET",
        "/all",
        &[("host", "a"), ("authorization", "Bearer x")],
        b"",
    ));
    let request_id = response.json()["request_id"].clone();
    assert_eq!(
        response.json(),
        json!({"type": "about:blank", "title": "Unauthorized", "status": 401, "code": "invalid_token", "request_id": request_id})
    );
    let mut headers: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    headers.retain(|line| !line.starts_with("date: ") && !line.starts_with("content-length: "));
    headers.sort();
    assert_eq!(
        headers,
        [
            "cache-control: no-store",
            "content-type: application/problem+json",
            "server: envoy",
            "www-authenticate: Bearer realm=\"tollgate\", error=\"invalid_token\"",
        ]
    );
}

#[test]
fn a_head_request_is_refused_without_a_body() {
    let envoy = start();
    let response = envoy.send(&request("HEAD", "/all", &[("host", "a")], b""));
    assert_eq!((response.status, response.body.len()), (401, 0));
}

#[test]
fn a_grpc_client_gets_a_trailers_only_answer() {
    let envoy = start();
    for (path, status, message) in [
        ("/all/x", "16", "missing_credentials"),
        ("/other", "7", "no_policy"),
        ("/all//x", "3", "invalid_request"),
    ] {
        let headers = [
            ("host", "a"),
            ("content-type", "application/grpc+proto"),
            ("te", "trailers"),
        ];
        let response = envoy.send(&request("POST", path, &headers, b"body"));
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("grpc-status"), Some(status), "{path}");
        assert_eq!(response.header("grpc-message"), Some(message), "{path}");
        assert_eq!(response.body, b"", "{path}");
    }
}

#[test]
fn outcomes_are_counted_by_route_code_and_reason() {
    let envoy = start();
    let good = format!("Bearer {}", Issuer::shared().good_token());
    for (path, authorization) in [
        ("/all", "Bearer x"),
        ("/all", "Bearer a.b"),
        ("/all", good.as_str()),
        ("/other", good.as_str()),
    ] {
        envoy.send(&request(
            "GET",
            path,
            &[("host", "a"), ("authorization", authorization)],
            b"",
        ));
    }
    // Counters are handed over once a second.
    for (labels, expected) in [
        ("requests_total;route=everything;outcome=denied;code=invalid_token;", 2),
        ("requests_total;route=everything;outcome=allowed;code=ok;", 1),
        ("requests_total;route=none;outcome=denied;code=no_policy;", 1),
        ("auth_failures_total;method=jwt;reason=not_three_parts;", 2),
    ] {
        let name = format!("wasmcustom.tollgate_{labels}");
        eventually(&name, || envoy.stat(&name) == expected);
    }
}
