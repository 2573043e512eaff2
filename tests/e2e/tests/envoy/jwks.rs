//! Published keys: fetched once for all workers, rotated under load, and kept while the issuer is away.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, Form, is_native, one_issuer};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::publisher::{Answer, Publisher};
use tollgate_e2e::raw::{self, Response, request};

const WORKERS: u32 = 4;

/// A configuration that fetches keys; `remote` adds to it.
fn config(remote: Value) -> Value {
    let mut config = one_issuer(json!([{"match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}}]));
    let issuer = &mut config["jwt"]["issuers"][0];
    issuer["algorithms"] = json!(["RS256", "ES256", "EdDSA"]);
    issuer["jwks"] = json!({"remote": {"cluster": "issuer", "url": "https://issuer.example/keys"}});
    for (name, value) in remote.as_object().into_iter().flatten() {
        issuer["jwks"]["remote"][name] = value.clone();
    }
    config
}

fn gateway(remote: Value, publisher: SocketAddr) -> Bare {
    Bare {
        clusters: vec![("issuer", publisher)],
        ..Bare::new(config(remote), &Echo::start("upstream"))
    }
}

fn start(remote: Value, publisher: &Publisher) -> Envoy {
    let bootstrap = gateway(remote, publisher.address).bootstrap();
    Envoy::with_workers(WORKERS, &bootstrap)
}

/// The issuer's key set with some of its keys only.
fn published(kids: &[&str]) -> Value {
    let mut document = Issuer::shared().jwks();
    let keys = document["keys"].as_array_mut().expect("keys");
    keys.retain(|key| kids.contains(&key["kid"].as_str().unwrap_or_default()));
    document
}

fn token(key: &str) -> String {
    Issuer::shared().token(&TokenSpec {
        key: Some(key.into()),
        ..TokenSpec::default()
    })
}

fn ask(address: SocketAddr, token: &str) -> Response {
    let authorization = format!("Bearer {token}");
    raw::send(
        address,
        &request("GET", "/", &[("host", "a"), ("authorization", &authorization)], b""),
    )
    .expect("an answer")
}

/// On many connections, so that every worker is asked.
fn all(envoy: &Envoy, token: &str, status: u16) -> bool {
    (0..40).all(|_| ask(envoy.address(), token).status == status)
}

#[test]
fn discovery_finds_the_keys() {
    let publisher = Publisher::start(Answer::Document(Issuer::shared().jwks()));
    let envoy = start(
        json!({"url": "https://issuer.example/.well-known/openid-configuration", "discovery": true}),
        &publisher,
    );
    assert!(all(&envoy, &token("p256"), 200));
    assert_eq!(publisher.requests(), ["/.well-known/openid-configuration", "/keys"]);
}

#[test]
fn a_rotation_under_load_refuses_nobody() {
    let publisher = Publisher::start(Answer::Document(published(&["p256"])));
    let envoy = start(json!({}), &publisher);
    let (old, new) = (token("p256"), token("rsa"));
    assert!(all(&envoy, &old, 200));
    let rotated = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    let (passed, waited) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(ask(envoy.address(), &old).status, 200);
                    passed.fetch_add(1, Ordering::Relaxed);
                    if rotated.load(Ordering::SeqCst) {
                        let response = ask(envoy.address(), &new);
                        assert_eq!(response.status, 200, "{}", response.text());
                        waited.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(500));
        publisher.answer(Answer::Document(published(&["p256", "rsa"])));
        rotated.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(2500));
        stop.store(true, Ordering::Relaxed);
    });
    let (passed, waited) = (passed.into_inner(), waited.into_inner());
    println!(
        "{passed} requests with the old key and {waited} with the new one passed, {} fetches",
        publisher.requests().len()
    );
    assert!(passed > 100 && waited > 100, "{passed} {waited}");
    assert!(publisher.requests().len() <= 4, "{:?}", publisher.requests());
    envoy.assert_no_vm_died();
}

#[test]
fn a_body_waits_with_its_request() {
    let publisher = Publisher::start(Answer::Document(published(&["p256"])));
    let envoy = start(json!({}), &publisher);
    assert!(all(&envoy, &token("p256"), 200));
    publisher.answer(Answer::Document(published(&["rsa"])));
    let authorization = format!("Bearer {}", token("rsa"));
    let body = vec![b'x'; 20_000];
    let response = envoy.send(&request(
        "POST",
        "/",
        &[("host", "a"), ("authorization", &authorization), ("x-user-id", "root")],
        &body,
    ));
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = response.json();
    assert_eq!(seen["body_size"], 20_000);
    assert_eq!(
        seen["headers"]
            .as_array()
            .expect("headers")
            .iter()
            .filter(|pair| pair[0] == "x-user-id")
            .count(),
        1
    );
    // The key that has left the set is not believed any more, on any worker.
    eventually("the old key is gone", || all(&envoy, &token("p256"), 401));
}

#[test]
fn a_flood_of_unknown_keys_costs_the_issuer_little() {
    let publisher = Publisher::start(Answer::Document(Issuer::shared().jwks()));
    let envoy = start(json!({}), &publisher);
    assert!(all(&envoy, &token("p256"), 200));
    thread::scope(|scope| {
        for thread in 0..8 {
            let envoy = &envoy;
            scope.spawn(move || {
                for index in 0..50 {
                    let header = json!({"kid": format!("unknown-{thread}-{index}")});
                    let spec = TokenSpec {
                        header: header.as_object().cloned().unwrap_or_default(),
                        ..TokenSpec::default()
                    };
                    assert_eq!(ask(envoy.address(), &Issuer::shared().token(&spec)).status, 401);
                }
            });
        }
    });
    assert!(all(&envoy, &token("p256"), 200));
    println!(
        "400 tokens with unknown keys: {} fetches after the first",
        publisher.requests().len() - 1
    );
    assert!(publisher.requests().len() <= 4, "{:?}", publisher.requests());
    envoy.assert_no_vm_died();
}

#[test]
fn without_keys_the_gateway_is_closed_until_the_issuer_is_there() {
    // A port where nobody listens yet.
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = reserved.local_addr().expect("an address");
    drop(reserved);
    let envoy = Envoy::with_workers(2, &gateway(json!({}), address).bootstrap());
    let response = ask(envoy.address(), &token("p256"));
    assert_eq!(
        (response.status, response.json()["code"].as_str()),
        (503, Some("keys_unavailable"))
    );
    let retry_after: u64 = response
        .header("retry-after")
        .and_then(|value| value.parse().ok())
        .expect("Retry-After");
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    assert_eq!(response.header("www-authenticate"), None);
    let listener = std::net::TcpListener::bind(address).expect("the same port");
    let _publisher = Publisher::serve(listener, Answer::Document(Issuer::shared().jwks()));
    eventually("the keys are there", || all(&envoy, &token("p256"), 200));
    envoy.assert_no_vm_died();
}

#[test]
fn a_silent_issuer_holds_requests_two_seconds_and_no_longer() {
    let publisher = Publisher::start(Answer::Silence);
    let envoy = start(json!({"timeout": "4s"}), &publisher);
    let response = ask(envoy.address(), &token("p256"));
    assert_eq!(
        (response.status, response.json()["code"].as_str()),
        (503, Some("keys_unavailable"))
    );
    // Clients that leave while they wait.
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(envoy.address()).expect("a connection");
        let authorization = format!("Bearer {}", token("p256"));
        std::io::Write::write_all(
            &mut stream,
            &request("GET", "/", &[("host", "a"), ("authorization", &authorization)], b""),
        )
        .expect("sent");
    }
    publisher.answer(Answer::Document(Issuer::shared().jwks()));
    eventually("the keys are there", || all(&envoy, &token("p256"), 200));
    envoy.assert_no_vm_died();
}

