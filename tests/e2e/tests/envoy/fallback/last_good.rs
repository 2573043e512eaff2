//! The last good response, to whom it belongs and to nobody else.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::echo::Mortal;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::raw::{self, Response, request};

use super::{ask, bearer, bearer_for, bootstrap, counted, stood_in};

/// For anonymous callers, whom the upstream tells that its answers are everybody's.
fn rule() -> Value {
    open(json!({}))
}

fn open(last_good: Value) -> Value {
    let public = json!({"headers": {"append": {"x-respond": "cache-control: public"}}});
    json!({"name": "r", "fallback": {"last_good": last_good}, "request": public})
}

fn protected() -> Value {
    json!({"name": "r", "auth": {"any": ["jwt"]}, "fallback": {"last_good": {}}})
}

fn start(upstream: &Mortal, rule: &Value) -> Envoy {
    Envoy::start(&bootstrap(upstream, rule, |_, _| {}))
}

/// What the upstream said: its body, and nothing of the gateway.
fn said(body: &str) -> String {
    format!(":body: {body}")
}

#[track_caller]
fn assert_kept(response: &Response, body: &str) {
    assert_eq!(
        (response.status, stood_in(response)),
        (200, Some("last_good")),
        "{response:?}"
    );
    assert_eq!(response.text(), body);
    let age: u64 = response.header("age").and_then(|age| age.parse().ok()).expect("an age");
    assert!(age < 60, "{age}");
}

#[track_caller]
fn assert_lost(response: &Response) {
    assert_eq!(
        (response.status, stood_in(response)),
        (503, None),
        "{}",
        response.text()
    );
}

