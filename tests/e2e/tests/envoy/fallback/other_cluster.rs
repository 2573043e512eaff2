//! Another cluster, which gets the request that the upstream does not answer.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::echo::{Echo, Mortal};
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::publisher::{Answer, Publisher};
use tollgate_e2e::raw::request;

use super::{answer, ask, bearer, counted, stood_in};

/// Milliseconds in which it must answer.
const TIMEOUT: u128 = 500;

/// A rule whose other cluster is `other`, and more of its fallback.
fn start(upstream: &Mortal, other: SocketAddr, more: &Value) -> Envoy {
    start_told(upstream, other, more, false)
}

/// The same where Envoy tells of bodies whose headers are held.
fn start_told(upstream: &Mortal, other: SocketAddr, more: &Value, tells_of_held: bool) -> Envoy {
    let mut fallback = json!({"cluster": {"name": "other", "timeout": "500ms"}});
    for (name, value) in more.as_object().expect("an object") {
        fallback[name] = value.clone();
    }
    let rules = json!([{
        "name": "r", "match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}, "fallback": fallback,
        "request": {"headers": {"set": {"x-rule": "said"}}},
    }]);
    let mut bare = Bare::new(one_issuer(rules), &upstream.echo);
    bare.clusters.push(("other", other));
    bare.tells_of_held = tells_of_held;
    Envoy::start(&bare.bootstrap())
}

