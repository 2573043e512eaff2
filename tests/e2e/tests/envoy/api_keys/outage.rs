//! A key service that is down. What a slow one and nonsense lead to, `tests/cases/steps_key_*.yaml` shows.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

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
