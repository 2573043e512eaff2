//! Measures what Tollgate costs, beside Envoy's own filters in the same Envoy: processor time of the Envoy process per
//! request, in interleaved rounds, medians and ratios. `scripts/bench` builds what it needs.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;

use serde::Serialize;
use serde_json::json;
use tollgate_e2e::bootstrap::{Bare, direct, jwt_authn, listener, one_issuer, wasm_filter};
use tollgate_e2e::case::repository;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, Options};
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::raw::request;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let json = arguments.iter().position(|argument| argument == "--json").map(|at| {
        let file = arguments.drain(at..).nth(1);
        file.expect("--json FILE")
    });
    let mut rows = Vec::new();
    for (name, run) in GROUPS {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
            eprintln!("{name} ...");
            rows.extend(run());
        }
    }
    println!("| what | value | unit | baseline | ratio | bar | holds |\n|---|---|---|---|---|---|---|");
    for row in &rows {
        let text = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        println!(
            "| {} | {:.1} | {} | {} | {} | {} | {} |",
            row.what,
            row.value,
            row.unit,
            text(row.baseline),
            text(row.ratio),
            text(row.bar),
            row.holds.map_or("-", |holds| if holds { "yes" } else { "NO" })
        );
    }
    if let Some(file) = json {
        fs::write(&file, serde_json::to_string_pretty(&rows).expect("JSON"))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    if rows.iter().all(|row| row.holds != Some(false)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What can be measured, by name.
const GROUPS: [(&str, Group); 1] = [("jwt", jwt)];

type Group = fn() -> Vec<Row>;

/// One figure.
#[derive(Debug, Serialize)]
struct Row {
    group: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    baseline: Option<f64>,
    ratio: Option<f64>,
    bar: Option<f64>,
    holds: Option<bool>,
}

impl Row {
    fn new(group: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            group,
            what: what.into(),
            value,
            unit,
            baseline: None,
            ratio: None,
            bar: None,
            holds: None,
        }
    }

    /// Against a baseline; `pairs` are the ratios of single rounds.
    fn against(mut self, baseline: f64, pairs: &[f64], bar: Option<f64>) -> Self {
        let ratio = median(pairs);
        (self.baseline, self.ratio, self.bar) = (Some(baseline), Some(ratio), bar);
        self.holds = bar.map(|bar| ratio <= bar);
        self
    }
}

const EMPTY: usize = 1;
const NATIVE: usize = 2;
const NATIVE_CACHED: usize = 3;
const CALIBRATION: usize = 4;

fn jwt() -> Vec<Row> {
    let mut config = one_issuer(json!([{"name": "all", "match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}}]));
    let issuer = &mut config["jwt"]["issuers"][0];
    issuer["algorithms"] = json!(["RS256", "PS256", "ES256", "EdDSA"]);
    let keys = Issuer::shared().jwks();
    let calibration = repository().join("target/calibration.wasm").display().to_string();
    let mut bare = Bare::new(config, &Echo::start("upstream"));
    bare.routes = Some(vec![direct()]);
    bare.listeners = vec![
        listener("empty", vec![], vec![direct()]),
        listener(
            "native",
            vec![jwt_authn(&[("https://issuer.example", &["api"], keys.clone())], false)],
            vec![direct()],
        ),
        listener(
            "native-cached",
            vec![jwt_authn(&[("https://issuer.example", &["api"], keys)], true)],
            vec![direct()],
        ),
        listener(
            "calibration",
            vec![wasm_filter("calibration", &calibration, &json!({}))],
            vec![direct()],
        ),
    ];
    let options = Options { concurrency: 1 };
    let envoy = Envoy::try_start(&bare.bootstrap(), &options).unwrap_or_else(|refused| panic!("{}", refused.log));
    let mut rows = known_token(&envoy);
    for (key, algorithm, bar) in [
        ("rsa", "RS256", Some(1.05)),
        ("p256", "ES256", Some(1.05)),
        ("rsa", "PS256", None),
        ("ed25519", "EdDSA", None),
    ] {
        rows.push(first_seen(&envoy, key, algorithm, bar));
    }
    rows.extend(host_calls());
    rows
}

/// A token that both filters have seen: what each adds over an empty chain.
fn known_token(envoy: &Envoy) -> Vec<Row> {
    let authorization = format!("Bearer {}", Issuer::shared().token(&claims("rsa", "RS256", 0)));
    let messages = vec![message(&authorization); 10_000];
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  known token, round {} of {ROUNDS}", round + 1);
        rounds.push([0, EMPTY, NATIVE_CACHED, CALIBRATION].map(|place| cost(envoy, place, &messages)));
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&[f64; 4]) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let added = column(0) - column(1);
    vec![
        Row::new("jwt", "empty chain", column(1), "us/request"),
        Row::new("jwt", "known token, whole chain", column(0), "us/request").against(
            column(3),
            &pairs(|[ours, _, _, calibration]| ours / calibration),
            Some(1.25),
        ),
        Row::new(
            "jwt",
            "known token, added over the empty chain, against jwt_authn with its cache",
            added,
            "us/request",
        )
        .against(
            column(2) - column(1),
            &pairs(|[ours, empty, native, _]| (ours - empty) / (native - empty)),
            None,
        ),
    ]
}

/// Tokens that nobody has seen, the same for both filters.
fn first_seen(envoy: &Envoy, key: &str, algorithm: &str, bar: Option<f64>) -> Row {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  first-seen {algorithm}, round {} of {ROUNDS}", round + 1);
        let messages: Vec<_> = (0..FIRST_SEEN)
            .map(|number| {
                let spec = claims(key, algorithm, 1 + round * FIRST_SEEN + number);
                message(&format!("Bearer {}", Issuer::shared().token(&spec)))
            })
            .collect();
        let ours = cost(envoy, 0, &messages);
        rounds.push((ours, cost(envoy, NATIVE, &messages)));
    }
    let (ours, native): (Vec<_>, Vec<_>) = rounds.iter().copied().unzip();
    let pairs: Vec<_> = rounds.iter().map(|(ours, native)| ours / native).collect();
    let what = format!("first-seen {algorithm}, each token once, against jwt_authn");
    Row::new("jwt", what, median(&ours), "us/request").against(median(&native), &pairs, bar)
}

/// Counted by Envoy itself, which logs every host call at level `trace`.
fn host_calls() -> Vec<Row> {
    let config = one_issuer(json!([{"name": "all", "match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}}]));
    let mut bare = Bare::new(config, &Echo::start("upstream"));
    bare.routes = Some(vec![direct()]);
    let options = Options { concurrency: 1 };
    let envoy = Envoy::try_start(&bare.bootstrap(), &options).unwrap_or_else(|refused| panic!("{}", refused.log));
    let connection = &mut Connection::open(envoy.address());
    let whole = json!({"tenant_id": "t", "roles": ["a"], "scope": "s", "plan": "p"});
    [("the user alone", json!({})), ("every claim", whole)]
        .into_iter()
        .map(|(what, claims)| {
            let claims = claims.as_object().cloned().unwrap_or_default();
            let token = Issuer::shared().token(&TokenSpec {
                claims,
                ..TokenSpec::default()
            });
            let bytes = message(&format!("Bearer {token}"));
            connection.ask(&bytes);
            envoy.admin_post("/logging?wasm=trace");
            let before = envoy.log().len();
            connection.ask(&bytes);
            envoy.admin_post("/logging?wasm=info");
            let calls = calls_of_a_request(&envoy.log()[before..]);
            eprintln!("  host calls for a known token with {what}: {calls:?}");
            let mut row = Row::new(
                "jwt",
                format!("host calls for a known token with {what}"),
                calls.len() as f64,
                "calls",
            );
            (row.bar, row.holds) = (Some(6.0), Some(!calls.is_empty() && calls.len() <= 6));
            row
        })
        .collect()
}

/// Those between the beginning and the end of the callback: a tick may come in between requests.
fn calls_of_a_request(log: &str) -> Vec<String> {
    let lines = log
        .lines()
        .skip_while(|line| !line.contains("proxy_on_request_headers"));
    lines
        .skip(1)
        .take_while(|line| !line.contains("proxy_on_request_headers"))
        .filter_map(|line| line.split_once("[vm->host] ").map(|(_, call)| call))
        .filter(|call| !call.contains("return"))
        .map(|call| call.split('(').next().unwrap_or_default().to_owned())
        .collect()
}

fn claims(key: &str, algorithm: &str, number: usize) -> TokenSpec {
    TokenSpec {
        key: Some(key.into()),
        algorithm: Some(algorithm.into()),
        claims: json!({"jti": number.to_string()})
            .as_object()
            .cloned()
            .unwrap_or_default(),
        ..TokenSpec::default()
    }
}

fn message(authorization: &str) -> Vec<u8> {
    let headers = [
        ("host", "gateway.example"),
        ("user-agent", "bench"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
        ("authorization", authorization),
    ];
    request("GET", "/bench", &headers, b"")
}

/// Microseconds of processor time per request, every message sent once.
fn cost(envoy: &Envoy, place: usize, messages: &[Vec<u8>]) -> f64 {
    let address = envoy.listener(place);
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::open(address)).collect();
    let before = envoy.processor_time();
    thread::scope(|scope| {
        for (connection, messages) in connections
            .iter_mut()
            .zip(messages.chunks(messages.len().div_ceil(CONNECTIONS)))
        {
            scope.spawn(move || messages.iter().for_each(|message| connection.ask(message)));
        }
    });
    (envoy.processor_time() - before).as_secs_f64() * 1e6 / messages.len() as f64
}

/// A connection that stays open.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a connection");
        Self {
            stream,
            buffer: vec![0; 4096],
        }
    }

    /// Sends a request and takes its answer, which must be 200; the body is short and comes with the headers.
    fn ask(&mut self, message: &[u8]) {
        self.stream.write_all(message).expect("sent");
        let mut length = 0;
        loop {
            length += self.stream.read(&mut self.buffer[length..]).expect("an answer");
            let text = &self.buffer[..length];
            if text.ends_with(b"\r\n\r\nok") {
                assert!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(text));
                return;
            }
            assert!(
                text.starts_with(b"HTTP/1.1 200") && length < self.buffer.len(),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

const ROUNDS: usize = 9;
const FIRST_SEEN: usize = 1000;
const CONNECTIONS: usize = 4;
