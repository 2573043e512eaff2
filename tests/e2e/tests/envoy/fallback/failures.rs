//! Each way to fail, answered by the gateway's own answer.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, buffer};
use tollgate_e2e::echo::Mortal;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::http2;
use tollgate_e2e::raw::request;
use tollgate_e2e::server::{listener, runtime};

use super::{answer, ask, bootstrap, counted, stood_in};

fn rule() -> Value {
    json!({"name": "r", "fallback": answer()})
}

#[track_caller]
fn assert_answered(envoy: &Envoy, method: &str) {
    let response = ask(envoy, method, "/items", &[]);
    assert_eq!(
        (response.status, stood_in(&response)),
        (200, Some("answer")),
        "{response:?}"
    );
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("content-length"), Some("12"));
    let body = if method == "HEAD" { "" } else { r#"{"items":[]}"# };
    assert_eq!(response.text(), body);
}

#[test]
fn an_upstream_that_is_gone_is_answered_for_and_serves_again_when_it_is_back() {
    let mut upstream = Mortal::start("upstream");
    let envoy = Envoy::start(&bootstrap(&upstream, &rule(), |_, _| {}));
    let response = ask(&envoy, "GET", "/items", &[]);
    assert_eq!((response.status, stood_in(&response)), (200, None));
    upstream.die();
    // The first finds the connection closed under it, the others find none.
    for _ in 0..3 {
        assert_answered(&envoy, "GET");
        assert_answered(&envoy, "HEAD");
    }
    // Whoever changes things must be told that nothing has changed.
    let response = ask(&envoy, "POST", "/items", &[]);
    assert_eq!((response.status, stood_in(&response)), (503, None));
    upstream.revive();
    let response = ask(&envoy, "GET", "/items", &[]);
    assert_eq!(
        (response.status, stood_in(&response)),
        (200, None),
        "{}",
        response.text()
    );
    eventually("all are counted", || {
        let counted = counted(&envoy);
        let times = counted
            .iter()
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
        times.sum::<u32>() == 6
    });
    envoy.assert_no_vm_died();
}

#[test]
fn an_unhealthy_upstream_gets_no_request() {
    let mut upstream = Mortal::start("upstream");
    let envoy = Envoy::start(&bootstrap(&upstream, &rule(), |_, cluster| {
        cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
        cluster["health_checks"] = json!([{
            "timeout": "1s", "interval": "0.1s", "no_traffic_interval": "0.1s", "unhealthy_threshold": 1, "healthy_threshold": 1,
            "http_health_check": {"path": "/healthz"},
        }]);
    }));
    upstream.die();
    let healthy = || envoy.stat("cluster.upstream.membership_healthy");
    eventually("it is unhealthy", || healthy() == 0);
    let before = envoy.stat("cluster.upstream.upstream_rq_total");
    for _ in 0..5 {
        assert_answered(&envoy, "GET");
        assert_answered(&envoy, "HEAD");
    }
    assert_eq!(envoy.stat("cluster.upstream.upstream_rq_total"), before);
    eventually("all are counted", || {
        counted(&envoy) == ["no_healthy_upstream answer 10"]
    });
    upstream.revive();
    eventually("it is healthy", || healthy() == 1);
    // That is the main thread's gauge; workers are told afterwards.
    eventually("it serves again", || {
        stood_in(&ask(&envoy, "GET", "/items", &[])).is_none()
    });
}

