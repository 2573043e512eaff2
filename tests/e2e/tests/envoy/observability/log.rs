//! The access log.

use http::Request;
use serde_json::{Value, json};
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::envoy::eventually;
use tollgate_e2e::http2;
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::policies::Policies;
use tollgate_e2e::raw::{latin1, request};

fn bearer(scope: &str) -> String {
    Issuer::shared().bearer(&json!({"sub": "alice", "tenant_id": "acme", "scope": scope}))
}

/// The line of the request that has this path; there is one.
fn line(gateway: &Bundled, path: &str) -> Value {
    let found = || {
        let lines = gateway.envoy.access_log().into_iter();
        lines.filter(|line| line["path"] == path).collect::<Vec<_>>()
    };
    eventually(&format!("a line for {path}"), || !found().is_empty());
    let found = found();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// What differs from line to line by itself is checked for what it is, the rest given back.
fn plain(mut line: Value) -> Value {
    let timestamp = line["timestamp"].take();
    let timestamp = timestamp.as_str().expect("a text");
    assert!(
        timestamp.len() == 24 && timestamp.ends_with('Z') && &timestamp[10..11] == "T",
        "{timestamp}"
    );
    assert!(line["latency_ms"].take().is_u64());
    assert_eq!(line["request_id"].take().as_str().map(str::len), Some(36));
    assert_eq!(line["client_ip"].take(), "127.0.0.1");
    let mut names: Vec<_> = line.as_object().expect("an object").keys().cloned().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "client_ip",
            "decision",
            "latency_ms",
            "method",
            "path",
            "request_id",
            "status",
            "tenant_id",
            "timestamp",
            "upstream",
            "user_id"
        ]
    );
    line.as_object_mut()
        .expect("an object")
        .retain(|_, value| !value.is_null());
    line
}

