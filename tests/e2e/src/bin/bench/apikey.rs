//! API keys: known ones, beside Envoy's own filter, with very many of them and by a key service; the host calls that they
//! cost; and how fast the key service is.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use tollgate::auth::api_key::Minted;
use tollgate_e2e::bootstrap::{Bare, api_key_auth, direct, listener};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::key_service::KeyService;
use tollgate_e2e::keys::{SECRET, config, mint, record};
use tollgate_e2e::postgres::Postgres;
use tollgate_e2e::raw::{self, request};

use crate::measure::{ROUNDS, cost, host_calls, median, message};
use crate::{Row, calibration};

/// What Tollgate asks of Envoy for a known key that names its user alone.
const CALLS: &str = "headers
clock
property source.address
replace";

/// The same for a key that the key service knows, and all workers remember.
const CALLS_WITH_SERVICE: &str = "headers
clock
property source.address
shared bench
replace";

const ADMIN: &str = "an-administration-token-of-the-bench";
const LOOKUP: &str = "a-lookup-token-of-the-bench-0123456789";

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
    drop((few, many));
    rows.extend(remembered());
    rows.extend(lookups());
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
    start(&bare)
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

/// A key that a key service knows, once it is remembered.
fn remembered() -> Vec<Row> {
    let folder = tempfile::tempdir().expect("a folder");
    let service = serve(&format!("sqlite:{}", folder.path().join("keys.db").display()));
    let made = create(&service, &json!({"user_id": "u1"}));
    let mut config = config(&[]);
    config["api_keys"]["lookup"] =
        json!({"cluster": "keys", "token": {"env": "LOOKUP"}, "cache": "10m", "timeout": "5s"});
    let mut bare = Bare::new(config, &Echo::start("upstream"));
    bare.clusters = vec![("keys", service.address())];
    bare.environment = [SECRET, ("LOOKUP", LOOKUP)]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    bare.routes = Some(vec![direct()]);
    bare.listeners = vec![
        listener("empty", vec![], vec![direct()]),
        calibration(CALLS_WITH_SERVICE),
    ];
    let envoy = start(&bare);
    let message = message("x-api-key", &made);
    let calls = host_calls(&envoy, &message);
    let messages = vec![message; 10_000];
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  remembered key, round {} of {ROUNDS}", round + 1);
        rounds.push([0, 1, 2].map(|place| cost(&envoy, place, &messages)));
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs: Vec<_> = rounds.iter().map(|[ours, _, calibration]| ours / calibration).collect();
    vec![
        Row::new(
            "apikey",
            "key of the service, remembered, whole chain",
            column(0),
            "us/request",
        )
        .against(column(2), &pairs, Some(1.25)),
        Row::calls(
            "apikey",
            "host calls for a remembered key of the service".into(),
            &calls,
        ),
    ]
}

/// The key service alone, asked about ten thousand keys by eight connections.
fn lookups() -> Vec<Row> {
    let folder = tempfile::tempdir().expect("a folder");
    let postgres = Postgres::shared();
    let services = [
        (
            "SQLite",
            serve(&format!("sqlite:{}", folder.path().join("keys.db").display())),
        ),
        ("PostgreSQL", serve(&postgres.database())),
    ];
    let hashes: Vec<Vec<String>> = services
        .iter()
        .map(|(name, service)| {
            eprintln!("  filling {name} ...");
            let minted: Vec<_> = (0..10_000).map(|_| mint()).collect();
            minted.iter().map(|minted| import(service, minted)).collect()
        })
        .collect();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  lookups, round {} of {ROUNDS}", round + 1);
        rounds.push([0, 1].map(|place| lookups_per_second(&services[place].1, &hashes[place])));
    }
    let row = |place: usize| {
        let what = format!("lookups by the key service, 10,000 keys, {}", services[place].0);
        let rates: Vec<_> = rounds.iter().map(|round| round[place]).collect();
        Row::new("apikey", what, median(&rates), "per second")
    };
    vec![row(0), row(1)]
}

fn lookups_per_second(service: &KeyService, hashes: &[String]) -> f64 {
    let began = Instant::now();
    thread::scope(|scope| {
        for hashes in hashes.chunks(hashes.len() / 8) {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(service.address()).expect("a connection");
                for hash in hashes {
                    let body = json!({"hashes": [hash]}).to_string();
                    let bytes = request(
                        "POST",
                        "/v1/keys/lookup",
                        &bearer(&format!("Bearer {LOOKUP}")),
                        body.as_bytes(),
                    );
                    stream.write_all(&bytes).expect("sent");
                    let answer = raw::read(&mut stream, false).expect("an answer");
                    assert_eq!(answer.json()["key"]["hash"], *hash.as_str());
                }
            });
        }
    });
    hashes.len() as f64 / began.elapsed().as_secs_f64()
}

fn serve(database: &str) -> KeyService {
    let environment = [
        SECRET,
        ("TOLLGATE_KEYS_DATABASE", database),
        ("TOLLGATE_KEYS_ADMIN_TOKEN", ADMIN),
        ("TOLLGATE_KEYS_LOOKUP_TOKEN", LOOKUP),
    ];
    KeyService::start(&environment, &[])
}

fn bearer(authorization: &str) -> [(&str, &str); 3] {
    [
        ("host", "keys"),
        ("content-type", "application/json"),
        ("authorization", authorization),
    ]
}

fn create(service: &KeyService, body: &Value) -> String {
    let response = service.request("POST", "/v1/keys", Some(ADMIN), Some(body));
    response.json()["key"].as_str().expect("a key").to_owned()
}

/// The hash that it is known by.
fn import(service: &KeyService, minted: &Minted) -> String {
    let record = record(minted);
    let response = service.request("POST", "/v1/keys/import", Some(ADMIN), Some(&record));
    assert_eq!(response.status, 201, "{}", response.text());
    record["hash"].as_str().expect("a hash").to_owned()
}

fn start(bare: &Bare) -> Envoy {
    Envoy::alone(1, &bare.bootstrap())
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

/// A configuration with one key, and that key.
pub(crate) fn one() -> (Value, String) {
    let minted = mint();
    (config(&[record(&minted)]), minted.key)
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
    let envoy = start(&bare);
    let calls = host_calls(&envoy, &message("x-api-key", &minted.key));
    Row::calls("apikey", format!("host calls for a known key with {what}"), &calls)
}
