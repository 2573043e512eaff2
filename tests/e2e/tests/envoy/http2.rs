//! The same over HTTP/2, and what only HTTP/2 clients send.

use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::echo::{Echo, Seen};
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::http2::{Answer, send};
use tollgate_e2e::issuer::Issuer;

fn start() -> (Envoy, Echo) {
    let mut config = one_issuer(json!([
        {"match": {"path_prefix": "/public"}, "public": true},
        {"match": {"path_prefix": "/private"}, "auth": {"any": ["jwt"]}},
    ]));
    config["jwt"]["issuers"][0]["from"] = json!([{"header": {"name": "authorization"}}, {"cookie": "session"}]);
    let echo = Echo::start("upstream");
    (Envoy::start(&Bare::new(config, &echo).bootstrap()), echo)
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::get(format!("http://gateway.example{path}"));
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).expect("a request")
}

/// A request without a body.
fn ask(envoy: &Envoy, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(envoy.address(), get(path, headers), &[], None).expect("an answer")
}

fn seen(body: &[u8]) -> Seen {
    serde_json::from_slice(body).expect("the echo")
}

#[test]
fn identity_is_set_once_and_forged_headers_are_gone() {
    let (envoy, _echo) = start();
    let authorization = format!("Bearer {}", Issuer::shared().good_token());
    let headers = [
        ("authorization", authorization.as_str()),
        ("x-user-id", "admin"),
        ("x_user_id", "admin"),
    ];
    let answer = ask(&envoy, "/private", &headers);
    assert_eq!(answer.status, 200);
    let upstream = seen(&answer.body);
    assert_eq!(upstream.all("x-user-id"), ["u1"]);
    assert!(
        upstream.all("x_user_id").is_empty() && upstream.all("authorization").is_empty(),
        "{upstream:?}"
    );
    let answer = ask(&envoy, "/public", &headers[1..]);
    assert_eq!((answer.status, seen(&answer.body).all("x-user-id").len()), (200, 0));
}

#[test]
fn refusals_are_the_same() {
    let (envoy, echo) = start();
    let token = Issuer::shared().good_token();
    let bearer = format!("Bearer {token}");
    for (path, headers, status, code) in [
        ("/private", vec![], 401, "missing_credentials"),
        ("/private", vec![("authorization", "Bearer x")], 401, "invalid_token"),
        (
            "/private",
            vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())],
            400,
            "multiple_credentials",
        ),
        ("/other", vec![("authorization", bearer.as_str())], 403, "no_policy"),
        ("/public//x", vec![], 400, "invalid_request"),
    ] {
        let answer = ask(&envoy, path, &headers);
        let body: Value = serde_json::from_slice(&answer.body).expect("a problem");
        assert_eq!((answer.status, &body["code"]), (status, &json!(code)), "{path}");
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{path}");
    }
    assert!(echo.take().is_empty());
}

#[test]
fn split_cookies_are_read_together() {
    let (envoy, _echo) = start();
    let session = format!("session={}", Issuer::shared().good_token());
    let cookies = [("cookie", "a=b"), ("cookie", session.as_str()), ("cookie", "c=d")];
    let answer = ask(&envoy, "/private", &cookies);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(seen(&answer.body).all("cookie").join("; "), "a=b; c=d");
    let twice = ask(&envoy, "/private", &[("cookie", &session), ("cookie", &session)]);
    assert_eq!(twice.status, 400);
}

#[test]
fn trailers_carry_no_identity() {
    let (envoy, _echo) = start();
    let mut trailers = HeaderMap::new();
    for name in ["x-user-id", "x_user_id", "x-user-roles", "x-checksum"] {
        trailers.insert(name, "forged".parse().expect("a value"));
    }
    let request = Request::post("http://gateway.example/public")
        .body(())
        .expect("a request");
    let answer = send(envoy.address(), request, &[b"body"], Some(trailers)).expect("an answer");
    assert_eq!(answer.status, 200);
    let upstream = seen(&answer.body);
    assert_eq!(upstream.body_size, 4);
    assert_eq!(upstream.trailers, [("x-checksum".to_owned(), "forged".to_owned())]);
    envoy.assert_no_vm_died();
}

#[test]
fn methods_are_compared_as_they_are_and_hosts_have_one_meaning() {
    let config = json!({"version": 1, "routes": [
        {"match": {"host": "admin.test", "methods": ["GET"]}, "public": true, "validate": {"headers": ["x-never"]}},
        {"match": {"path_prefix": "/"}, "public": true},
    ]});
    let echo = Echo::start("upstream");
    let envoy = Envoy::start(&Bare::new(config, &echo).bootstrap());
    let status = |method: &str, authority: &str| {
        let method = http::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = Request::builder().method(method).uri(format!("http://{authority}/a"));
        let answer = send(envoy.address(), request.body(()).expect("a request"), &[], None);
        answer.map_or(0, |answer| answer.status)
    };
    assert_eq!(status("GET", "other.test"), 200);
    // The rule of the host, whose validation says no.
    for authority in [
        "admin.test",
        "Admin.Test",
        "admin.test.",
        "admin.test.:80",
        "admin.test:8080",
    ] {
        assert_eq!(status("GET", authority), 400, "{authority}");
        assert_eq!(status("POST", authority), 405, "{authority}");
    }
    for method in ["get", "trace", "Post"] {
        // Refused by the gateway, or by Envoy, which resets the stream.
        assert!([0, 400].contains(&status(method, "other.test")), "{method}");
    }
    assert_eq!(status("TRACE", "other.test"), 405);
    let methods: Vec<_> = echo.take().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["GET"], "nothing else has reached it");
    envoy.assert_no_vm_died();
}
