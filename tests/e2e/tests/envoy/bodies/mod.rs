//! Bodies as networks bring them, on routes that change them, look at them, and leave them alone.

mod streams;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, buffer};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::http2;
use tollgate_e2e::raw::{self, Response, request};

/// `/change` changes bodies there and back, `/lenient` only small ones, `/limit` counts them, `/empty` has rules that say nothing.
fn config() -> Value {
    let body = json!({"body": {"remove": ["gone"], "set": {"new": 1}, "max_bytes": 400_000}});
    let mut streaming = body.clone();
    streaming["content_types"] = json!(["text/event-stream"]);
    let lenient = json!({"body": {"remove": ["gone"], "max_bytes": 1000, "on_fault": "pass"}});
    json!({"version": 1, "routes": [
        {"match": {"path_prefix": "/change"}, "public": true, "request": body, "response": streaming},
        {"match": {"path_prefix": "/lenient"}, "public": true, "request": lenient, "response": lenient},
        {"match": {"path_prefix": "/limit"}, "public": true, "validate": {"max_bytes": 10}},
        {"match": {"path_prefix": "/schema"}, "public": true, "validate": {"schema": {"type": "object"}}},
        {"match": {"path_prefix": "/empty"}, "public": true, "validate": {}, "request": {"body": {}}, "response": {"body": {}}},
        {"match": {"path_prefix": "/"}, "public": true},
    ]})
}

fn start() -> (Envoy, Echo) {
    let echo = Echo::start("upstream");
    (Envoy::start(&Bare::new(config(), &echo).bootstrap()), echo)
}

const JSON: (&str, &str) = ("content-type", "application/json");
const HOST: (&str, &str) = ("host", "a");

fn post(envoy: &Envoy, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    envoy.send(&request("POST", path, &[&[HOST, JSON], headers].concat(), body))
}

#[test]
fn answers_without_a_body_pass_and_their_headers_are_those_of_the_changed_one() {
    let (envoy, _echo) = start();
    fn respond(line: &str) -> (&str, &str) {
        ("x-respond", line)
    }
    let head = envoy.send(&request("HEAD", "/change", &[HOST, respond("etag: \"1\"")], b""));
    assert_eq!(
        (head.status, head.header("content-length"), head.header("etag")),
        (200, None, Some("W/\"1\""))
    );
    let plain = envoy.send(&request("HEAD", "/", &[HOST, respond("etag: \"1\"")], b""));
    assert_eq!((plain.status, plain.header("etag")), (200, Some("\"1\"")));
    for status in ["204", "304", "205"] {
        let line = format!(":status: {status}");
        let answer = envoy.send(&request(
            "GET",
            "/change",
            &[HOST, respond(&line), respond(":body: ")],
            b"",
        ));
        assert_eq!(
            (answer.status.to_string().as_str(), answer.text().as_str()),
            (status, "")
        );
    }
    let empty = envoy.send(&request("GET", "/change", &[HOST, respond(":body: ")], b""));
    assert_eq!((empty.status, empty.text().as_str()), (200, ""));
    envoy.assert_no_vm_died();
}

