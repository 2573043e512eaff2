//! Instructions of the core alone for a request: natively, without an Envoy, counted by Valgrind. They do not depend on what else the machine does.

use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tollgate::config::Environment;
use tollgate::exchange::Exchange;
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;
use tollgate::gateway::worker::Worker;
use tollgate::http::headers::Headers;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Answer, Call, Event, StreamId, Then};
use tollgate_e2e::keys::SECRET;
use tollgate_e2e::native;

use crate::{Row, apikey, graphql, ratelimit};

/// The first argument of a bench that is counted: `bench MODE CASE REQUESTS`.
pub(crate) const MODE: &str = "instructions-of";

/// Requests that are let through, with what is done for them.
const PASSED: [(&str, &str); 4] = [
    ("open", "a rule without policies"),
    ("token", "a known token"),
    ("key", "a known API key"),
    ("chain", "a known token, three limits, identity and quota headers"),
];

/// The instructions of the core for requests that are let through.
pub(crate) fn passed() -> Vec<Row> {
    PASSED
        .into_iter()
        .map(|(case, what)| Row::new("instructions", what, of(case), "instructions"))
        .collect()
}

/// Sends so many requests of this kind through the core.
pub(crate) fn run(case: &str, requests: usize) {
    match PASSED.iter().any(|(own, _)| *own == case) {
        true => pass(case, requests),
        false => answer(case, requests),
    }
}

fn worker(config: &Value) -> Rc<Worker> {
    let environment: Environment = [(SECRET.0.to_owned(), SECRET.1.to_owned())].into();
    let plan = decode(config.to_string().as_bytes()).map(|config| Plan::compile(&config, &environment));
    let plan = plan.expect("a configuration").expect("a plan");
    Rc::new(Worker::new(Arc::new(plan)))
}

/// Requests, and their responses, with the headers that a client sends.
fn pass(case: &str, requests: usize) {
    let issuer = json!({
        "name": "main", "issuer": "https://issuer.example", "audiences": ["api"], "algorithms": ["HS256"],
        "jwks": {"secrets": [{"env": SECRET.0}]},
    });
    let rule = json!({"name": "all", "match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}});
    let known = json!({"version": 1, "jwt": {"issuers": [issuer]}, "routes": [rule]});
    let (config, credential) = match case {
        "open" => {
            let rule = json!({"name": "all", "match": {"path_prefix": "/"}, "public": true});
            (json!({"version": 1, "routes": [rule]}), ("x-nothing", String::new()))
        }
        "key" => {
            let (config, key) = apikey::one();
            (config, ("x-api-key", key))
        }
        "chain" => (ratelimit::chain(known), ("authorization", bearer())),
        _ => (known, ("authorization", bearer())),
    };
    let worker = worker(&config);
    let world = Simulated::default();
    world.now.set(NOW * 1000);
    worker.prepare([1; 16], &world);
    let pairs = [
        (":authority", "gateway.example"),
        (":path", "/bench"),
        (":method", "GET"),
        (":scheme", "http"),
        ("user-agent", "bench"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
        (credential.0, credential.1.as_str()),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "6445d511-b918-4325-92e4-0938aa2be2c4"),
    ];
    for number in 0..requests {
        let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(number as u64));
        let event = Event::RequestHeaders {
            headers: Rc::new(pairs.into_iter().collect()),
            route_name: None,
            has_body: false,
        };
        let step = exchange.on(event, &world);
        assert_eq!(step.then, Then::Continue, "{step:?}");
        if exchange.changes_response() {
            let event = Event::ResponseHeaders {
                headers: Rc::new([(":status", "200")].into_iter().collect()),
                has_body: false,
            };
            assert_eq!(exchange.on(event, &world).then, Then::Continue);
        }
    }
}

/// A token that is the same in every run: what it takes to make keys is in no difference.
fn bearer() -> String {
    let claims = json!({"iss": "https://issuer.example", "aud": "api", "sub": "u1", "exp": NOW + 600});
    let [header, claims] = [json!({"alg": "HS256"}), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.1.as_bytes()).expect("a key");
    let signature = mac.chain_update(&signed).finalize().into_bytes();
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Requests that are answered from calls.
fn answer(case: &str, requests: usize) {
    let worker = worker(&graphql::config());
    let world = Simulated::default();
    world.now.set(NOW * 1000);
    let documents = graphql::PATHS.map(|path| (path, graphql::document(path).to_string().into_bytes()));
    let answer = |call: &Call| {
        let path = call.headers.iter().find(|(name, _)| name == ":path");
        let (_, path) = path.expect("a path");
        let (_, body) = documents
            .iter()
            .find(|(own, _)| path.starts_with(own))
            .expect("a service");
        Answer {
            headers: [(":status", "200")].into_iter().collect(),
            trailers: Headers::default(),
            body: body.clone(),
        }
    };
    // All before the first one: what it takes to make them is in no difference.
    let bodies: Vec<_> = (0..MORE).map(|number| graphql::body(case, number)).collect();
    for body in bodies.iter().take(requests) {
        let reply = native::post(&worker, &world, body.as_bytes(), answer);
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// The instructions for one more request of this kind.
pub(crate) fn of(case: &str) -> f64 {
    (counted(case, MORE) - counted(case, FEW)) / (MORE - FEW) as f64
}

fn counted(case: &str, requests: usize) -> f64 {
    let bench = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(bench)
        .args([MODE, case, &requests.to_string()])
        .output()
        .expect("valgrind runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("no count: {told}"));
    number.trim().parse().expect("a number")
}

/// In seconds since the epoch.
const NOW: u64 = 1_700_000_000;

const FEW: usize = 50;
const MORE: usize = 250;
