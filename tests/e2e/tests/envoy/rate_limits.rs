//! Rate limits where several workers count together.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, Form, one_issuer};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::raw::{self, Response, request};

const WORKERS: u32 = 4;

/// A rule for each limit, at `/NAME`.
fn config(limits: &[Value]) -> Value {
    let rule = |limit: &Value| {
        let name = limit["name"].as_str().expect("a name");
        json!({"match": {"path_prefix": format!("/{name}")}, "public": true, "rate_limits": [name]})
    };
    json!({"version": 1, "rate_limits": limits, "routes": limits.iter().map(rule).collect::<Vec<_>>()})
}

fn start(bare: &Bare) -> Envoy {
    Envoy::with_workers(WORKERS, &bare.bootstrap())
}

fn ask(gateway: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    let headers: Vec<_> = [("host", "a")].iter().chain(headers).copied().collect();
    raw::send(gateway, &request("GET", path, &headers, b"")).expect("an answer")
}

/// Sends the same requests on so many connections at once; how many of each were allowed.
fn at_once(gateway: SocketAddr, connections: usize, messages: &[Vec<u8>], times: usize) -> Vec<usize> {
    let allowed: Vec<_> = messages.iter().map(|_| AtomicUsize::new(0)).collect();
    let barrier = Barrier::new(connections);
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(gateway).expect("a connection");
                barrier.wait();
                for _ in 0..times {
                    for (message, allowed) in messages.iter().zip(&allowed) {
                        stream.write_all(message).expect("sent");
                        match raw::read(&mut stream, false).expect("an answer").status {
                            200 => drop(allowed.fetch_add(1, Ordering::Relaxed)),
                            429 => {}
                            other => panic!("{other}"),
                        }
                    }
                }
            });
        }
    });
    allowed.into_iter().map(AtomicUsize::into_inner).collect()
}

fn message(path: &str, client: &str) -> Vec<u8> {
    request("GET", path, &[("host", "a"), ("x-client", client)], b"")
}

#[test]
fn four_workers_admit_no_more_than_one_would() {
    let algorithms = ["sliding_window", "exact_window", "token_bucket", "fixed_window"];
    let limits = algorithms.map(|algorithm| {
        json!({"name": algorithm, "algorithm": algorithm, "key": ["header:x-client"], "limit": 100, "window": "24h"})
    });
    let gateway = start(&Bare::new(config(&limits), &Echo::start("upstream")));
    for algorithm in algorithms {
        // 64 connections and 32 requests each: 2,048 hits on a limit of 100, five times for each algorithm.
        let allowed: Vec<_> = (0..5)
            .map(|round| {
                let message = message(&format!("/{algorithm}"), &round.to_string());
                at_once(gateway.address(), 64, &[message], 32)[0]
            })
            .collect();
        println!("{algorithm}: {allowed:?} of 2048 allowed by a limit of 100, {WORKERS} workers, 64 connections");
        let most = 100 + 2 * WORKERS as usize;
        assert!(
            allowed.iter().all(|count| (100..=most).contains(count)),
            "{algorithm}: {allowed:?}"
        );
    }
    let contended = gateway.stats("outcome=contended");
    println!("refused for losing the race for a slot: {contended:?}");
    gateway.assert_no_vm_died();
}

#[test]
fn fresh_keys_that_come_at_once_are_each_counted() {
    let limits = [json!({"name": "l", "key": ["header:x-client"], "limit": 4, "window": "24h"})];
    let gateway = start(&Bare::new(config(&limits), &Echo::start("upstream")));
    let messages: Vec<_> = (0..200)
        .map(|number| message("/l", &format!("fresh-{number}")))
        .collect();
    let allowed = at_once(gateway.address(), 8, &messages, 1);
    let (least, most) = (allowed.iter().min().expect("some"), allowed.iter().max().expect("some"));
    println!("200 fresh keys, 8 requests each at once, limit 4: {least} to {most} allowed");
    assert!(allowed.iter().all(|&count| count == 4), "{allowed:?}");
}

