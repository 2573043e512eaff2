//! What no client should send: a documented refusal, and a worker that still serves the next request.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::raw::request;

/// One worker, so that the good request meets the VM that has just met the bad one.
fn start() -> Envoy {
    let mut config = one_issuer(json!([
        {"match": {"path_prefix": "/public"}, "public": true},
        {"match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}},
    ]));
    let issuer = &mut config["jwt"]["issuers"][0];
    issuer["algorithms"] = json!(["RS256", "ES256", "EdDSA", "PS256"]);
    issuer["from"] = json!([{"header": {"name": "authorization"}}, {"cookie": "session"}, {"query": "access_token"}]);
    let bootstrap = Bare::new(config, &Echo::start("upstream")).bootstrap();
    Envoy::with_workers(1, &bootstrap)
}

/// Sends a bad request, expects one of these statuses, then sends a good one.
fn refuse(envoy: &Envoy, what: &str, bytes: &[u8], statuses: &[u16]) {
    let response = envoy.send(bytes);
    assert!(
        statuses.contains(&response.status),
        "{what}: {} {}",
        response.status,
        response.text()
    );
    still_serves(envoy, what);
}

fn still_serves(envoy: &Envoy, what: &str) {
    let authorization = format!("Bearer {}", Issuer::shared().good_token());
    let response = envoy.send(&request(
        "GET",
        "/",
        &[("host", "a"), ("authorization", &authorization)],
        b"",
    ));
    assert_eq!(response.status, 200, "after {what}: {}", response.text());
}

#[test]
fn every_high_byte_in_every_header_that_is_read() {
    let envoy = start();
    for byte in 0x80..=0xff_u8 {
        let text = char::from(byte).to_string();
        let bearer = format!("Bearer {text}");
        let cookie = format!("session={text}");
        for (name, value, expected) in [
            ("authorization", bearer.as_str(), 401),
            ("authorization", text.as_str(), 401),
            ("cookie", cookie.as_str(), 401),
            ("x-user-id", text.as_str(), 401),
            ("content-type", text.as_str(), 401),
            ("x-request-id", text.as_str(), 401),
            ("x-other", text.as_str(), 401),
        ] {
            let response = envoy.send(&request("GET", "/", &[("host", "a"), (name, value)], b""));
            assert_eq!(response.status, expected, "{name}: {byte:#x}: {}", response.text());
            assert!(response.json()["code"].is_string(), "{name}: {byte:#x}");
        }
        let response = envoy.send(&request(
            "GET",
            "/public",
            &[("host", "a"), ("x-user-id", &text), ("x-other", &text)],
            b"",
        ));
        assert_eq!(response.status, 200, "{byte:#x}");
    }
    still_serves(&envoy, "high bytes");
    envoy.assert_no_vm_died();
}

#[test]
fn tokens_that_are_too_much() {
    let envoy = start();
    let bearer = |token: &str| {
        request(
            "GET",
            "/",
            &[("host", "a"), ("authorization", &format!("Bearer {token}"))],
            b"",
        )
    };
    for size in [1024, 8 * 1024, 16 * 1024, 16 * 1024 + 1, 32 * 1024, 55 * 1024] {
        let token = "A".repeat(size);
        refuse(&envoy, &format!("{size} bytes"), &bearer(&token), &[401]);
        refuse(&envoy, &format!("{size} dots"), &bearer(&".".repeat(size)), &[401]);
        let parts = format!("{0}.{0}.{0}", "A".repeat(size / 3));
        refuse(&envoy, &format!("{size} bytes in three parts"), &bearer(&parts), &[401]);
    }
    refuse(&envoy, "70 KiB of header", &bearer(&"A".repeat(70 * 1024)), &[431]);
    let commas = request(
        "GET",
        "/",
        &[
            ("host", "a"),
            ("authorization", &format!("Bearer {}", ",".repeat(50 * 1024))),
        ],
        b"",
    );
    // Empty values are no credentials.
    refuse(&envoy, "50 Ki commas", &commas, &[401]);
    let cookies = request(
        "GET",
        "/",
        &[("host", "a"), ("cookie", &"session=a;".repeat(5000))],
        b"",
    );
    refuse(&envoy, "5000 cookies", &cookies, &[400]);
    let query = request(
        "GET",
        &format!("/?{}", "access_token=a&".repeat(3000)),
        &[("host", "a")],
        b"",
    );
    refuse(&envoy, "3000 parameters", &query, &[400]);
    envoy.assert_no_vm_died();
}

#[test]
fn json_that_is_too_deep() {
    let envoy = start();
    for depth in [33, 128, 500, 5000] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        for text in [&nested, &objects] {
            let payload = TokenSpec {
                raw_claims: Some(text.clone()),
                ..TokenSpec::default()
            };
            let header = TokenSpec {
                raw_header: Some(text.clone()),
                ..TokenSpec::default()
            };
            for spec in [payload, header] {
                let authorization = format!("Bearer {}", Issuer::shared().token(&spec));
                let bytes = request("GET", "/", &[("host", "a"), ("authorization", &authorization)], b"");
                refuse(&envoy, &format!("depth {depth}"), &bytes, &[401, 431]);
            }
        }
    }
    envoy.assert_no_vm_died();
}

