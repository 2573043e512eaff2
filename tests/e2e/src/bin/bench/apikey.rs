//! API keys: known ones, beside Envoy's own filter and with very many of them, and the host calls that they cost.

use serde_json::{Value, json};
use tollgate::api_key::Minted;
use tollgate_e2e::bootstrap::{Bare, api_key_auth, direct, listener};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, Options};
use tollgate_e2e::keys::{SECRET, config, mint, record};

use crate::measure::{ROUNDS, cost, host_calls, median, message};
use crate::{Row, calibration};

/// What Tollgate asks of Envoy for a known key that names its user alone.
const CALLS: &str = "headers
clock
property source.address
remove x-api-key
set x-user-id u1
set x-auth-method api_key
set x-api-key-id 0123456789ab";

const EMPTY: usize = 1;
const NATIVE: usize = 2;
const CALIBRATION: usize = 3;

pub(crate) fn run() -> Vec<Row> {
    let minted: Vec<_> = (0..100_000).map(|_| mint()).collect();
    let few = gateway(&minted[..1000]);
    let many = gateway(&minted);
    let mut rows = known(&few, &many, &minted);
    rows.push(memory(&few, &many));
    rows.push(calls("the user alone", json!({})));
    let whole = json!({"tenant_id": "t", "roles": ["a"], "scopes": ["s"], "plan": "p"});
    rows.push(calls("everything", whole));
    rows
}

/// A gateway with these keys, and with the listeners to compare with.
fn gateway(keys: &[Minted]) -> Envoy {
    let records: Vec<Value> = keys.iter().map(record).collect();
    let plain: Vec<_> = keys.iter().take(1000).map(|minted| minted.key.as_str()).collect();
    let mut bare = Bare::new(config(&records), &Echo::start("upstream"));
    bare.environment.insert(SECRET.0.into(), SECRET.1.into());
    bare.routes = Some(vec![direct()]);
    bare.listeners = vec![
        listener("empty", vec![], vec![direct()]),
        listener("native", vec![api_key_auth(&plain)], vec![direct()]),
        calibration(CALLS),
    ];
    let options = Options {
        concurrency: 1,
        ..Options::default()
    };
    Envoy::try_start(&bare.bootstrap(), &options).unwrap_or_else(|refused| panic!("{}", refused.log))
}

/// A thousand keys in turn.
fn known(few: &Envoy, many: &Envoy, minted: &[Minted]) -> Vec<Row> {
    let messages: Vec<_> = minted
        .iter()
        .take(1000)
        .map(|minted| message("x-api-key", &minted.key))
        .collect();
    let messages: Vec<_> = messages.iter().cycle().take(10_000).cloned().collect();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  known key, round {} of {ROUNDS}", round + 1);
        let [ours, empty, native, calibration] =
            [0, EMPTY, NATIVE, CALIBRATION].map(|place| cost(few, place, &messages));
        rounds.push([ours, empty, native, calibration, cost(many, 0, &messages)]);
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&[f64; 5]) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let row = |what, value| Row::new("apikey", what, value, "us/request");
    vec![
        row("empty chain", column(1)),
        row("known key of 1,000, whole chain", column(0)).against(
            column(3),
            &pairs(|[ours, _, _, calibration, _]| ours / calibration),
            Some(1.25),
        ),
        row(
            "known key of 1,000, added over the empty chain, against api_key_auth with 1,000 plain keys",
            column(0) - column(1),
        )
        .against(
            column(2) - column(1),
            &pairs(|[ours, empty, native, _, _]| (ours - empty) / (native - empty)),
            None,
        ),
        row("known key of 100,000, whole chain, against 1,000", column(4)).against(
            column(0),
            &pairs(|[ours, _, _, _, many]| many / ours),
            Some(1.1),
        ),
    ]
}

fn memory(few: &Envoy, many: &Envoy) -> Row {
    let mut row = Row::new(
        "apikey",
        "memory of the whole Envoy with 100,000 keys, one worker, against 1,000",
        many.memory() as f64 / 1e6,
        "MB",
    );
    row.baseline = Some(few.memory() as f64 / 1e6);
    row
}

fn calls(what: &str, more: Value) -> Row {
    let minted = mint();
    let mut key = record(&minted);
    for (name, value) in more.as_object().into_iter().flatten() {
        key[name] = value.clone();
    }
    let mut bare = Bare::new(config(&[key]), &Echo::start("upstream"));
    bare.environment.insert(SECRET.0.into(), SECRET.1.into());
    bare.routes = Some(vec![direct()]);
    let options = Options {
        concurrency: 1,
        ..Options::default()
    };
    let envoy = Envoy::try_start(&bare.bootstrap(), &options).unwrap_or_else(|refused| panic!("{}", refused.log));
    let calls = host_calls(&envoy, &message("x-api-key", &minted.key));
    Row::calls("apikey", format!("host calls for a known key with {what}"), &calls)
}