#[test]
fn what_an_open_breaker_keeps_from_an_upstream_is_answered_for() {
    let upstream = Mortal::start("upstream");
    let envoy = Envoy::start(&bootstrap(&upstream, &rule(), |_, cluster| {
        cluster["circuit_breakers"] = json!({"thresholds": [{"max_connections": 2, "max_pending_requests": 1}]});
    }));
    let slow = [("host", "a"), ("x-respond", ":after: 1500")];
    let responses: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| envoy.send(&request("GET", "/items", &slow, b""))))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("an answer"))
            .collect()
    });
    let answered = responses
        .iter()
        .filter(|response| stood_in(response) == Some("answer"))
        .count();
    let served = responses.iter().filter(|response| stood_in(response).is_none());
    assert!(served.clone().all(|response| response.status == 200));
    // A breaker counts for each worker's own connections a little loosely; what it keeps out, the upstream does not get.
    let reached = upstream.echo.take().len();
    println!(
        "of 40 at once through a breaker of 2 connections: {reached} reached the upstream, {answered} were answered for"
    );
    assert_eq!((served.count(), answered), (reached, 40 - reached));
    assert!(answered >= 20, "{answered}");
    eventually("all are counted", || {
        counted(&envoy) == [format!("overflow answer {answered}")]
    });
    assert_eq!(stood_in(&ask(&envoy, "GET", "/items", &[])), None);
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_answered_for() {
    let upstream = Mortal::start("upstream");
    let envoy = Envoy::start(&bootstrap(&upstream, &rule(), |route, _| {
        route["timeout"] = "0.3s".into()
    }));
    let slow = |millis: &str, method: &str| {
        let after = format!(":after: {millis}");
        ask(&envoy, method, "/items", &[("x-respond", &after)])
    };
    for method in ["GET", "HEAD"] {
        assert_eq!(stood_in(&slow("3000", method)), Some("answer"));
    }
    assert_eq!(stood_in(&slow("1", "GET")), None);
    assert_eq!(slow("3000", "POST").status, 504);
    eventually("all are counted", || counted(&envoy) == ["timeout answer 2"]);
}

#[test]
fn an_upstream_that_resets_the_request_is_answered_for() {
    let listener = listener();
    let address = listener.local_addr().expect("an address");
    runtime().spawn(reset_every_stream(listener));
    let upstream = Mortal::start("upstream");
    let mut bare = Bare::new(
        json!({"version": 1, "routes": [{"match": {"path_prefix": "/"}, "public": true, "fallback": answer()}]}),
        &upstream.echo,
    );
    bare.http2_clusters.push(("resets".into(), address));
    bare.routes = Some(vec![json!({"match": {"prefix": "/"}, "route": {"cluster": "resets"}})]);
    let envoy = Envoy::start(&bare.bootstrap());
    assert_answered(&envoy, "GET");
    assert_answered(&envoy, "HEAD");
    eventually("both are counted", || counted(&envoy) == ["remote_reset answer 2"]);
}

async fn reset_every_stream(listener: TcpListener) {
    listener.set_nonblocking(true).expect("a listener");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await?;
            while let Some(request) = connection.accept().await {
                request?.1.send_reset(h2::Reason::INTERNAL_ERROR);
            }
            Ok::<_, h2::Error>(())
        });
    }
}

#[test]
fn statuses_of_the_upstreams_own_count_where_a_rule_says_so() {
    let upstream = Mortal::start("upstream");
    let mut rule = rule();
    rule["fallback"]["statuses"] = json!(["5xx", 404]);
    rule["fallback"]["methods"] = json!(["GET", "HEAD", "POST"]);
    rule["response"] = json!({"headers": {"set": {"x-rule": "said"}}, "body": {"set": {"more": 1}}});
    let envoy = Envoy::start(&bootstrap(&upstream, &rule, |_, _| {}));
    let told = |lines: &[&str], method: &str| {
        let headers: Vec<_> = lines.iter().map(|line| ("x-respond", *line)).collect();
        ask(&envoy, method, "/items", &headers)
    };
    // With a body, and with none to replace.
    for lines in [
        &[":status: 503"][..],
        &[":status: 503", ":body: "],
        &[":status: 404", "x-secret: 1"],
    ] {
        for method in ["GET", "POST"] {
            let response = told(lines, method);
            assert_eq!(
                (response.status, stood_in(&response)),
                (200, Some("answer")),
                "{lines:?}"
            );
            assert_eq!(
                response.text(),
                r#"{"items":[],"more":1}"#,
                "rules change it as any other"
            );
            assert_eq!(response.header("content-length"), Some("21"));
            assert_eq!(
                (response.header("x-rule"), response.header("x-secret")),
                (Some("said"), None)
            );
        }
        let head = told(lines, "HEAD");
        assert_eq!(
            (head.status, stood_in(&head), head.text().as_str()),
            (200, Some("answer"), "")
        );
    }
    let response = told(&[":status: 400"], "GET");
    assert_eq!((response.status, stood_in(&response)), (400, None));
    eventually("all are counted", || counted(&envoy) == ["status answer 9"]);
}