#[test]
fn another_cluster_gets_the_request_as_the_upstream_would_have_and_its_answer_is_the_clients() {
    let mut upstream = Mortal::start("upstream");
    let other = Echo::start("other");
    let envoy = start(&upstream, other.address, &json!({}));
    let authorization = bearer("alice", "acme");
    let headers = [
        ("authorization", authorization.as_str()),
        ("x-user-id", "forged"),
        ("x-client", "kept"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-request-id", "r-1"),
        ("x-respond", "x-told: 1"),
        ("x-respond", "set-cookie: a=b"),
    ];
    let at_upstream = ask(&envoy, "GET", "/a/b?c=d", &headers).json();
    assert_eq!(at_upstream["service"], "upstream");
    upstream.die();
    let response = ask(&envoy, "GET", "/a/b?c=d", &headers);
    assert_eq!(
        (response.status, stood_in(&response)),
        (200, Some("cluster")),
        "{}",
        response.text()
    );
    assert_eq!(
        (response.header("x-told"), response.header("set-cookie")),
        (Some("1"), Some("a=b"))
    );
    let seen = other.take().pop().expect("a request");
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/a/b?c=d"));
    for (name, value) in [
        ("host", "a"),
        ("x-user-id", "alice"),
        ("x-tenant-id", "acme"),
        ("x-client", "kept"),
        ("x-rule", "said"),
        ("traceparent", headers[3].1),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert_eq!(seen.all("authorization"), [""; 0], "no credential goes on");
    assert_eq!(seen.all("x-request-id").len(), 1);

    let head = ask(&envoy, "HEAD", "/a", &headers);
    assert_eq!(
        (head.status, stood_in(&head), head.text().as_str()),
        (200, Some("cluster"), "")
    );
    assert_eq!(other.take().pop().expect("a request").method, "HEAD");
    // Statuses of its own are answers; a request that changes things, or has a body, is not sent twice.
    let not_found = ask(&envoy, "GET", "/a", &[headers[0], ("x-respond", ":status: 404")]);
    assert_eq!((not_found.status, stood_in(&not_found)), (404, Some("cluster")));
    other.take();
    assert_eq!(ask(&envoy, "DELETE", "/a", &headers).status, 503);
    let with_body = [("host", "a"), headers[0]];
    assert_eq!(envoy.send(&request("GET", "/a", &with_body, b"body")).status, 503);
    assert_eq!(ask(&envoy, "GET", "/a", &[]).status, 401);
    assert_eq!(other.take().len(), 0);
    envoy.assert_no_vm_died();
}

#[test]
fn where_the_other_cluster_fails_too_the_next_stands_in() {
    let mut upstream = Mortal::start("upstream");
    let mut other = Mortal::start("other");
    let more = json!({"last_good": {}, "answer": answer()["answer"]});
    let envoy = start(&upstream, other.echo.address, &more);
    let authorization = bearer("alice", "acme");
    let get = |path: &str, told: &str| {
        ask(
            &envoy,
            "GET",
            path,
            &[("authorization", &authorization), ("x-respond", told)],
        )
    };
    assert_eq!(stood_in(&get("/known", "x-a: 1")), None);
    upstream.die();
    for told in [":status: 500", ":after: 5000"] {
        let known = get("/known", told);
        assert_eq!(
            (stood_in(&known), known.json()["service"].as_str()),
            (Some("last_good"), Some("upstream")),
            "{told}"
        );
        assert_eq!(stood_in(&get("/unknown", told)), Some("answer"), "{told}");
    }
    assert_eq!(stood_in(&get("/known", "x-a: 1")), Some("cluster"));
    other.die();
    assert_eq!(stood_in(&get("/known", "x-a: 1")), Some("last_good"));
    assert_eq!(stood_in(&get("/unknown", "x-a: 1")), Some("answer"));
    envoy.assert_no_vm_died();
}

#[test]
fn a_silent_cluster_holds_nobody_for_long_and_a_crowd_is_answered() {
    let mut upstream = Mortal::start("upstream");
    let silent = Publisher::start(Answer::Silence);
    let envoy = start(&upstream, silent.address, &answer());
    upstream.die();
    let authorization = bearer("alice", "acme");
    // More than a worker holds at a time: the others are answered at once.
    let begun = Instant::now();
    let answered = thread::scope(|scope| {
        let clients: Vec<_> = (0..700)
            .map(|_| scope.spawn(|| ask(&envoy, "GET", "/a", &[("authorization", &authorization)])))
            .collect();
        let responses = clients.into_iter().map(|client| client.join().expect("an answer"));
        responses
            .filter(|response| stood_in(response) == Some("answer"))
            .count()
    });
    assert_eq!(answered, 700);
    let asked = u128::try_from(silent.requests().len()).expect("a number");
    // Two workers have 128 places each for this, and one source half of them; each is free again when the cluster's time is over.
    let rounds = begun.elapsed().as_millis() / TIMEOUT + 1;
    println!("700 at once: {asked} were sent to the silent cluster in {rounds} rounds");
    assert!(asked <= 2 * (64 + 16) * rounds, "{asked} in {rounds} rounds");
    eventually("all are counted", || {
        let counted = counted(&envoy);
        let times = counted.iter().filter(|line| line.contains(" answer "));
        times
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
            .sum::<u32>()
            == 700
    });
    envoy.assert_no_vm_died();
}

#[test]
fn clients_that_leave_while_another_cluster_is_asked_leave_nothing() {
    use std::io::Write as _;
    let mut upstream = Mortal::start("upstream");
    let silent = Publisher::start(Answer::Silence);
    let envoy = start(&upstream, silent.address, &answer());
    upstream.die();
    let authorization = bearer("alice", "acme");
    let message = request("GET", "/a", &[("host", "a"), ("authorization", &authorization)], b"");
    for _ in 0..200 {
        let mut stream = std::net::TcpStream::connect(envoy.address()).expect("a connection");
        stream.write_all(&message).expect("sent");
        thread::sleep(std::time::Duration::from_millis(2));
    }
    silent.answer(Answer::Document(json!({"from": "silent"})));
    eventually("the gateway serves on", || {
        let response = ask(&envoy, "GET", "/a", &[("authorization", &authorization)]);
        stood_in(&response) == Some("cluster") && response.json()["from"] == "silent"
    });
    envoy.assert_no_vm_died();
}

#[test]
fn a_body_whose_headers_are_held_waits_with_them() {
    let mut upstream = Mortal::start("upstream");
    let other = Echo::start("other");
    let envoy = start_told(&upstream, other.address, &json!({"statuses": [500]}), true);
    let authorization = bearer("alice", "acme");
    let get = |told: &str| {
        let headers = [("authorization", authorization.as_str()), ("x-respond", told)];
        ask(&envoy, "GET", "/a", &headers)
    };
    let own = get("x-a: 1");
    assert_eq!(
        (stood_in(&own), own.json()["service"].as_str()),
        (None, Some("upstream"))
    );
    upstream.die();
    for _ in 0..5 {
        let response = get(":after: 50");
        assert_eq!(stood_in(&response), Some("cluster"), "{}", response.text());
        assert_eq!((response.status, &response.json()["service"]), (200, &"other".into()));
    }
    envoy.assert_no_vm_died();
}