#[test]
fn clients_learn_what_is_left_whoever_answers() {
    let limits = [json!({"name": "per-ip", "key": ["ip"], "limit": 3, "window": "10m"})];
    let gateway = start(&Bare::new(config(&limits), &Echo::start("upstream")));
    let told = |response: &Response| {
        (
            response.status,
            response.header("ratelimit").map(|value| value[..12].to_owned()),
        )
    };
    for left in [2, 1, 0] {
        let response = ask(gateway.address(), "/per-ip", &[]);
        assert_eq!(told(&response), (200, Some(format!("\"per-ip\";r={left}"))));
        assert_eq!(response.header("ratelimit-policy"), Some("\"per-ip\";q=3;w=600"));
    }
    let refused = ask(gateway.address(), "/per-ip", &[]);
    assert_eq!(told(&refused), (429, Some("\"per-ip\";r=0".into())));
    assert_eq!(refused.json()["code"], "rate_limited");
    let seconds: u64 = refused.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((1..=1200).contains(&seconds), "{seconds}");
    let grpc = ask(gateway.address(), "/per-ip", &[("content-type", "application/grpc")]);
    assert_eq!(
        (grpc.status, grpc.header("grpc-status"), grpc.header("grpc-message")),
        (200, Some("8"), Some("rate_limited"))
    );
    eventually("it is counted", || {
        let count = |outcome| {
            gateway.stat(&format!(
                "wasmcustom.tollgate_rate_limit_total;limit=per-ip;outcome={outcome};"
            ))
        };
        (count("allowed"), count("denied")) == (3, 2)
    });
}

/// Address, user and tenant, with tokens.
#[test]
fn layers_hold_together_through_four_workers() {
    let mut config = one_issuer(json!([
        {"match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}, "rate_limits": ["per-ip", "per-user", "per-tenant"]},
    ]));
    let limit =
        |name: &str, key: &str, limit: u64| json!({"name": name, "key": [key], "limit": limit, "window": "24h"});
    config["rate_limits"] = json!([
        limit("per-ip", "ip", 120),
        limit("per-user", "user", 20),
        limit("per-tenant", "tenant", 50)
    ]);
    let gateway = start(&Bare::new(config, &Echo::start("upstream")));
    let bearer = |user: &str, number: usize| {
        let claims = json!({"sub": user, "tenant_id": "acme", "jti": number.to_string()});
        let claims = claims.as_object().cloned().unwrap_or_default();
        format!(
            "Bearer {}",
            Issuer::shared().token(&TokenSpec {
                claims,
                ..TokenSpec::default()
            })
        )
    };
    let admitted = |user: &str, count: usize| {
        // A new token with every request.
        let statuses =
            (0..count).map(|number| ask(gateway.address(), "/", &[("authorization", &bearer(user, number))]).status);
        statuses.filter(|&status| status == 200).count()
    };
    assert_eq!(
        admitted("ada", 40),
        20,
        "rotating tokens is no way round the user's limit"
    );
    assert_eq!(admitted("bob", 25), 20);
    assert_eq!(admitted("eve", 15), 10, "what ada and bob have left of the tenant's");
    // 80 of the address's 120 are used, by whomever; tokens that nobody has verified cost it too.
    let bad = (0..50).map(|_| ask(gateway.address(), "/", &[("authorization", "Bearer nonsense")]).status);
    let bad: Vec<_> = bad.collect();
    assert_eq!(
        (bad[..40].to_vec(), bad[40..].to_vec()),
        (vec![401; 40], vec![429; 10]),
        "before any signature"
    );
}

#[test]
fn counters_survive_a_new_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.json");
    let limits = [json!({"name": "l", "key": ["ip"], "limit": 5, "window": "24h"})];
    let mut bare = Bare::new(config(&limits), &Echo::start("upstream"));
    bare.form = Form::Discovered(path.display().to_string());
    let publish = |bare: &Bare| {
        let new = path.with_extension("new");
        fs::write(&new, bare.discovery_file()).expect("a file");
        fs::rename(&new, &path).expect("the same folder");
    };
    publish(&bare);
    let gateway = start(&bare);
    let statuses = |count| {
        (0..count)
            .map(|_| ask(gateway.address(), "/l", &[]).status)
            .collect::<Vec<_>>()
    };
    assert_eq!(statuses(3), [200; 3]);
    bare.config["routes"]
        .as_array_mut()
        .expect("routes")
        .push(json!({"match": {"path_prefix": "/new"}, "public": true}));
    publish(&bare);
    eventually("the new configuration is there", || {
        (0..40).all(|_| ask(gateway.address(), "/new", &[]).status == 200)
    });
    assert_eq!(statuses(3), [200, 200, 429]);
}