#[test]
fn old_keys_serve_whatever_the_network_does_to_an_answer() {
    let good = Issuer::shared().jwks();
    let publisher = Publisher::start(Answer::Document(good.clone()));
    let envoy = start(
        json!({"refresh": "1s", "cooldown": "1s", "timeout": "500ms"}),
        &publisher,
    );
    assert!(all(&envoy, &token("p256"), 200));
    let many: Vec<Value> = (0..10_000)
        .map(|kid| json!({"kty": "EC", "kid": kid.to_string()}))
        .collect();
    // Envoy gives up what is larger than its own buffer; the module reads no further than it wants.
    let huge = if is_native() { "too_large" } else { "no_answer" };
    for (answer, reason) in [
        (Answer::Document(json!({"keys": many})), "not_a_key_set"),
        (Answer::Large(1024 * 1024, good.clone()), "too_large"),
        (Answer::Large(40 * 1024 * 1024, good.clone()), huge),
        (Answer::Drip(good.clone(), Duration::from_millis(50)), "no_answer"),
        (Answer::Silence, "timeout"),
    ] {
        let failures = format!("wasmcustom.tollgate_jwks_fetch_total;issuer=main;outcome=failed;reason={reason};");
        let before = envoy.stat(&failures);
        publisher.answer(answer);
        eventually(&format!("a fetch fails: {reason}"), || envoy.stat(&failures) > before);
        assert!(all(&envoy, &token("p256"), 200), "after {reason}");
        // A good answer ends the growing pauses.
        let successes = "wasmcustom.tollgate_jwks_fetch_total;issuer=main;outcome=ok;reason=ok;";
        let before = envoy.stat(successes);
        publisher.answer(Answer::Document(good.clone()));
        eventually("a fetch succeeds", || envoy.stat(successes) > before);
    }
    envoy.assert_no_vm_died();
}