#[test]
fn malformed_requests() {
    let envoy = start();
    let raw = |text: &str| text.replace('\n', "\r\n").into_bytes();
    for (what, bytes, statuses) in [
        ("no host", raw("GET / HTTP/1.1\n\n"), &[400][..]),
        ("an empty host", raw("GET / HTTP/1.1\nhost:\n\n"), &[400]),
        ("two hosts", raw("GET / HTTP/1.1\nhost: a\nhost: b\n\n"), &[400]),
        ("a host with a user", raw("GET / HTTP/1.1\nhost: u@a\n\n"), &[400]),
        ("a host with a path", raw("GET / HTTP/1.1\nhost: a/b\n\n"), &[400]),
        ("no path", raw("GET  HTTP/1.1\nhost: a\n\n"), &[400]),
        ("a relative path", raw("GET a HTTP/1.1\nhost: a\n\n"), &[400]),
        ("an asterisk", raw("OPTIONS * HTTP/1.1\nhost: a\n\n"), &[400, 404]),
        ("a fragment", raw("GET /public#/private HTTP/1.1\nhost: a\n\n"), &[400]),
        ("CONNECT", raw("CONNECT a:443 HTTP/1.1\nhost: a:443\n\n"), &[404, 405]),
        ("TRACE", raw("TRACE / HTTP/1.1\nhost: a\n\n"), &[405]),
        ("a lower-case method", raw("get / HTTP/1.1\nhost: a\n\n"), &[400, 401]),
        (
            "two lengths",
            raw("POST / HTTP/1.1\nhost: a\ncontent-length: 1\ncontent-length: 2\n\nab"),
            &[400],
        ),
        (
            "a length and chunks",
            raw("POST / HTTP/1.1\nhost: a\ncontent-length: 1\ntransfer-encoding: chunked\n\n0\n\n"),
            &[400],
        ),
        (
            "a zero byte",
            b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n".to_vec(),
            &[400],
        ),
        ("a space before the colon", raw("GET / HTTP/1.1\nhost : a\n\n"), &[400]),
        ("HTTP/1.0", raw("GET / HTTP/1.0\nhost: a\n\n"), &[426]),
    ] {
        refuse(&envoy, what, &bytes, statuses);
    }
    envoy.assert_no_vm_died();
}

#[test]
fn clients_that_leave() {
    let envoy = start();
    for end in [5, 30, 60] {
        let bytes = request("POST", "/public", &[("host", "a")], &[b'x'; 4096]);
        let mut stream = TcpStream::connect(envoy.address()).expect("a connection");
        stream.write_all(&bytes[..end]).expect("sent");
        stream.shutdown(Shutdown::Both).expect("closed");
    }
    let mut stream = TcpStream::connect(envoy.address()).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    // Two requests on one connection: the second is decided for itself.
    let mut bytes = request("GET", "/public", &[("host", "a")], b"");
    bytes.extend(request("GET", "/", &[("host", "a"), ("connection", "close")], b""));
    stream.write_all(&bytes).expect("sent");
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("two answers");
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("HTTP/1.1 401"),
        "{text}"
    );
    still_serves(&envoy, "clients that leave");
    envoy.assert_no_vm_died();
}