#[test]
fn a_dead_upstreams_last_good_responses_are_served_by_every_worker() {
    let mut upstream = Mortal::start("upstream");
    let rule = rule();
    let envoy = Envoy::with_workers(4, &bootstrap(&upstream, &rule, |_, _| {}));
    let told = |lines: &[&str], path: &str, method: &str| {
        let headers: Vec<_> = lines.iter().map(|line| ("x-respond", *line)).collect();
        ask(&envoy, method, path, &headers)
    };
    let lines = [
        said("one"),
        "content-type: text/x".into(),
        "x-a: 1".into(),
        "x-a: 2".into(),
        "etag: \"e\"".into(),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    assert_eq!(told(&lines, "/1?a=b", "GET").text(), "one");
    assert_eq!(told(&[&said("")], "/empty", "GET").text(), "");
    assert_eq!(told(&[], "/posted", "POST").status, 200);
    upstream.die();
    // Each request is a connection of its own, so that all workers are asked.
    for _ in 0..32 {
        let response = ask(&envoy, "GET", "/1?a=b", &[]);
        assert_kept(&response, "one");
        assert_eq!(response.header("content-type"), Some("text/x"));
        assert_eq!(response.joined("x-a").as_deref(), Some("1 | 2"));
        assert_eq!(
            (response.header("etag"), response.header("content-length")),
            (Some("\"e\""), Some("3"))
        );
    }
    assert_kept(&ask(&envoy, "GET", "/empty", &[]), "");
    let head = ask(&envoy, "HEAD", "/1?a=b", &[]);
    assert_kept(&head, "");
    assert_eq!(head.header("content-length"), Some("3"));
    for (method, path) in [("GET", "/1"), ("GET", "/1?a=c"), ("GET", "/posted"), ("POST", "/1?a=b")] {
        assert_lost(&ask(&envoy, method, path, &[]));
    }
    let other_host = envoy.send(b"GET /1?a=b HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_lost(&other_host);
    envoy.assert_no_vm_died();
}

#[test]
fn nobody_gets_what_was_said_to_another() {
    let mut upstream = Mortal::start("upstream");
    let envoy = start(&upstream, &protected());
    let tell = |bearer: &str, body: Option<&str>| {
        let line = body.map(said);
        let line = line.as_ref().map(|line| ("x-respond", line.as_str()));
        let headers: Vec<_> = [("authorization", bearer)].into_iter().chain(line).collect();
        ask(&envoy, "GET", "/mine", &headers)
    };
    let (alice, bob, other) = (bearer("alice", "acme"), bearer("bob", "acme"), bearer("alice", "other"));
    assert_eq!(tell(&alice, Some("of alice")).text(), "of alice");
    upstream.die();
    assert_kept(&tell(&alice, None), "of alice");
    // Of the same tenant, and of the same name in another.
    assert_lost(&tell(&bob, None));
    assert_lost(&tell(&other, None));
    // The same, who may do less by now.
    assert_lost(&tell(&bearer_for("alice", "acme", "less"), None));
    assert_eq!(ask(&envoy, "GET", "/mine", &[]).status, 401);
    upstream.revive();
    assert_eq!(tell(&bob, Some("of bob")).text(), "of bob");
    upstream.die();
    assert_kept(&tell(&bob, None), "of bob");
    assert_kept(&tell(&alice, None), "of alice");
    eventually("all are counted", || {
        counted(&envoy).iter().any(|line| line.contains("last_good 3")) || {
            let lines = counted(&envoy);
            let kept = lines.iter().filter(|line| line.contains("last_good"));
            kept.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
                .sum::<u32>()
                == 3
        }
    });
}

#[test]
fn what_must_not_be_kept_is_not() {
    let mut upstream = Mortal::start("upstream");
    let rule = open(json!({"max_bytes": 4096}));
    let envoy = start(&upstream, &rule);
    let large = said(&"x".repeat(5000));
    let respond = |line| ("x-respond", line);
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("/no-store", &[respond("cache-control: max-age=1, No-Store")]),
        ("/private", &[respond("cache-control: private=\"x-a\"")]),
        ("/cookie", &[respond("set-cookie: a=b")]),
        ("/vary", &[respond("vary: accept, *")]),
        ("/status", &[respond(":status: 201")]),
        ("/partial", &[respond(":status: 206")]),
        ("/large", &[respond(&large)]),
        // Not looked at on a public route, but perhaps by the upstream.
        ("/basic", &[("authorization", "Basic YTpi")]),
        ("/session", &[("cookie", "session=1")]),
    ];
    for (path, headers) in cases {
        assert!(ask(&envoy, "GET", path, headers).status < 300);
    }
    ask(&envoy, "GET", "/kept", &[respond("cache-control: no-cache, max-age=0")]);
    upstream.die();
    for (path, headers) in cases {
        assert_lost(&ask(&envoy, "GET", path, &[]));
        assert_lost(&ask(&envoy, "GET", path, headers));
    }
    assert_eq!(stood_in(&ask(&envoy, "GET", "/kept", &[])), Some("last_good"));
    assert_lost(&ask(&envoy, "GET", "/kept", &[("cookie", "session=1")]));
}

#[test]
fn an_anonymous_caller_gets_what_is_everybodys_alone() {
    let mut upstream = Mortal::start("upstream");
    let keys = json!({
        "opaque": true, "secrets": [{"id": "v1", "env": "SECRET"}],
        "from": [{"header": {"name": "x-api-key"}}, {"query": "key"}],
    });
    let rule = json!({"auth": {"any": ["jwt"], "optional": true}, "fallback": {"last_good": {}}});
    let mut bare = Bare::new(one_issuer(json!([])), &upstream.echo);
    bare.config["api_keys"] = keys;
    bare.config["routes"] = json!([rule]);
    bare.config["routes"][0]["match"] = json!({"path_prefix": "/"});
    bare.environment = [("SECRET".to_owned(), "s".repeat(32))].into();
    let envoy = Envoy::start(&bare.bootstrap());
    let public = ("x-respond", "cache-control: public, max-age=60");
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("/silent", &[]),
        ("/aged", &[("x-respond", "cache-control: max-age=60")]),
        // A place of credentials, though of another rule's.
        ("/key", &[public, ("x-api-key", "k")]),
        ("/query?key=k", &[public]),
        ("/cookie", &[public, ("cookie", "a=b")]),
        ("/basic", &[public, ("authorization", "Basic YTpi")]),
    ];
    for (path, headers) in cases {
        assert_eq!(ask(&envoy, "GET", path, headers).status, 200, "{path}");
    }
    let json = ("accept", "application/json");
    assert_eq!(ask(&envoy, "GET", "/public", &[public, json]).status, 200);
    upstream.die();
    for (path, headers) in cases {
        assert_lost(&ask(&envoy, "GET", path, &[]));
        assert_lost(&ask(&envoy, "GET", path, headers));
    }
    assert_eq!(stood_in(&ask(&envoy, "GET", "/public", &[json])), Some("last_good"));
    assert_lost(&ask(&envoy, "GET", "/public", &[json, ("x-api-key", "k")]));
    assert_lost(&ask(&envoy, "GET", "/public", &[("accept", "text/html")]));
    let other_port = envoy.send(b"GET /public HTTP/1.1\r\nhost: a:8080\r\naccept: application/json\r\n\r\n");
    assert_lost(&other_port);
}

