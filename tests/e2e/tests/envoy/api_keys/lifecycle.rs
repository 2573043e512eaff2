//! A key's life: created, rotated, expired, revoked.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tollgate_e2e::envoy::eventually;
use tollgate_e2e::postgres::Postgres;
use tollgate_e2e::publisher::{Answer, Publisher};
use tollgate_e2e::raw::{self, request};

use super::*;

/// On both databases.
#[test]
fn a_rotated_key_and_its_successor_overlap_and_a_revoked_one_ends() {
    let postgres = Postgres::shared();
    for keys in [Keys::sqlite(), Keys::at(postgres.database())] {
        let service = keys.serve(&[]);
        let gateway = keys.gateway(service.address(), json!({}));
        let old = keys.create(&[
            "--tenant",
            "t1",
            "--role",
            "admin",
            "--scope",
            "orders.read",
            "--plan",
            "pro",
        ]);
        let seen = ask(gateway.address(), &old.key);
        assert_eq!(seen.status, 200);
        let headers = seen.json()["headers"].clone();
        let header = |name: &str| {
            let found = headers
                .as_array()
                .into_iter()
                .flatten()
                .find(|header| header[0] == name);
            found.map(|header| header[1].as_str().unwrap_or_default().to_owned())
        };
        for (name, value) in [
            ("x-user-id", "u1"),
            ("x-tenant-id", "t1"),
            ("x-user-roles", "admin"),
            ("x-user-scopes", "orders.read"),
            ("x-user-plan", "pro"),
            ("x-auth-method", "api_key"),
            ("x-api-key-id", &old.id),
        ] {
            assert_eq!(header(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(header("x-api-key"), None);

        let new = keys.make(&["rotate", &old.id, "--overlap", "2s"]);
        let rotated = Instant::now();
        assert_eq!(
            (status(&gateway, &old.key), status(&gateway, &new.key)),
            (200, 200),
            "both are good"
        );
        eventually("the old key ends", || every_worker_says(&gateway, &old.key, 401));
        assert!(rotated.elapsed() > Duration::from_millis(900), "it ended too early");
        assert_eq!(status(&gateway, &new.key), 200);

        keys.run(&["revoke", &new.id]);
        eventually("the new key ends", || every_worker_says(&gateway, &new.key, 401));
        gateway.assert_no_vm_died();
    }
}

/// By how much the gateway's clock, which counts whole milliseconds, may be off.
const CLOCK: Duration = Duration::from_millis(2);

#[test]
fn a_key_ends_by_the_second() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let gateway = keys.gateway(service.address(), json!({}));
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let made = keys.create(&["--lifetime", "3s"]);
    let listed: Value = serde_json::from_str(&keys.run(&["list", "--json"])).expect("JSON");
    let text = listed.to_string();
    let end = text
        .split("\"expires_at\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("an end");
    let end = tollgate::config::values::Timestamp::parse(end).expect("a moment");
    let end = end.0.duration();
    let (mut good, mut ended) = (0, 0);
    while ended < 20 {
        let before = now();
        let status = status(&gateway, &made.key);
        let after = now();
        match status {
            200 => assert!(before < end + CLOCK, "it passed {:?} after its end", before - end),
            401 => assert!(after + CLOCK >= end, "it was refused {:?} before its end", end - after),
            other => panic!("{other}"),
        }
        if status == 200 {
            good += 1
        } else {
            ended += 1
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(good > 0, "it was never good");
}

/// Open connections are bound to their workers: with many of them, all workers are asked.
#[test]
fn a_revoked_key_is_refused_by_every_worker_soon() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let gateway = keys.gateway(
        service.address(),
        json!({"lookup.cache": "10m", "lookup.max_stale": "10m"}),
    );
    let mut connections: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(gateway.address()).expect("a connection"))
        .collect();
    let mut all = |key: &str| -> Vec<u16> {
        let bytes = request("GET", "/", &[("host", "a"), ("x-api-key", key)], b"");
        let ask = |stream: &mut TcpStream| {
            stream.write_all(&bytes).expect("sent");
            raw::read(stream, false).expect("an answer").status
        };
        connections.iter_mut().map(ask).collect()
    };
    let mut times = Vec::new();
    for _ in 0..10 {
        let made = keys.create(&[]);
        assert!(all(&made.key).iter().all(|&status| status == 200));
        keys.run(&["revoke", &made.id]);
        let revoked = Instant::now();
        while all(&made.key).contains(&200) {
            assert!(revoked.elapsed() < Duration::from_secs(5), "the push is lost");
        }
        times.push(revoked.elapsed());
        assert!(all(&made.key).iter().all(|&status| status == 401));
    }
    for worker in 0..WORKERS {
        let name = format!("worker_{worker}.downstream_cx_total");
        let connections: u64 = gateway.stats(&name).iter().map(|(_, value)| value).sum();
        assert!(connections > 0, "worker {worker} was not asked");
    }
    times.sort_unstable();
    println!(
        "revoked to refused by all of {WORKERS} workers: median {:?}, longest {:?}",
        times[5], times[9]
    );
}

#[test]
fn a_revocation_whose_push_is_lost_is_as_late_as_the_cache() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let gateway = keys.gateway(
        service.address(),
        json!({"lookup.cache": "2s", "lookup.changes": "/nowhere"}),
    );
    let made = keys.create(&[]);
    assert!(every_worker_says(&gateway, &made.key, 200));
    let known = Instant::now();
    keys.run(&["revoke", &made.id]);
    thread::sleep(Duration::from_millis(300));
    assert!(
        known.elapsed() > Duration::from_secs(2) || status(&gateway, &made.key) == 200,
        "nobody told it"
    );
    eventually("the cache time is over", || every_worker_says(&gateway, &made.key, 401));
    assert!(gateway.stat("wasmcustom.tollgate_key_changes_total;outcome=failed;reason=status;") > 0);
}

#[test]
fn a_key_that_was_unknown_is_good_once_it_is_imported() {
    let keys = Keys::sqlite();
    let service = keys.serve(&[]);
    let gateway = keys.gateway(service.address(), json!({"opaque": true}));
    let key = "minted-by-another-gateway-0001";
    assert!(every_worker_says(&gateway, key, 401));
    let hash = tollgate_e2e::keys::hash("v1", SECRET.1, key);
    keys.run(&["import", "--hash", &hash, "--id", "elsewhere", "--user", "u9"]);
    eventually("it is known", || every_worker_says(&gateway, key, 200));
}

/// Added everywhere, minted with, the old one dropped: no request is refused on the way.
#[test]
fn a_secret_is_replaced_without_an_outage() {
    let mut keys = Keys::sqlite();
    let old = keys.create(&[]);
    let service = keys.serve(&[]);
    let first = keys.gateway(service.address(), json!({}));
    assert_eq!(status(&first, &old.key), 200);

    let newer = ("v2", "a-newer-secret-of-the-tests-0123456789ab".to_owned());
    keys.secrets.push(newer.clone());
    let both = keys.gateway(service.address(), json!({}));
    keys.secrets.reverse();
    let minting = keys.gateway(service.address(), json!({}));
    let new = keys.create(&[]);
    for gateway in [&both, &minting] {
        assert!(every_worker_says(gateway, &old.key, 200) && every_worker_says(gateway, &new.key, 200));
    }
    assert_eq!(
        status(&first, &new.key),
        401,
        "it does not have the secret yet: why the order matters"
    );

    keys.secrets.truncate(1);
    let after = keys.gateway(service.address(), json!({}));
    assert!(every_worker_says(&after, &new.key, 200) && every_worker_says(&after, &old.key, 401));
}

#[test]
fn many_requests_with_one_new_key_are_one_lookup() {
    let keys = Keys::sqlite();
    let minted = tollgate_e2e::keys::mint();
    let answer = json!({"version": 1, "key": tollgate_e2e::keys::record(&minted)});
    let publisher = Publisher::start(Answer::Document(answer));
    let gateway = keys.gateway(publisher.address, json!({}));
    let lookups = || {
        publisher
            .requests()
            .iter()
            .filter(|path| *path == "/v1/keys/lookup")
            .count()
    };
    let barrier = std::sync::Barrier::new(64);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(gateway.address()).expect("a connection");
                let bytes = request("GET", "/", &[("host", "a"), ("x-api-key", &minted.key)], b"");
                barrier.wait();
                stream.write_all(&bytes).expect("sent");
                assert_eq!(raw::read(&mut stream, false).expect("an answer").status, 200);
            });
        }
    });
    assert_eq!(lookups(), 1);
    for _ in 0..20 {
        assert_eq!(
            status(&gateway, &tollgate_e2e::keys::mint().key),
            401,
            "the answer is about another key"
        );
    }
}
