//! Rate limits: what one layer and three cost, very many keys, many workers on one key, and a window's edge as a picture.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, direct, listener, local_ratelimit, one_issuer, scripted_filter, text_filter};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, Options};
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::raw::{self, request};

use crate::measure::{ROUNDS, cost, host_calls, median, message_to};
use crate::picture::{Line, draw};
use crate::{Row, calibration};

/// What Tollgate asks of Envoy for one layer by a header.
const CALLS: &str = "headers
clock
update bench
respond ratelimit-policy \"one\";q=1000000000;w=60
respond ratelimit \"one\";r=999999999;t=60";

const EMPTY: usize = 1;
const NATIVE: usize = 2;
const EMPTY_WASM: usize = 3;
const CALIBRATION: usize = 4;
const PEER: usize = 5;

pub(crate) fn run() -> Vec<Row> {
    let mut rows = layers();
    rows.extend(many_keys());
    rows.extend(one_key());
    edge();
    rows
}

fn limit(name: &str, key: &str, more: Value) -> Value {
    let mut limit = json!({"name": name, "key": [key], "limit": 1_000_000_000, "window": "1m"});
    for (name, value) in more.as_object().into_iter().flatten() {
        limit[name] = value.clone();
    }
    limit
}

fn rule(path: &str, limits: Value) -> Value {
    json!({"name": path, "match": {"path_prefix": path}, "public": true, "rate_limits": limits})
}

fn start(limits: Value, routes: Value, listeners: Vec<Value>, concurrency: u32) -> Envoy {
    let config = json!({"version": 1, "rate_limits": limits, "routes": routes});
    let mut bare = Bare::new(config, &Echo::start("upstream"));
    bare.routes = Some(vec![direct()]);
    bare.listeners = listeners;
    let options = Options {
        concurrency,
        ..Options::default()
    };
    Envoy::start_with(&bare.bootstrap(), &options)
}

/// Beside Envoy's own filter and an empty plugin.
fn layers() -> Vec<Row> {
    let limits = json!([
        limit("one", "header:x-client", json!({})),
        limit("two", "header:x-other", json!({"on_missing": "ip"})),
        limit("three", "route", json!({}))
    ]);
    let routes = json!([
        rule("/one", json!(["one"])),
        rule("/three", json!(["one", "two", "three"]))
    ]);
    let listeners = vec![
        listener("empty", vec![], vec![direct()]),
        listener("native", vec![local_ratelimit()], vec![direct()]),
        listener("empty-wasm", vec![scripted_filter("calibration", "")], vec![direct()]),
        calibration(CALLS),
    ];
    let peer = peer();
    let listeners = listeners.into_iter().chain(peer.clone()).collect();
    let envoy = start(limits, routes, listeners, 1);
    let one = vec![message_to("/one", &[("x-client", "client-1")]); 10_000];
    let three = vec![message_to("/three", &[("x-client", "client-1"), ("x-other", "o")]); 10_000];
    let (mut rounds, mut peers) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        eprintln!("  layers, round {} of {ROUNDS}", round + 1);
        let [ours, empty, native, wasm, calibration] =
            [0, EMPTY, NATIVE, EMPTY_WASM, CALIBRATION].map(|place| cost(&envoy, place, &one));
        rounds.push([ours, empty, native, wasm, calibration, cost(&envoy, 0, &three)]);
        if peer.is_some() {
            peers.push(cost(&envoy, PEER, &one));
        }
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&[f64; 6]) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let row = |what, value| Row::new("ratelimit", what, value, "us/request");
    let mut rows = vec![
        row("empty chain", column(1)),
        row("one layer, whole chain", column(0)).against(
            column(4),
            &pairs(|[ours, _, _, _, calibration, _]| ours / calibration),
            Some(1.25),
        ),
        row(
            "one layer, added over the empty chain, against local_ratelimit and an empty plugin together",
            column(0) - column(1),
        )
        .against(
            column(2) + column(3) - 2.0 * column(1),
            &pairs(|[ours, empty, native, wasm, ..]| (ours - empty) / (native + wasm - 2.0 * empty)),
            None,
        ),
        row(
            "three layers, added over the empty chain, against one",
            column(5) - column(1),
        )
        .against(
            column(0) - column(1),
            &pairs(|[ours, empty, _, _, _, three]| (three - empty) / (ours - empty)),
            Some(1.5),
        ),
    ];
    if !peers.is_empty() {
        let ratios: Vec<_> = rounds.iter().zip(&peers).map(|(round, peer)| round[0] / peer).collect();
        rows.push(row("one layer, whole chain, against a peer", column(0)).against(median(&peers), &ratios, None));
    }
    rows
}

/// A chain of another plugin that limits rates by the header `x-client`: TOLLGATE_PEER is its file, TOLLGATE_PEER_CONFIG its
/// configuration.
fn peer() -> Option<Value> {
    let file = env::var("TOLLGATE_PEER").ok()?;
    let config = env::var("TOLLGATE_PEER_CONFIG").unwrap_or_default();
    Some(listener(
        "peer",
        vec![text_filter("peer", &file, &config)],
        vec![direct()],
    ))
}

