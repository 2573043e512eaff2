//! One answer made of three, beside the same by a service written for it behind the same Envoy.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use serde_json::json;
use tollgate_e2e::bootstrap::{Bare, direct, listener, to_upstream};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;

use crate::backend::Backend;
use crate::measure::{Connection, ROUNDS, cost, median, message_to};
use crate::transform::{answer, document, long};
use crate::{Row, calibration};

/// What a plugin must ask of Envoy for it.
const CALLS: &str = "headers
ask parts /a
ask parts /b
ask parts /c";

const FRONT: usize = 1;
const CALIBRATION: usize = 2;

pub(crate) fn run() -> Vec<Row> {
    let mut rows = compared();
    rows.extend(sizes());
    rows
}

/// An Envoy that answers everything with a document of about so many bytes.
fn service(bytes: usize) -> Envoy {
    let nothing = json!({"version": 1, "routes": [{"match": {"path_prefix": "/"}, "public": true}]});
    let mut bare = Bare::new(nothing, &Echo::start("nobody"));
    bare.listeners = vec![long(listener("documents", vec![], vec![answer(&document(bytes))]))];
    Envoy::alone(1, &bare.bootstrap())
}

/// Three parts of the same service, and one answer.
fn gateway(service: SocketAddr, max_bytes: usize) -> Bare {
    let part = |path: &str| json!({"cluster": "parts", "path": path, "max_bytes": max_bytes});
    let config = json!({
        "version": 1,
        "parts": {"profile": part("/a"), "orders": part("/b"), "metrics": part("/c")},
        "routes": [{
            "match": {"path_prefix": "/"}, "public": true,
            "aggregate": {"body": {"profile": "{parts.profile}", "orders": "{parts.orders}", "metrics": "{parts.metrics}"}},
        }],
    });
    let mut bare = Bare::new(config, &Echo::start("nobody"));
    bare.clusters = vec![("parts", service)];
    bare.routes = Some(vec![direct()]);
    bare
}

fn compared() -> Vec<Row> {
    let documents = service(2048);
    let address = documents.listener(1);
    let backend = Backend::start("bff", address);
    let mut bare = gateway(address, 1 << 20);
    bare.upstream = backend.address;
    bare.listeners = vec![listener("front", vec![], vec![to_upstream()]), calibration(CALLS)];
    let envoy = Envoy::alone(1, &bare.bootstrap());
    let message = message_to("/", &[]);
    for place in [0, FRONT, CALIBRATION] {
        let sent = tollgate_e2e::raw::send(envoy.listener(place), &message).expect("an answer");
        let members = sent.json().as_object().map(serde_json::Map::len);
        assert_eq!(
            (sent.status, members),
            (200, Some(3)),
            "listener {place}: {}",
            sent.text()
        );
    }
    let messages = vec![message.clone(); 3000];
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  three parts of 2 KiB, round {} of {ROUNDS}", round + 1);
        let began = Instant::now();
        let ours = cost(&envoy, 0, &messages);
        let our_rate = messages.len() as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        let [front, backend] = backend.cost(messages.len(), || cost(&envoy, FRONT, &messages));
        let their_rate = messages.len() as f64 / began.elapsed().as_secs_f64();
        rounds.push([
            ours,
            front,
            backend,
            our_rate,
            their_rate,
            cost(&envoy, CALIBRATION, &messages),
        ]);
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&[f64; 6]) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let row = |what, value, unit| Row::new("aggregate", what, value, unit);
    let mut rows = vec![
        row(
            "three parts of 2 KiB, processor time against a service for it and the Envoy before it",
            column(0),
            "us/request",
        )
        .against(
            column(1) + column(2),
            &pairs(|[ours, front, backend, ..]| ours / (front + backend)),
            Some(0.7),
        ),
        row("the same against the service alone", column(0), "us/request").against(
            column(2),
            &pairs(|[ours, _, backend, ..]| ours / backend),
            None,
        ),
        row(
            "the same against nothing but the calls that a plugin needs",
            column(0),
            "us/request",
        )
        .against(column(5), &pairs(|[ours, .., calls]| ours / calls), Some(1.25)),
        row(
            "nothing but the calls, against a service for it and the Envoy before it",
            column(5),
            "us/request",
        )
        .against(
            column(1) + column(2),
            &pairs(|[_, front, backend, .., calls]| calls / (front + backend)),
            None,
        ),
        row(
            "aggregates, four clients on two cores, against the service behind the Envoy",
            column(3),
            "per second",
        )
        .against(column(4), &pairs(|[.., ours, theirs, _]| ours / theirs), None),
    ];
    rows.extend(latencies(envoy.listener(0), address, &message));
    rows
}

/// What an answer takes longer than one part asked directly, one request after the other.
fn latencies(gateway: SocketAddr, service: SocketAddr, message: &[u8]) -> Vec<Row> {
    let mut connections = [gateway, service].map(Connection::open);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(connections.each_mut().map(|connection| {
            let mut times: Vec<_> = (0..1000)
                .map(|_| {
                    let began = Instant::now();
                    connection.ask(message);
                    began.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            times.sort_by(f64::total_cmp);
            [times[500], times[990]]
        }));
        thread::yield_now();
    }
    let row = |what: &str, place: usize, bar: f64| {
        let added: Vec<_> = rounds.iter().map(|[ours, part]| ours[place] - part[place]).collect();
        let added = median(&added);
        let mut row = Row::new("aggregate", what, added, "ms");
        (row.bar, row.holds) = (Some(bar), Some(added <= bar));
        row
    };
    vec![
        row("time of an aggregate beyond that of one part, median", 0, 1.0),
        row("time of an aggregate beyond that of one part, 99th percentile", 1, 3.0),
    ]
}

/// Larger parts: time for each KiB.
fn sizes() -> Vec<Row> {
    let sizes = [64 << 10, 1000 << 10];
    let services = sizes.map(service);
    let envoys = services.each_ref().map(|documents| {
        let bare = gateway(documents.listener(1), 4 << 20);
        Envoy::alone(1, &bare.bootstrap())
    });
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  larger parts, round {} of {ROUNDS}", round + 1);
        let per_kib = |(envoy, size): (&Envoy, &usize)| {
            let messages = vec![message_to("/", &[]); (16 << 20) / size];
            cost(envoy, 0, &messages) / ((3 * size) >> 10) as f64
        };
        rounds.push(envoys.iter().zip(&sizes).map(per_kib).collect::<Vec<_>>());
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let growing: Vec<_> = rounds.iter().map(|round| round[1] / round[0]).collect();
    vec![
        Row::new("aggregate", "three parts of 64 KiB", column(0), "us/KiB"),
        Row::new(
            "aggregate",
            "three parts of 1000 KiB, against 64 KiB: linear is 1",
            column(1),
            "us/KiB",
        )
        .against(column(0), &growing, Some(1.5)),
    ]
}