#[test]
fn keys_that_cannot_be_used_are_left_out_of_a_set() {
    let mut document = published(&["p256"]);
    let keys = document["keys"].as_array_mut().expect("keys");
    let rsa = published(&["rsa"])["keys"][0].clone();
    // As issuers publish it: padded, with a leading zero, twice, once for encryption, under several algorithms.
    let bytes = URL_SAFE_NO_PAD
        .decode(rsa["n"].as_str().expect("a modulus"))
        .expect("base64url");
    let with = |change: Value| {
        let mut key = rsa.clone();
        let members = key.as_object_mut().expect("an object");
        members.extend(change.as_object().expect("an object").clone());
        key
    };
    keys.extend([
        with(json!({"use": "enc", "alg": "RSA-OAEP"})),
        with(json!({"n": URL_SAFE.encode([&[0], bytes.as_slice()].concat()), "alg": "RS512"})),
        with(json!({"n": URL_SAFE.encode(&bytes), "alg": "RS256"})),
        with(json!({"n": URL_SAFE.encode(&bytes), "alg": "RS256"})),
        with(json!({"n": URL_SAFE_NO_PAD.encode([0xa5; 256]), "alg": "RS256"})),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}),
        json!({"kty": "EC", "crv": "secp256k1"}),
        json!(7),
    ]);
    let publisher = Publisher::start(Answer::Text(200, format!("\u{feff}{document}")));
    let envoy = start(json!({}), &publisher);
    assert!(all(&envoy, &token("p256"), 200));
    assert!(all(&envoy, &token("rsa"), 200));
    eventually("the log says which keys are not used", || {
        let log = envoy.log();
        let kinds = [
            "(kid \"rsa\", kty RSA): `use` is",
            "(kid \"secret\", kty oct)",
            "(no kid, kty EC)",
            "(no kid, no kty)",
        ];
        kinds.iter().all(|kind| log.contains(kind))
    });
}

#[test]
fn a_reload_keeps_the_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.json");
    let publisher = Publisher::start(Answer::Document(Issuer::shared().jwks()));
    let mut bare = gateway(json!({}), publisher.address);
    bare.form = Form::Discovered(path.display().to_string());
    std::fs::write(&path, bare.discovery_file()).expect("a file");
    let envoy = Envoy::with_workers(WORKERS, &bare.bootstrap());
    assert!(all(&envoy, &token("p256"), 200));
    publisher.answer(Answer::Silence);
    bare.config["routes"] =
        json!([{"match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}, "require": {"roles": {"any": ["a"]}}}]);
    let new = path.with_extension("new");
    std::fs::write(&new, bare.discovery_file()).expect("a file");
    std::fs::rename(&new, &path).expect("the same folder");
    eventually("the new configuration is there", || all(&envoy, &token("p256"), 403));
    assert_eq!(publisher.requests().len(), 1, "nothing was fetched again");
}
