//! A key service that is down, slow, or talks nonsense.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_e2e::envoy::eventually;
use tollgate_e2e::keys::mint;
use tollgate_e2e::publisher::{Answer, Publisher};

use super::*;

fn refused(gateway: &Envoy, key: &str) {
    let response = ask(gateway.address(), key);
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.json()["code"], "keys_unavailable");
    let seconds: u64 = response
        .header("retry-after")
        .expect("a hint")
        .parse()
        .expect("seconds");
    assert!((1..=8).contains(&seconds), "{seconds}");
}

#[test]
fn known_keys_serve_while_the_service_is_down_and_changes_are_caught_up_with() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let place = service.address().to_string();
    let gateway = keys.gateway(
        service.address(),
        json!({"lookup.cache": "1s", "lookup.max_stale": "10m"}),
    );
    let (known, other) = (keys.create(&[]), keys.create(&[]));
    assert!(every_worker_says(&gateway, &known.key, 200));
    service.kill();
    thread::sleep(Duration::from_millis(1100));
    assert!(
        every_worker_says(&gateway, &known.key, 200),
        "beyond its cache time, within max_stale"
    );
    refused(&gateway, &other.key);
    keys.run(&["revoke", &known.id]);
    // At once, although connections to the old one are not yet forgotten.
    let again = keys.serve(&["--listen", &place]);
    eventually("the other key is looked up", || status(&gateway, &other.key) == 200);
    eventually("the revocation is caught up with", || {
        every_worker_says(&gateway, &known.key, 401)
    });
    drop(again);
    gateway.assert_no_vm_died();
}

#[test]
fn keys_that_are_too_old_are_refused() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let gateway = keys.gateway(
        service.address(),
        json!({"lookup.cache": "1s", "lookup.max_stale": "2s"}),
    );
    let known = keys.create(&[]);
    assert_eq!(status(&gateway, &known.key), 200);
    service.kill();
    thread::sleep(Duration::from_millis(2100));
    eventually("it is too old", || ask(gateway.address(), &known.key).status == 503);
    refused(&gateway, &known.key);
}

#[test]
fn a_silent_service_costs_its_timeout_a_few_times_and_then_nothing() {
    let keys = Keys::sqlite();
    let silent = Publisher::start(Answer::Silence);
    let gateway = keys.gateway(silent.address, json!({"lookup.timeout": "250ms"}));
    let mut times = Vec::new();
    for _ in 0..6 {
        let asked = Instant::now();
        refused(&gateway, &mint().key);
        times.push(asked.elapsed());
    }
    println!("refused after {times:?}");
    assert!(
        times[..3].iter().all(|time| *time >= Duration::from_millis(240)),
        "{times:?}"
    );
    assert!(times.iter().all(|time| *time < Duration::from_secs(5)), "{times:?}");
    let lookups = silent
        .requests()
        .iter()
        .filter(|path| *path == "/v1/keys/lookup")
        .count();
    assert_eq!(lookups, 3, "after three failures it is left alone");
}

#[test]
fn nonsense_is_no_answer() {
    let keys = Keys::sqlite();
    let key = mint();
    let publisher = Publisher::start(Answer::Text(200, String::new()));
    for (answer, reason) in [
        (Answer::Text(200, "<html>".into()), "not_json"),
        (Answer::Text(200, "{}".into()), "not_an_answer"),
        (Answer::Text(200, "null".into()), "not_an_answer"),
        (Answer::Document(json!({"version": 1})), "not_an_answer"),
        (Answer::Text(404, "{\"version\":1,\"key\":null}".into()), "status"),
        (Answer::Text(302, String::new()), "redirect"),
        (Answer::Text(500, "oops".into()), "status"),
        (
            Answer::WithHeader(json!({"version": 1, "key": null}), "content-encoding", "gzip"),
            "encoded",
        ),
    ] {
        publisher.answer(answer);
        // A gateway of its own each time: after three failures it would not ask.
        let gateway = keys.gateway_of(1, publisher.address, json!({}));
        refused(&gateway, &key.key);
        let name = format!("wasmcustom.tollgate_key_lookups_total;outcome=failed;reason={reason};");
        eventually(reason, || gateway.stat(&name) == 1);
        gateway.assert_no_vm_died();
    }
}

