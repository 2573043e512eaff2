//! Changes by rule: of headers beside the host calls that they need, of JSON bodies beside Envoy's own filters.

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, direct, listener, scripted_filter, to_upstream};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;

use crate::measure::{ROUNDS, cost, host_calls, median, message_to};
use crate::{Row, calibration};

/// What Tollgate asks of Envoy for the rules below.
const CALLS: &str = "headers
replace";

const EMPTY: usize = 1;
const CALIBRATION: usize = 2;

pub(crate) fn run() -> Vec<Row> {
    let mut rows = headers();
    rows.extend(bodies());
    rows.extend(sizes());
    rows
}

fn headers() -> Vec<Row> {
    let headers = json!({
        "remove": ["x-debug"], "rename": {"x-old": "x-new"}, "set": {"x-country": "{headers.x-geo|unknown}"}, "add": {"x-a": "{method}"},
    });
    let rule = json!({"match": {"path_prefix": "/"}, "public": true, "request": {"headers": headers}});
    let mut bare = Bare::new(json!({"version": 1, "routes": [rule]}), &Echo::start("upstream"));
    bare.routes = Some(vec![direct()]);
    bare.listeners = vec![listener("empty", vec![], vec![direct()]), calibration(CALLS)];
    let envoy = Envoy::alone(1, &bare.bootstrap());
    let message = message_to("/", &[("x-debug", "1"), ("x-old", "2"), ("x-geo", "nl")]);
    let messages = vec![message.clone(); 10_000];
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  header rules, round {} of {ROUNDS}", round + 1);
        rounds.push([0, EMPTY, CALIBRATION].map(|place| cost(&envoy, place, &messages)));
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&[f64; 3]) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let calls = host_calls(&envoy, &message);
    vec![
        Row::new("transform", "five header rules, whole chain", column(0), "us/request").against(
            column(2),
            &pairs(|[ours, _, calibration]| ours / calibration),
            Some(1.25),
        ),
        Row::new(
            "transform",
            "five header rules, added over the empty chain, against an empty plugin and the host calls",
            column(0) - column(1),
            "us/request",
        )
        .against(
            column(2) - column(1),
            &pairs(|[ours, empty, calibration]| (ours - empty) / (calibration - empty)),
            None,
        ),
        Row::calls("transform", "host calls for five header rules".into(), &calls),
    ]
}

/// A document of about so many bytes, as an API has them.
pub(crate) fn document(bytes: usize) -> String {
    let item = |number: usize| json!({"id": format!("item-{number}"), "name": "A \"quoted\" thing", "price": 12.5, "count": number, "tags": ["a", "b"], "sold": false});
    let mut items = Vec::new();
    while Value::from(items.clone()).to_string().len() < bytes.min(4000) {
        items.push(item(items.len()));
    }
    let one = Value::from(items).to_string();
    let copies = vec![one; bytes.div_ceil(4000)];
    format!("{{\"id\":1,\"items\":[{}],\"next\":null}}", copies.join(","))
}

/// Envoy answers with a document.
pub(crate) fn answer(document: &str) -> Value {
    json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": document}},
        "response_headers_to_add": [{
            "header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }],
    })
}

/// Listeners whose routes may answer with long documents.
pub(crate) fn long(mut listener: Value) -> Value {
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["route_config"]["max_direct_response_body_size_bytes"] = (2 << 20).into();
    listener
}

fn rules() -> Value {
    json!({"version": 1, "routes": [{
        "match": {"path_prefix": "/"}, "public": true,
        "response": {"body": {"set": {"tenant": "t-1", "region": "eu-west", "version": "2"}}},
    }]})
}

fn native() -> Value {
    json!({
        "name": "envoy.filters.http.transform",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.transform.v3.TransformConfig",
            "response_transformation": {"body_transformation": {
                "body_format": {"json_format": {"tenant": "t-1", "region": "eu-west", "version": "2"}},
                "action": "MERGE",
            }},
        },
    })
}

fn lua() -> Value {
    json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": include_str!("transform.lua")},
        },
    })
}

/// An upstream that answers with a document of about so many bytes: Envoy itself, since its `transform` does not look at answers
/// that are not from an upstream.
fn upstream(bytes: usize) -> Envoy {
    let mut bare = Bare::new(rules(), &Echo::start("nobody"));
    bare.listeners = vec![long(listener("documents", vec![], vec![answer(&document(bytes))]))];
    Envoy::alone(1, &bare.bootstrap())
}