#[test]
fn a_variant_is_kept_for_those_who_asked_for_it() {
    let mut upstream = Mortal::start("upstream");
    let envoy = start(&upstream, &rule());
    let body = said("deutsch");
    let german = [
        ("accept-language", "de"),
        ("x-respond", "vary: Accept-Language"),
        ("x-respond", &body),
    ];
    ask(&envoy, "GET", "/page", &german);
    let zipped = [("accept-encoding", "gzip"), ("x-respond", "content-encoding: gzip")];
    ask(&envoy, "GET", "/zipped", &zipped);
    upstream.die();
    assert_kept(&ask(&envoy, "GET", "/page", &german[..1]), "deutsch");
    assert_lost(&ask(&envoy, "GET", "/page", &[("accept-language", "en")]));
    assert_lost(&ask(&envoy, "GET", "/page", &[]));
    assert_eq!(
        stood_in(&ask(&envoy, "GET", "/zipped", &zipped[..1])),
        Some("last_good")
    );
    assert_lost(&ask(&envoy, "GET", "/zipped", &[]));
}

#[test]
fn what_the_upstream_has_taken_back_is_forgotten_and_what_is_old_is_not_served() {
    let mut upstream = Mortal::start("upstream");
    let rule = open(json!({"max_age": "2s"}));
    let envoy = start(&upstream, &rule);
    for (path, after) in [
        ("/gone", ":status: 404"),
        ("/failed", ":status: 500"),
        ("/same", ":status: 304"),
    ] {
        assert_eq!(ask(&envoy, "GET", path, &[]).status, 200);
        ask(&envoy, "GET", path, &[("x-respond", after)]);
    }
    upstream.die();
    assert_lost(&ask(&envoy, "GET", "/gone", &[]));
    assert_eq!(stood_in(&ask(&envoy, "GET", "/failed", &[])), Some("last_good"));
    assert_eq!(stood_in(&ask(&envoy, "GET", "/same", &[])), Some("last_good"));
    thread::sleep(Duration::from_millis(2100));
    assert_lost(&ask(&envoy, "GET", "/failed", &[]));
}