#[test]
fn what_is_wrong_with_one_key_keeps_no_other_out() {
    let keys = Keys::sqlite();
    let publisher = Publisher::start(Answer::Text(200, String::new()));
    let mut other = tollgate_e2e::keys::record(&mint());
    other["user_id"] = "another".into();
    let (bad, good) = (mint(), mint());
    let mut large = tollgate_e2e::keys::record(&bad);
    large["attributes"] = (0..5)
        .map(|place| (format!("a{place}"), json!(["x".repeat(4000)])))
        .collect();
    let gateway = keys.gateway_of(1, publisher.address, json!({}));
    for (key, record, reason) in [
        (&mint(), other, "other_key"),
        (&bad, large, "bad_record"),
        (&mint(), json!({"id": "x"}), "bad_record"),
        (&mint(), json!({"tenant_id": 7}), "bad_record"),
        (&mint(), json!({"id": "x".repeat(100_000)}), "too_large"),
    ] {
        publisher.answer(Answer::Document(json!({"version": 1, "key": record})));
        let refused = ask(gateway.address(), &key.key);
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (401, &json!("invalid_api_key")),
            "{reason}"
        );
        let name = format!("wasmcustom.tollgate_key_lookups_total;outcome=failed;reason={reason};");
        eventually(reason, || gateway.stat(&name) >= 1);
    }
    publisher.answer(Answer::Document(
        json!({"version": 1, "key": tollgate_e2e::keys::record(&good)}),
    ));
    assert_eq!(status(&gateway, &good.key), 200);
    gateway.assert_no_vm_died();
}

#[test]
fn who_waits_for_another_cluster_keeps_no_key_from_being_looked_up() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let made: Vec<_> = (0..30).map(|_| keys.create(&[])).collect();
    let silent = Publisher::start(Answer::Silence);
    let mut bare = keys.bare(service.address(), json!({}));
    bare.clusters.push(("silent", silent.address));
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    bare.clusters.push(("nobody", nobody.local_addr().expect("an address")));
    drop(nobody);
    bare.routes = Some(vec![
        json!({"match": {"prefix": "/broken"}, "route": {"cluster": "nobody"}}),
        json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}),
    ]);
    let routes = bare.config["routes"].as_array_mut().expect("rules");
    routes.insert(
        0,
        json!({
            "match": {"path_prefix": "/broken"}, "public": true,
            "fallback": {"cluster": {"name": "silent", "timeout": "2s"}},
        }),
    );
    let gateway = Envoy::with_workers(1, &bare.bootstrap());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        // More than there are places, again and again until the keys are through.
        let (gateway, over) = (&gateway, &is_over);
        for _ in 0..600 {
            scope.spawn(move || {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(raw::send(
                        gateway.address(),
                        &request("GET", "/broken", &[("host", "a")], b""),
                    ));
                }
            });
        }
        eventually("the silent cluster is asked", || silent.requests().len() >= 60);
        let statuses: Vec<_> = made.iter().map(|made| status(gateway, &made.key)).collect();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(statuses, [200; 30]);
    });
    gateway.assert_no_vm_died();
}

#[test]
fn a_service_that_is_not_there_is_unavailable_and_not_open() {
    let keys = Keys::sqlite();
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .expect("a port")
        .local_addr()
        .expect("an address");
    let gateway = keys.gateway(nobody, json!({}));
    for _ in 0..5 {
        refused(&gateway, &mint().key);
    }
    // What needs no service is told as ever.
    assert_eq!(status(&gateway, "nonsense"), 401);
}