/// The same change of the same document by Tollgate, by Envoy's `transform`, and in Lua.
fn bodies() -> Vec<Row> {
    let documents = upstream(4096);
    let mut bare = Bare::new(rules(), &Echo::start("nobody"));
    bare.upstream = documents.listener(1);
    bare.listeners = vec![
        listener("empty", vec![], vec![to_upstream()]),
        listener("native", vec![native()], vec![to_upstream()]),
        listener("lua", vec![lua()], vec![to_upstream()]),
        listener(
            "empty-wasm",
            vec![scripted_filter("calibration", "")],
            vec![to_upstream()],
        ),
    ];
    let envoy = Envoy::alone(1, &bare.bootstrap());
    for place in 0..4 {
        let sent = tollgate_e2e::raw::send(envoy.listener(place), &message_to("/", &[])).expect("an answer");
        let has_changed = sent.text().contains("eu-west");
        assert_eq!(has_changed, place != EMPTY, "listener {place}: {}", sent.text());
        serde_json::from_slice::<Value>(&sent.body).expect("JSON");
    }
    let messages = vec![message_to("/", &[]); 4000];
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  a body of 4 KiB, round {} of {ROUNDS}", round + 1);
        rounds.push([0, 1, 2, 3, 4].map(|place| cost(&envoy, place, &messages)));
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&[f64; 5]) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let row = |what, place| Row::new("transform", what, column(place) - column(1), "us/request");
    vec![
        Row::new(
            "transform",
            "empty chain, an answer of 4 KiB from an upstream",
            column(1),
            "us/request",
        ),
        row("an empty plugin, added", 4),
        row(
            "three rules on a JSON body of 4 KiB, added, against Envoy's transform",
            0,
        )
        .against(
            column(2) - column(1),
            &pairs(|[ours, empty, native, ..]| (ours - empty) / (native - empty)),
            Some(1.5),
        ),
        row("the same, against Envoy's Lua", 0).against(
            column(3) - column(1),
            &pairs(|[ours, empty, _, lua, _]| (ours - empty) / (lua - empty)),
            Some(1.0),
        ),
        Row::calls(
            "transform",
            "host calls for a JSON body, response included".into(),
            &host_calls(&envoy, &messages[0]),
        ),
    ]
}

/// Larger documents: time for each KiB, and memory.
fn sizes() -> Vec<Row> {
    let sizes = [64 << 10, 256 << 10, 1000 << 10];
    let upstreams = sizes.map(upstream);
    let envoys = upstreams.each_ref().map(|documents| {
        let mut bare = Bare::new(rules(), &Echo::start("nobody"));
        bare.upstream = documents.listener(1);
        bare.listeners = vec![listener("empty", vec![], vec![to_upstream()])];
        Envoy::alone(1, &bare.bootstrap())
    });
    let mut rounds = Vec::new();
    let memory: Vec<_> = envoys.iter().map(Envoy::memory).collect();
    for round in 0..ROUNDS {
        eprintln!("  larger bodies, round {} of {ROUNDS}", round + 1);
        let added = |(envoy, size): (&Envoy, &usize)| {
            let messages = vec![message_to("/", &[]); (40 << 20) / size];
            (cost(envoy, 0, &messages) - cost(envoy, 1, &messages)) / (size >> 10) as f64
        };
        rounds.push(envoys.iter().zip(&sizes).map(added).collect::<Vec<_>>());
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let growing: Vec<_> = rounds.iter().map(|round| round[2] / round[0]).collect();
    let grown = |place: usize| envoys[place].memory().saturating_sub(memory[place]) as f64 / 1e6;
    let per_kib = |what, place| Row::new("transform", what, column(place), "us/KiB");
    let mut held = Row::new(
        "transform",
        "memory of the whole Envoy that bodies of 1000 KiB took, 4 at a time",
        grown(2),
        "MB",
    );
    (held.bar, held.holds) = (Some(64.0), Some(grown(2) <= 64.0));
    vec![
        per_kib("a body of 64 KiB, added", 0),
        per_kib("a body of 256 KiB, added", 1),
        per_kib("a body of 1000 KiB, added, against 64 KiB: linear is 1", 2).against(column(0), &growing, Some(1.5)),
        held,
    ]
}
