//! The same over HTTP/2, and what only HTTP/2 clients send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::echo::{Echo, Seen, runtime};
use tollgate_e2e::envoy::Envoy;
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

/// One request on a connection of its own: status, headers, body.
fn send(address: SocketAddr, request: Request<()>, trailers: Option<HeaderMap>) -> (u16, HeaderMap, Vec<u8>) {
    runtime().block_on(async move {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("HTTP/2");
        let (response, mut body) = client.send_request(request, trailers.is_none()).expect("sent");
        if let Some(trailers) = trailers {
            body.send_data(Bytes::from_static(b"body"), false).expect("sent");
            body.send_trailers(trailers).expect("sent");
        }
        let (parts, mut body) = response.await.expect("an answer").into_parts();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            bytes.extend_from_slice(&chunk.expect("a body"));
        }
        (parts.status.as_u16(), parts.headers, bytes)
    })
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::get(format!("http://gateway.example{path}"));
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).expect("a request")
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
    let (status, _, body) = send(envoy.address(), get("/private", &headers), None);
    assert_eq!(status, 200);
    let upstream = seen(&body);
    assert_eq!(upstream.all("x-user-id"), ["u1"]);
    assert!(
        upstream.all("x_user_id").is_empty() && upstream.all("authorization").is_empty(),
        "{upstream:?}"
    );
    let (status, _, body) = send(envoy.address(), get("/public", &headers[1..]), None);
    assert_eq!((status, seen(&body).all("x-user-id").len()), (200, 0));
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
        let (found, headers, body) = send(envoy.address(), get(path, &headers), None);
        let body: Value = serde_json::from_slice(&body).expect("a problem");
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{path}");
        assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{path}");
    }
    assert!(echo.take().is_empty());
}

#[test]
fn split_cookies_are_read_together() {
    let (envoy, _echo) = start();
    let session = format!("session={}", Issuer::shared().good_token());
    let (status, _, body) = send(
        envoy.address(),
        get(
            "/private",
            &[("cookie", "a=b"), ("cookie", &session), ("cookie", "c=d")],
        ),
        None,
    );
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    assert_eq!(seen(&body).all("cookie").join("; "), "a=b; c=d");
    let (status, _, _) = send(
        envoy.address(),
        get("/private", &[("cookie", &session), ("cookie", &session)]),
        None,
    );
    assert_eq!(status, 400);
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
    let (status, _, body) = send(envoy.address(), request, Some(trailers));
    assert_eq!(status, 200);
    let upstream = seen(&body);
    assert_eq!(upstream.body_size, 4);
    assert_eq!(upstream.trailers, [("x-checksum".to_owned(), "forged".to_owned())]);
    envoy.assert_no_vm_died();
}