#[test]
fn a_rule_stands_in_only_for_the_failures_that_it_names() {
    let mut upstream = Mortal::start("upstream");
    let mut rule = rule();
    rule["fallback"]["when"] = json!(["timeout"]);
    let envoy = Envoy::start(&bootstrap(&upstream, &rule, |route, _| {
        route["timeout"] = "0.3s".into()
    }));
    let slow = ask(&envoy, "GET", "/items", &[("x-respond", ":after: 2000")]);
    assert_eq!(stood_in(&slow), Some("answer"));
    upstream.die();
    let gone = ask(&envoy, "GET", "/items", &[]);
    assert_eq!((gone.status, stood_in(&gone)), (503, None));
}

#[test]
fn refusals_and_answers_of_envoys_own_are_nobodys_failure() {
    let upstream = Mortal::start("upstream");
    let config = json!({"version": 1, "routes": [
        {"match": {"path_prefix": "/tiny"}, "public": true, "validate": {"max_bytes": 3},
            "fallback": {"methods": ["GET", "POST"], "answer": {"status": 200}}},
        {"match": {"path_prefix": "/"}, "public": true, "fallback": {"methods": ["GET", "POST"], "answer": {"status": 200}}},
    ]});
    let mut bare = Bare::new(config, &upstream.echo);
    bare.filters = vec![buffer(10)];
    let envoy = Envoy::start(&bare.bootstrap());
    let post = |path: &str, body: &[u8]| envoy.send(&request("POST", path, &[("host", "a")], body));
    assert_eq!(post("/", &[b'x'; 100]).status, 413, "Envoy's buffer");
    assert_eq!(post("/tiny", b"12345").status, 413, "a rule");
    let trace = ask(&envoy, "TRACE", "/", &[]);
    assert_eq!((trace.status, stood_in(&trace)), (405, None));
    assert_eq!(counted(&envoy), Vec::<String>::new());
}

#[test]
fn http2_clients_get_the_same_and_grpc_clients_their_status() {
    let mut upstream = Mortal::start("upstream");
    let envoy = Envoy::start(&bootstrap(&upstream, &rule(), |_, _| {}));
    upstream.die();
    let request = |method: &str, content_type: &str| {
        Request::builder()
            .method(method)
            .uri("http://a/items")
            .header("content-type", content_type)
            .body(())
            .expect("a request")
    };
    for (method, body) in [("GET", &br#"{"items":[]}"#[..]), ("HEAD", b"")] {
        let answer = http2::send(envoy.address(), request(method, "text/plain"), &[], None).expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (200, body));
        assert_eq!(answer.headers["x-tollgate-fallback"], "answer");
    }
    let answer = http2::send(envoy.address(), request("GET", "application/grpc"), &[], None).expect("an answer");
    assert_eq!(
        (answer.status, &answer.headers["grpc-status"]),
        (200, &"14".parse().expect("a value"))
    );
    assert!(!answer.headers.contains_key("x-tollgate-fallback"));
}

#[test]
fn a_flood_on_a_dead_upstream_is_answered_and_nothing_is_left_of_it() {
    let mut upstream = Mortal::start("upstream");
    let envoy = Envoy::start(&bootstrap(&upstream, &rule(), |_, _| {}));
    upstream.die();
    let flood = || {
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..100).for_each(|_| assert_answered(&envoy, "GET")));
            }
        });
    };
    flood();
    thread::sleep(Duration::from_millis(100));
    let before = envoy.memory();
    flood();
    let after = envoy.memory();
    println!("1,600 answered for, after 1,600 before: memory {before} to {after} bytes");
    assert!(after < before + (8 << 20));
    envoy.assert_no_vm_died();
}