#[test]
fn every_request_has_a_line_with_the_same_fields() {
    let policies = Policies::bundled();
    policies.change("gateway", |file| {
        let limit = json!({"name": "per-reader", "key": ["user"], "limit": 3, "window": "24h"});
        let limits = file["policy"]["rate_limits"].as_array_mut().expect("limits");
        limits.push(limit);
        file["teams"]["users"]["rate_limits"] = json!(["per-reader"]);
    });
    policies.change("users", |file| file["routes"][0]["rate_limits"] = json!(["per-reader"]));
    policies.build().expect("good policies");
    let mut gateway = Bundled::with(policies, |_| {});
    let (reader, other) = (bearer("orders.read"), bearer("other"));
    let send = |gateway: &Bundled, method: &str, path: &str, headers: &[(&str, &str)]| {
        let headers = [&[("host", "a"), ("x-user-id", "forged")], headers].concat();
        gateway.envoy.send(&request(method, path, &headers, b"")).status
    };
    let authorized = [("authorization", reader.as_str())];
    assert_eq!(send(&gateway, "GET", "/api/users/1?secret=1", &authorized), 200);
    assert_eq!(
        plain(line(&gateway, "/api/users/1")),
        json!({"method": "GET", "path": "/api/users/1", "status": 200, "upstream": "user-service", "user_id": "alice",
            "tenant_id": "acme", "decision": "via_upstream"})
    );
    assert_eq!(send(&gateway, "GET", "/api/users/2", &[]), 401);
    assert_eq!(
        plain(line(&gateway, "/api/users/2")),
        json!({"method": "GET", "path": "/api/users/2", "status": 401, "upstream": "user-service",
            "decision": "tollgate{missing_credentials:missing}"})
    );
    assert_eq!(
        send(
            &gateway,
            "GET",
            "/api/orders/3",
            &[("authorization", &other), ("x-canary", "true")]
        ),
        403
    );
    assert_eq!(
        plain(line(&gateway, "/api/orders/3")),
        json!({"method": "GET", "path": "/api/orders/3", "status": 403, "upstream": "order-service-canary", "user_id": "alice",
            "tenant_id": "acme", "decision": "tollgate{insufficient_scope:scope_missing}"})
    );
    let statuses: Vec<_> = (0..3)
        .map(|number| send(&gateway, "GET", &format!("/api/users/4{number}"), &authorized))
        .collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(
        plain(line(&gateway, "/api/users/42")),
        json!({"method": "GET", "path": "/api/users/42", "status": 429, "upstream": "user-service", "user_id": "alice",
            "tenant_id": "acme", "decision": "tollgate{rate_limited:per-reader}"})
    );
    assert_eq!(send(&gateway, "PUT", "/elsewhere", &authorized), 404);
    assert_eq!(
        plain(line(&gateway, "/elsewhere")),
        json!({"method": "PUT", "path": "/elsewhere", "status": 404, "user_id": "alice", "tenant_id": "acme",
            "decision": "route_not_found"})
    );
    let key = gateway.create_key(&json!({"user_id": "robot", "scopes": ["orders.read"]}));
    assert_eq!(
        send(
            &gateway,
            "GET",
            "/api/orders/5",
            &[("x-api-key", &key), ("x-canary", "true")]
        ),
        200
    );
    assert_eq!(
        plain(line(&gateway, "/api/orders/5")),
        json!({"method": "GET", "path": "/api/orders/5", "status": 200, "upstream": "order-service-canary", "user_id": "robot",
            "decision": "via_upstream"})
    );
    let of_h2 = Request::builder()
        .uri("http://a/api/products/6?a=b")
        .body(())
        .expect("a request");
    assert_eq!(
        http2::send(gateway.envoy.address(), of_h2, &[], None)
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(
        plain(line(&gateway, "/api/products/6")),
        json!({"method": "GET", "path": "/api/products/6", "status": 200, "upstream": "product-service", "decision": "via_upstream"})
    );
    gateway.services.get_mut("product-service").expect("a service").die();
    eventually("it is out", || {
        gateway.envoy.stat("cluster.product-service.membership_healthy") == 0
    });
    assert_eq!(send(&gateway, "GET", "/api/products/7", &[]), 503);
    assert_eq!(
        plain(line(&gateway, "/api/products/7")),
        json!({"method": "GET", "path": "/api/products/7", "status": 503, "upstream": "product-service",
            "decision": "no_healthy_upstream"})
    );
    // Probes say nothing.
    for _ in 0..3 {
        assert_eq!(send(&gateway, "GET", "/ready", &[]), 200);
    }
    assert_eq!(send(&gateway, "POST", "/ready", &[]), 405);
    line(&gateway, "/ready");
}

#[test]
fn no_line_has_a_credential_and_none_is_broken_by_what_clients_send() {
    let policies = Policies::bundled();
    policies.change("gateway", |file| {
        file["policy"]["jwt"]["issuers"][0]["from"] =
            json!([{"header": {"name": "authorization", "scheme": "Bearer"}}, {"query": "access_token"}, {"cookie": "session"}]);
    });
    policies.build().expect("good policies");
    let gateway = Bundled::with(policies, |_| {});
    let token = bearer("orders.read");
    let token = token.trim_start_matches("Bearer ");
    let key = gateway.create_key(&json!({"user_id": "robot", "scopes": ["orders.read"]}));
    let bad = format!("{}x", token);
    for token in [token, &bad] {
        let (authorization, cookie) = (format!("Bearer {token}"), format!("session={token}"));
        let path = format!("/api/users/q?a=b&access_token={token}");
        for (path, headers) in [
            ("/api/users/h", &[("authorization", authorization.as_str())][..]),
            (&path, &[]),
            ("/api/users/c", &[("cookie", &cookie)]),
            ("/api/orders/k", &[("x-api-key", &key)]),
            ("/api/orders/k", &[("x-api-key", &bad)]),
        ] {
            gateway
                .envoy
                .send(&request("GET", path, &[&[("host", "a")], headers].concat(), b""));
        }
    }
    // Quotes, control characters and bytes beyond ASCII, wherever a line has something of the client's.
    let mut hostile = 0;
    for byte in (1..=255_u8).filter(|byte| !b"\r\n".contains(byte)) {
        let odd = char::from(byte);
        let lines = [
            format!("GET /api/products/x{odd}y\" HTTP/1.1\r\nhost: a\r\n\r\n"),
            format!("GET /api/products/1 HTTP/1.1\r\nhost: a\r\nx-request-id: \"a{odd}b\r\n\r\n"),
        ];
        for line in lines {
            hostile += usize::from(tollgate_e2e::raw::send(gateway.envoy.address(), &latin1(&line)).is_ok());
        }
    }
    let last = request("GET", "/api/products/last", &[("host", "a")], b"");
    assert_eq!(gateway.envoy.send(&last).status, 200);
    line(&gateway, "/api/products/last");
    // Each of them can be read: see `access_log`.
    let lines = gateway.envoy.access_log();
    println!("{} lines, of which {hostile} answer hostile requests", lines.len());
    assert!(lines.len() > 200);
    let log = gateway.envoy.log();
    let logged: Vec<_> = log.lines().filter(|line| line.starts_with('{')).collect();
    let signature = token.rsplit('.').next().expect("a signature");
    let secret = &key[key.len() - 20..];
    for credential in [signature, secret, "access_token"] {
        let found: Vec<_> = logged.iter().filter(|line| line.contains(credential)).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    gateway.envoy.assert_no_vm_died();
}

#[test]
fn a_refused_request_is_logged_under_no_name_that_it_chose() {
    let gateway = Bundled::start(|_| {});
    let forged = [("x-user-id", "root"), ("x-tenant-id", "acme"), ("x-api-key-id", "k1")];
    let ask = |method: &str, path: &str, host: &str| {
        let headers = [&[("host", host)][..], &forged].concat();
        gateway.envoy.send(&request(method, path, &headers, b"")).status
    };
    // Before any filter, and by the plugin.
    assert_eq!(ask("GET", "/forged%2fa", "a"), 400);
    assert_eq!(ask("TRACE", "/forged-trace", "a"), 405);
    assert_eq!(ask("GET", "/forged-host", "a@b"), 400);
    assert_eq!(ask("GET", "/forged-rule", "a"), 401);
    let lines = || {
        let lines = gateway.envoy.access_log().into_iter();
        let of_test = |line: &Value| line["path"].as_str().is_some_and(|path| path.starts_with("/forged"));
        lines.filter(of_test).collect::<Vec<_>>()
    };
    eventually("all are logged", || lines().len() == 4);
    for line in lines() {
        assert!(line["user_id"].is_null() && line["tenant_id"].is_null(), "{line}");
    }
}