#[test]
fn a_request_may_come_in_chunks_with_trailers() {
    let (envoy, echo) = start();
    let mut bytes = request(
        "POST",
        "/change",
        &[HOST, JSON, ("transfer-encoding", "chunked"), ("te", "trailers")],
        b"",
    );
    bytes.extend_from_slice(
        b"6\r\n{\"gone\r\n9\r\n\":1,\"a\":2\r\n1\r\n}\r\n0\r\nx-checksum: 1\r\nx-user-id: forged\r\n\r\n",
    );
    assert_eq!(envoy.send(&bytes).status, 200);
    let seen = echo.take().remove(0);
    assert_eq!(seen.body, r#"{"a":2,"new":1}"#);
    assert_eq!(seen.trailers, [("x-checksum".to_owned(), "1".to_owned())]);
    envoy.assert_no_vm_died();
}

#[test]
fn http2_brings_the_same_with_trailers_both_ways() {
    let (envoy, echo) = start();
    let request = Request::post("http://a/change").header("content-type", "application/json");
    let request = request
        .header("x-respond", ":body: {\"gone\":1,\"b\":2}")
        .header("x-respond", ":trailer: x-sum=2");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "1".parse().expect("a value"));
    let pieces: [&[u8]; 3] = [b"{\"gone\":", b"1,\"a\"", b":2}"];
    let request = request.body(()).expect("a request");
    let answer = http2::send(envoy.address(), request, &pieces, Some(trailers)).expect("an answer");
    assert_eq!(
        (answer.status, String::from_utf8_lossy(&answer.body).as_ref()),
        (200, r#"{"b":2,"new":1}"#)
    );
    assert_eq!(answer.trailers.expect("trailers")["x-sum"], "2");
    let seen = echo.take().remove(0);
    assert_eq!((seen.body.as_str(), seen.trailers.len()), (r#"{"a":2,"new":1}"#, 1));
    envoy.assert_no_vm_died();
}

#[test]
fn a_client_may_ask_whether_to_go_on() {
    let (envoy, echo) = start();
    let body = br#"{"gone":1}"#;
    let length = body.len().to_string();
    let mut stream = TcpStream::connect(envoy.address()).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let expect = [
        HOST,
        JSON,
        ("expect", "100-continue"),
        ("content-length", length.as_str()),
    ];
    stream
        .write_all(&request("POST", "/change", &expect, b""))
        .expect("sent");
    let mut told = [0; 25];
    stream.read_exact(&mut told).expect("an answer");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body).expect("sent");
    assert_eq!(raw::read(&mut stream, false).expect("an answer").status, 200);
    assert_eq!(echo.take().remove(0).body, r#"{"new":1}"#);
}

#[test]
fn a_body_that_is_held_may_end_with_trailers_alone() {
    let (envoy, echo) = start();
    let chunked = [HOST, JSON, ("transfer-encoding", "chunked")];
    for (path, status) in [("/change", 200), ("/schema", 400), ("/limit", 200)] {
        let mut bytes = request("POST", path, &chunked, b"");
        bytes.extend_from_slice(b"0\r\nx-checksum: 1\r\nx-user-id: forged\r\n\r\n");
        assert_eq!(envoy.send(&bytes).status, status, "{path}");
    }
    for seen in echo.take() {
        assert_eq!((seen.body.as_str(), seen.all("x-user-id").len()), ("", 0));
    }
    assert!(!envoy.log().contains("a host call failed"));
    envoy.assert_no_vm_died();
}

#[test]
fn bodies_that_would_take_all_memory_are_judged_or_refused() {
    let echo = Echo::start("upstream");
    let size = 16 << 20;
    let config = json!({"version": 1, "routes": [
        {"match": {"path_prefix": "/schema"}, "public": true, "validate": {"schema": {"items": {"type": "object"}}, "max_bytes": 2 * size}},
        {"match": {"path_prefix": "/form"}, "public": true, "request": {"body": {"convert": "form_to_json", "max_bytes": 2 * size}}},
        {"match": {"path_prefix": "/"}, "public": true, "request": {"body": {"remove": ["[*].gone"], "max_bytes": 2 * size}}},
    ]});
    let mut bootstrap = Bare::new(config, &echo).bootstrap();
    bootstrap["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] = (3 * size).into();
    let envoy = Envoy::with_workers(1, &bootstrap);
    let small = format!("[{{\"\":0}}{}]", ",{\"\":0}".repeat(size / 7));
    for _ in 0..2 {
        assert_eq!(post(&envoy, "/schema", &[], small.as_bytes()).status, 200);
        assert_eq!(post(&envoy, "/schema", &[], format!("{small}x").as_bytes()).status, 400);
        let answer = post(&envoy, "/any", &[], small.as_bytes());
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (413, &json!("payload_too_large"))
        );
        let form = [HOST, ("content-type", "application/x-www-form-urlencoded")];
        let answer = envoy.send(&request("POST", "/form", &form, "a&".repeat(size / 2).as_bytes()));
        assert_eq!(answer.status, 413);
    }
    assert_eq!(post(&envoy, "/any", &[], b"[{\"gone\":1}]").status, 200);
    envoy.assert_no_vm_died();
}

#[test]
fn depth_costs_no_stack() {
    let (envoy, echo) = start();
    let deep = format!("{{\"gone\":1,\"deep\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(post(&envoy, "/change", &[], deep.as_bytes()).status, 200);
    let expected = deep.replace("\"gone\":1,", "").replace("]}", "],\"new\":1}");
    assert!(echo.take().remove(0).body == expected);
    let open = "[".repeat(300_000);
    assert_eq!(
        post(&envoy, "/change", &[], open.as_bytes()).json()["code"],
        "invalid_body"
    );
    assert_eq!(
        post(&envoy, "/schema", &[], deep.as_bytes()).json()["code"],
        "invalid_body"
    );
    envoy.assert_no_vm_died();
}

#[test]
fn compressed_bodies_and_other_types_are_refused_where_they_would_have_to_change() {
    let (envoy, _echo) = start();
    let gzip = ("content-encoding", "gzip");
    assert_eq!(post(&envoy, "/change", &[gzip], b"\x1f\x8b").status, 415);
    assert_eq!(post(&envoy, "/", &[gzip], b"\x1f\x8b").status, 200);
    let respond = ("x-respond", "content-encoding: gzip");
    let answer = envoy.send(&request("GET", "/change", &[HOST, respond], b""));
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (502, &json!("upstream_body_unusable"))
    );
    assert_eq!(envoy.send(&request("GET", "/", &[HOST, respond], b"")).status, 200);
    for content_type in [
        "application/xml",
        "application/x-ndjson",
        "application/javascript",
        "text/html",
    ] {
        let line = format!("content-type: {content_type}");
        let headers = [
            HOST,
            ("x-respond", line.as_str()),
            ("x-respond", ":body: {\"gone\":\"secret\"}"),
        ];
        let answer = envoy.send(&request("GET", "/change", &headers, b""));
        assert_eq!(
            (answer.status, answer.text().contains("secret")),
            (502, false),
            "{content_type}"
        );
    }
    let counter = "wasmcustom.tollgate_responses_refused_total;route=/change/*;reason=body_encoded;";
    eventually("it is counted", || envoy.stat(counter) == 1);
    envoy.assert_no_vm_died();
}

#[test]
fn a_body_does_not_take_a_request_along_that_nobody_has_decided_about() {
    // A key service that accepts connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let keys = json!({"secrets": [{"id": "v1", "env": "SECRET"}], "opaque": true, "lookup": {"cluster": "keys"}});
    let routes = json!([{"match": {"path_prefix": "/"}, "auth": {"any": ["api_key"]}}]);
    for tells_of_held in [false, true] {
        let echo = Echo::start("upstream");
        let config = json!({"version": 1, "api_keys": keys, "routes": routes});
        let mut bare = Bare::new(config, &echo);
        bare.environment = [("SECRET".to_owned(), "s".repeat(32))].into();
        bare.clusters = vec![("keys", silent.local_addr().expect("an address"))];
        bare.tells_of_held = tells_of_held;
        let envoy = Envoy::start(&bare.bootstrap());
        let mut chunked = request(
            "POST",
            "/",
            &[
                HOST,
                ("x-api-key", "unknown-but-long-enough-to-be-looked-up-0123456789"),
                ("transfer-encoding", "chunked"),
            ],
            b"",
        );
        chunked.extend_from_slice(b"4\r\nbody\r\n0\r\nx-trailer: 1\r\n\r\n");
        let answer = envoy.send(&chunked);
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (503, &json!("keys_unavailable")),
            "{tells_of_held}"
        );
        assert!(echo.take().is_empty(), "{tells_of_held}");
        envoy.assert_no_vm_died();
    }
}

#[test]
fn a_refused_body_reaches_no_upstream_behind_the_buffer_filter() {
    let echo = Echo::start("upstream");
    let mut bare = Bare::new(config(), &echo);
    bare.filters = vec![buffer(1 << 20)];
    let envoy = Envoy::start(&bare.bootstrap());
    assert_eq!(post(&envoy, "/change", &[], b"{").status, 400);
    assert_eq!(post(&envoy, "/schema", &[], b"[]").status, 400);
    let mut chunked = request("POST", "/limit", &[HOST, ("transfer-encoding", "chunked")], b"");
    chunked.extend_from_slice(b"b\r\n01234567890\r\n0\r\n\r\n");
    assert_eq!(envoy.send(&chunked).status, 413);
    assert!(echo.take().is_empty());
    // What passes has a length again.
    assert_eq!(post(&envoy, "/change", &[], b"{\"gone\":1}").status, 200);
    assert_eq!(echo.take().remove(0).all("content-length"), ["9"]);
}

#[test]
fn envoys_own_buffer_bounds_what_is_held() {
    let long = format!("{{\"gone\":1,\"text\":\"{}\"}}", "x".repeat(100_000));
    for (filters, status) in [(vec![], 413), (vec![buffer(1 << 20)], 200)] {
        let echo = Echo::start("upstream");
        let mut bare = Bare::new(config(), &echo);
        bare.filters = filters;
        let mut bootstrap = bare.bootstrap();
        bootstrap["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] = 32_768.into();
        let envoy = Envoy::start(&bootstrap);
        // The buffer filter sets the request's own limit.
        assert_eq!(post(&envoy, "/change", &[], long.as_bytes()).status, status);
        // An answer that does not fit breaks off.
        let line = format!(":body: {}", &long[..40_000]);
        let bytes = request("GET", "/change", &[HOST, ("x-respond", &line)], b"");
        let broken = raw::send(envoy.address(), &bytes).expect("headers");
        assert!(broken.body.is_empty(), "not even an end: {}", broken.text());
        envoy.assert_no_vm_died();
    }
}

#[test]
fn without_it_the_upstream_sees_a_request_that_breaks_off() {
    let (envoy, echo) = start();
    for (path, body, status) in [
        ("/change", "{", 400),
        ("/schema", "[]", 400),
        ("/limit", "01234567890", 413),
    ] {
        let mut chunked = request("POST", path, &[HOST, JSON, ("transfer-encoding", "chunked")], b"");
        chunked.extend(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes());
        assert_eq!(envoy.send(&chunked).status, status, "{path}");
    }
    assert!(
        echo.take().iter().all(|seen| seen.body.is_empty()),
        "no byte of a refused body"
    );
    envoy.assert_no_vm_died();
}

#[test]
fn rules_that_say_nothing_change_no_byte() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    let (envoy, echo) = start();
    let types = prop_oneof![
        Just("application/json"),
        Just("text/plain"),
        Just("application/x-www-form-urlencoded")
    ];
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..3000),
        r#"\{"[a-c]": ?(1\.0|1e2|"\\u00e9"), "a":\[ \]\}"#.prop_map(String::into_bytes),
    ];
    let answered = r#"[ -~]{0,40}"#;
    let mut runner = TestRunner::new(Config::with_cases(100));
    let outcome = runner.run(&(types, body, answered), |(content_type, body, answered)| {
        let line = format!(":body: {answered}");
        let headers = [
            HOST,
            ("content-type", content_type),
            ("x-respond", &line),
            ("accept-encoding", "gzip"),
            ("x-a", "1"),
        ];
        let answer = envoy.send(&request("POST", "/empty?a=%41&&b", &headers, &body));
        let seen = echo.take().remove(0);
        prop_assert_eq!(seen.body, String::from_utf8_lossy(&body));
        prop_assert_eq!(seen.path, "/empty?a=%41&&b");
        prop_assert_eq!(
            (
                seen.headers
                    .iter()
                    .filter(|(name, _)| name == "accept-encoding")
                    .count(),
                seen.body_size
            ),
            (1, body.len())
        );
        // Envoy trims nothing, the client's own header does.
        prop_assert_eq!(answer.text(), answered.trim());
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