#[test]
fn the_newest_is_kept_and_rules_hold_for_it_too() {
    let mut upstream = Mortal::start("upstream");
    let mut rule = protected();
    rule["response"] = json!({
        "headers": {"set": {"x-for": "{identity.user_id}"}},
        "body": {"remove": ["secret"], "set": {"reader": "{headers.x-reader}"}},
    });
    rule["rate_limits"] = json!([]);
    let envoy = start(&upstream, &rule);
    let alice = bearer("alice", "acme");
    let tell = |reader: &str, body: Option<&str>| {
        let line = body.map(said);
        let line = line.as_ref().map(|line| ("x-respond", line.as_str()));
        let own = [("authorization", alice.as_str()), ("x-reader", reader)];
        let headers: Vec<_> = own.into_iter().chain(line).collect();
        ask(&envoy, "GET", "/mine", &headers)
    };
    tell("a", Some(r#"{"secret":1,"version":1}"#));
    thread::sleep(Duration::from_millis(1100));
    let response = tell("b", Some(r#"{"secret":2,"version":2}"#));
    assert_eq!(response.text(), r#"{"version":2,"reader":"b"}"#);
    upstream.die();
    let response = tell("c", None);
    assert_kept(&response, r#"{"version":2,"reader":"c"}"#);
    assert_eq!(response.header("x-for"), Some("alice"));
}

#[test]
fn what_is_kept_stays_within_its_table() {
    let mut upstream = Mortal::start("upstream");
    let rule = open(json!({"entries": 8, "max_bytes": 20_000}));
    let envoy = start(&upstream, &rule);
    let body = said(&"x".repeat(16_000));
    let fill = |from: u32| {
        for number in from..from + 500 {
            let path = format!("/{number}");
            assert_eq!(ask(&envoy, "GET", &path, &[("x-respond", &body)]).status, 200);
        }
    };
    fill(0);
    let before = envoy.memory();
    fill(500);
    fill(1000);
    let after = envoy.memory();
    println!("8 entries of at most 20,000 bytes, 500 responses of 16,000, then 1,000 more: {before} to {after} bytes");
    assert!(after < before + (6 << 20));
    upstream.die();
    let served = (0..1500).filter(|number| stood_in(&ask(&envoy, "GET", &format!("/{number}"), &[])).is_some());
    let served: Vec<_> = served.collect();
    println!("kept: {served:?}");
    assert!((1..=8).contains(&served.len()) && served.contains(&1499));
    envoy.assert_no_vm_died();
}

#[test]
fn a_response_in_pieces_is_kept_whole_and_one_that_breaks_off_not_at_all() {
    let mut upstream = Mortal::start("upstream");
    let rule = open(json!({"max_bytes": 500_000}));
    let envoy = start(&upstream, &rule);
    // Far more than Envoy reads at once. The upstream says back what it got.
    let large = "0123456789".repeat(5_000);
    let whole = envoy.send(&request(
        "GET",
        "/large",
        &[("host", "a"), ("x-respond", &said(&large))],
        b"",
    ));
    assert_eq!(whole.text(), large);
    upstream.die();
    assert_kept(&ask(&envoy, "GET", "/large", &[]), &large);

    // In the upstream's place, somebody who stops in the middle.
    let listener = TcpListener::bind(upstream.echo.address).expect("the upstream's port");
    let half = thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().expect("a connection");
            // Somebody else may still know the port by what listened there before.
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap_or_default();
            if !asked[..length].starts_with(b"GET /broken ") {
                continue;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nhalf of it";
            stream.write_all(answer).expect("sent");
            // To close with something unread would reset the connection, and take back what was sent.
            stream.shutdown(Shutdown::Write).expect("its end is said");
            let _ = stream.read_to_end(&mut Vec::new());
            return;
        }
    });
    // A worker may not have noticed yet that its connection to the upstream before has ended.
    let mut broken = (0..10).map(|_| {
        let sent = raw::send(envoy.address(), &request("GET", "/broken", &[("host", "a")], b""));
        sent.expect("its beginning").text()
    });
    let broken = broken.find(|text| !text.contains("connection termination"));
    assert_eq!(broken.as_deref(), Some("half of it"));
    half.join().expect("it ends");
    assert_lost(&ask(&envoy, "GET", "/broken", &[]));
    assert_kept(&ask(&envoy, "GET", "/large", &[]), &large);
}