/// A million clients, each once, beside one that comes as often.
fn many_keys() -> Vec<Row> {
    let envoy = start(
        json!([limit("one", "header:x-client", json!({}))]),
        json!([rule("/", json!(["one"]))]),
        vec![],
        1,
    );
    let same = vec![message_to("/", &[("x-client", "client-0000001")]); 50_000];
    let (mut number, mut rounds, mut early) = (0, Vec::new(), 0);
    for round in 0..20 {
        eprintln!("  a million keys, round {} of 20", round + 1);
        let messages: Vec<_> = (0..50_000)
            .map(|_| {
                number += 1;
                message_to("/", &[("x-client", &format!("client-{number:07}"))])
            })
            .collect();
        rounds.push((cost(&envoy, 0, &messages), cost(&envoy, 0, &same)));
        if round == 3 {
            early = envoy.memory();
        }
    }
    let (distinct, one): (Vec<_>, Vec<_>) = rounds.iter().copied().unzip();
    let pairs: Vec<_> = rounds.iter().map(|(distinct, one)| distinct / one).collect();
    let cost = Row::new(
        "ratelimit",
        "1,000,000 keys, each once, against one key",
        median(&distinct),
        "us/request",
    )
    .against(median(&one), &pairs, Some(1.1));
    let grown = envoy.memory() as f64 / early as f64;
    let mut memory = Row::new(
        "ratelimit",
        "memory of the whole Envoy after 1,000,000 keys, against after 200,000",
        envoy.memory() as f64 / 1e6,
        "MB",
    );
    (memory.baseline, memory.ratio, memory.bar, memory.holds) =
        (Some(early as f64 / 1e6), Some(grown), Some(1.05), Some(grown <= 1.05));
    vec![cost, memory]
}

/// Two workers that count for the same client, beside two that count for many.
fn one_key() -> Vec<Row> {
    let envoy = start(
        json!([limit("one", "header:x-client", json!({}))]),
        json!([rule("/", json!(["one"]))]),
        vec![],
        2,
    );
    let same = vec![message_to("/", &[("x-client", "client-00001")]); 20_000];
    let many: Vec<_> = (0..20_000)
        .map(|number| message_to("/", &[("x-client", &format!("client-{number:05}"))]))
        .collect();
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|round| {
            eprintln!("  two workers, round {} of {ROUNDS}", round + 1);
            (cost(&envoy, 0, &same), cost(&envoy, 0, &many))
        })
        .collect();
    let (one, distinct): (Vec<_>, Vec<_>) = rounds.iter().copied().unzip();
    let pairs: Vec<_> = rounds.iter().map(|(one, many)| one / many).collect();
    thread::sleep(Duration::from_millis(1500));
    let lost = envoy.stat("wasmcustom.tollgate_rate_limit_total;limit=one;outcome=contended;");
    vec![
        Row::new(
            "ratelimit",
            "one key, two workers, against many keys",
            median(&one),
            "us/request",
        )
        .against(median(&distinct), &pairs, None),
        Row::new(
            "ratelimit",
            "refused for losing the race for the slot, of 180,000 on one key",
            lost as f64,
            "requests",
        ),
    ]
}

/// The configuration with three limits, which send quota headers.
pub(crate) fn chain(mut config: Value) -> Value {
    config["routes"][0]["rate_limits"] = json!(["ip", "user", "tenant"]);
    config["rate_limits"] = json!([
        limit("ip", "ip", json!({})),
        limit("user", "user", json!({})),
        limit("tenant", "tenant", json!({}))
    ]);
    config
}

/// A known token, three limits, identity headers, quota headers.
pub(crate) fn whole_chain() -> Vec<Row> {
    let rule = json!({"name": "all", "match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}});
    let mut bare = Bare::new(chain(one_issuer(json!([rule]))), &Echo::start("upstream"));
    bare.routes = Some(vec![direct()]);
    let envoy = Envoy::alone(1, &bare.bootstrap());
    let authorization = format!("Bearer {}", Issuer::shared().good_token());
    let calls = host_calls(&envoy, &message_to("/", &[("authorization", &authorization)]));
    let mut row = Row::calls(
        "chain",
        "host calls for a known token and three limits, response included".into(),
        &calls,
    );
    (row.bar, row.holds) = (Some(12.0), Some(!calls.is_empty() && calls.len() <= 12));
    vec![row]
}

/// A client that sends ten times its limit, evenly, from half a window before an edge on.
fn edge() {
    const WINDOW: u64 = 2000;
    const LIMIT: u64 = 40;
    let algorithms = ["fixed_window", "sliding_window", "token_bucket"];
    let limits: Vec<_> = algorithms
        .iter()
        .map(|name| {
            limit(
                name,
                "header:x-client",
                json!({"algorithm": name, "limit": LIMIT, "window": "2s"}),
            )
        })
        .collect();
    let routes: Vec<_> = algorithms
        .iter()
        .map(|name| rule(&format!("/{name}"), json!([name])))
        .collect();
    let envoy = start(json!(limits), json!(routes), vec![], 1);
    let lines: Vec<_> = algorithms
        .iter()
        .map(|name| {
            eprintln!("  the edge of a window, {name} ...");
            // Windows are those of the machine's monotonic clock.
            let phase = uptime() % WINDOW;
            thread::sleep(Duration::from_millis((3 * WINDOW / 2 - phase) % WINDOW));
            let began = Instant::now();
            let bytes = request("GET", &format!("/{name}"), &[("host", "a"), ("x-client", "c")], b"");
            let mut admitted = Vec::new();
            for number in 0..1000 {
                let due = Duration::from_millis(number * WINDOW / (10 * LIMIT));
                thread::sleep(due.saturating_sub(began.elapsed()));
                let at = began.elapsed();
                if raw::send(envoy.address(), &bytes).expect("an answer").status == 200 {
                    admitted.push(at.as_millis() as u64);
                }
            }
            Line { name, admitted }
        })
        .collect();
    draw(&lines, WINDOW, LIMIT);
}

/// Milliseconds.
fn uptime() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("an uptime");
    let seconds: f64 = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number");
    (seconds * 1000.0) as u64
}
