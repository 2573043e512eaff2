//! Tests of keys in the configuration, and helpers for the tests of the key service.

mod service;

use serde_json::{Value, json};

use super::*;
use crate::auth::api_key::{Format, Minted, SecretConfig, Secrets};
use crate::config::{Environment, Report};
use crate::http::headers::Headers;
use crate::message::managed_names::ManagedNames;
use crate::message::request::Request;
use crate::policy::verdict::{Failure, Verified};
use crate::seam::Note;
use crate::seam::simulated::Simulated;

/// Milliseconds since the epoch.
const NOW: u64 = 1_700_000_000_000;

fn environment() -> Environment {
    [
        ("NEW", "n".repeat(32)),
        ("OLD", "o".repeat(32)),
        ("TOKEN", "lookup-token".into()),
        ("SHORT", "short".into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn world() -> Simulated {
    let world = Simulated::default();
    world.now.set(NOW);
    world
}

/// A configuration with two secrets and further members.
fn compile(change: Value) -> Result<ApiKeys, String> {
    let mut config = json!({"secrets": [{"id": "v2", "env": "NEW"}, {"id": "v1", "env": "OLD"}]});
    for (name, value) in change.as_object().unwrap() {
        config[name] = value.clone();
    }
    let config: ApiKeysConfig = serde_json::from_value(config).map_err(|error| error.to_string())?;
    let mut report = Report::default();
    let keys = ApiKeys::compile(&config, &environment(), &mut report);
    report.finish().map(|_| keys).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        errors.join("\n")
    })
}

/// A key, the same for the same number.
fn mint(number: u8) -> Minted {
    let mut next = number;
    Format::new("tg", "live", false).unwrap().mint(|| {
        next = next.wrapping_mul(37).wrapping_add(11);
        next & 0x7f
    })
}

fn hash(secret: &str, key: &str) -> String {
    let env = if secret == "v1" { "OLD" } else { "NEW" };
    let config = SecretConfig {
        id: secret.into(),
        env: env.into(),
    };
    let secrets = Secrets::compile(&[config], &environment(), &mut Report::default());
    secrets.newest(key.as_bytes()).unwrap().to_string()
}

fn record(id: &str, hash: String) -> Value {
    json!({"id": id, "hash": hash, "user_id": "u1", "tenant_id": "t1", "scopes": ["orders.read"], "plan": "pro"})
}

/// The result for a key as a short text, and the counters of the request.
fn ask(keys: &ApiKeys, key: &str, may_wait: bool, world: &Simulated) -> (String, Vec<String>) {
    let headers: Headers = [
        (":method", "GET"),
        (":authority", "h"),
        (":path", "/"),
        ("x-request-id", "r1"),
    ]
    .into_iter()
    .collect();
    let mut request = Request::simulated(headers, ManagedNames::default());
    request.may_wait = may_wait;
    let outcome = match keys.verify(key.as_bytes(), &mut request, &world.cx()) {
        Ok(Verified { subject, .. }) => format!("{} of {}", subject.key_id.as_deref().unwrap(), subject.user_id),
        Err(Failure::Invalid(invalid)) => invalid.reason.to_owned(),
        Err(Failure::Wait(_)) => "wait".into(),
        Err(Failure::KeysUnavailable(pause)) => format!("unavailable for {}", pause.get()),
        Err(Failure::TooManyAttempts(pause)) => format!("too many for {}", pause.get()),
    };
    let counters = request.notes.iter().filter_map(|note| match note {
        Note::Count(name) => Some(name.to_string()),
        _ => None,
    });
    (outcome, counters.collect())
}

fn outcome(keys: &ApiKeys, key: &str, world: &Simulated) -> String {
    ask(keys, key, false, world).0
}

#[test]
fn a_key_is_found_by_any_secret_and_says_whose_it_is() {
    let (new, old) = (mint(1).key, mint(2).key);
    let keys = compile(json!({"keys": [record("k1", hash("v2", &new)), record("k2", hash("v1", &old))]})).unwrap();
    let world = world();
    keys.prepare(&world.store);
    assert_eq!(outcome(&keys, &new, &world), "k1 of u1");
    assert_eq!(outcome(&keys, &old, &world), "k2 of u1");
    assert_eq!(outcome(&keys, &mint(3).key, &world), "unknown");
    assert_eq!(outcome(&keys, "tg_live_nonsense", &world), "malformed");
    let newest_only = compile(json!({
        "secrets": [{"id": "v2", "env": "NEW"}], "keys": [record("k1", hash("v2", &new))],
    }))
    .unwrap();
    assert_eq!(outcome(&newest_only, &old, &world), "unknown", "its secret is gone");
}

#[test]
fn a_hash_made_with_another_secret_of_the_same_bytes_is_not_it() {
    let key = mint(1).key;
    let mislabelled = hash("v2", &key).replace("v2:", "v1:");
    let keys = compile(json!({"keys": [record("k1", mislabelled)]})).unwrap();
    assert_eq!(outcome(&keys, &key, &world()), "unknown");
}

#[test]
fn times_are_checked_with_every_request() {
    let key = mint(1).key;
    let mut k1 = record("k1", hash("v2", &key));
    k1["not_before"] = json!("2023-11-14T22:13:20Z");
    k1["expires_at"] = json!("2023-11-14T22:13:22Z");
    let (keys, world) = (compile(json!({"keys": [k1]})).unwrap(), world());
    for (offset, expected) in [
        (-1, "not_yet_valid"),
        (0, "k1 of u1"),
        (1999, "k1 of u1"),
        (2000, "expired"),
    ] {
        world.now.set(NOW.checked_add_signed(offset).unwrap());
        assert_eq!(outcome(&keys, &key, &world), expected, "{offset}");
    }
}

#[test]
fn an_opaque_key_is_taken_where_that_is_said() {
    let key = "another-gateways-key-0001";
    let config = json!({"opaque": true, "keys": [record("k1", hash("v2", key))]});
    assert_eq!(outcome(&compile(config).unwrap(), key, &world()), "k1 of u1");
    let config = json!({"keys": [record("k1", hash("v2", key))]});
    assert_eq!(outcome(&compile(config).unwrap(), key, &world()), "malformed");
}

#[test]
fn bad_keys_stop_their_source_but_not_a_good_key() {
    let (good, other) = (mint(1).key, mint(2).key);
    let config = json!({
        "throttle": {"limit": 3, "window": "1m"},
        "keys": [record("k1", hash("v2", &good)), record("k2", hash("v2", &other))],
    });
    let (first, second, world) = (compile(config.clone()).unwrap(), compile(config).unwrap(), world());
    first.prepare(&world.store);
    assert_eq!(outcome(&first, &good, &world), "k1 of u1");
    for bad in ["nonsense", &mint(8).key, &mint(9).key] {
        assert!(["malformed", "unknown"].contains(&outcome(&second, bad, &world).as_str()));
    }
    for keys in [&first, &second] {
        assert_eq!(outcome(keys, &mint(9).key, &world), "too many for 60");
        assert_eq!(outcome(keys, "nonsense", &world), "too many for 60");
        assert_eq!(
            outcome(keys, &other, &world),
            "too many for 60",
            "no hint that it was right"
        );
        assert_eq!(outcome(keys, &good, &world), "k1 of u1", "good from here before");
    }
    world.address.set(Some("192.0.2.1".parse().unwrap()));
    assert_eq!(outcome(&first, &other, &world), "k2 of u1", "from elsewhere");
    world.address.set(None);
    assert_eq!(outcome(&first, &other, &world), "k2 of u1", "from nowhere");
    world.address.set(Some("127.0.0.1".parse().unwrap()));
    world.now.set(NOW + 60_000);
    assert_eq!(outcome(&second, &other, &world), "k2 of u1", "the window is over");
}

#[test]
fn a_refusal_shows_no_secret() {
    let key = mint(1).key;
    let keys = compile(
        json!({"keys": [record("k1", hash("v2", &key))], "lookup": {"cluster": "c", "token": {"env": "TOKEN"}}}),
    );
    let shown = format!("{:?}", keys.unwrap());
    assert!(!shown.contains("nnnn") && !shown.contains("lookup-token"), "{shown}");
}

#[test]
fn each_mistake_says_where_it_is() {
    let key = || record("k1", hash("v2", "x"));
    let changed = |name: &str, value: Value| {
        let mut key = key();
        key[name] = value;
        json!({"keys": [key]})
    };
    let lookup = |change: Value| {
        let mut lookup = json!({"cluster": "c"});
        for (name, value) in change.as_object().unwrap() {
            lookup[name] = value.clone();
        }
        json!({ "lookup": lookup })
    };
    for (config, expected) in [
        (json!({"secrets": []}), "secrets: is empty"),
        (
            json!({"secrets": [{"id": "v1", "env": "NONE"}]}),
            "secrets[0].env: the environment has no `NONE`",
        ),
        (
            json!({"secrets": [{"id": "v1", "env": "SHORT"}]}),
            "secrets[0].env: `SHORT` has 5 bytes",
        ),
        (json!({"from": []}), "from: must not be empty"),
        (json!({"realm": "a\"b"}), "realm: "),
        (json!({"prefix": "T_"}), "the prefix \"T_\" is not"),
        (json!({"throttle": {"limit": 0}}), "throttle: needs a `limit`"),
        (changed("id", json!("")), "keys[0].id: must be"),
        (changed("user_id", json!("")), "keys[0].user_id: must be"),
        (
            changed("hash", json!(hash("v2", "x").replace("v2", "v9"))),
            "keys[0].hash: no secret is called \"v9\"",
        ),
        (changed("hash", json!("plain-key")), "a hash is the name of its secret"),
        (changed("secret", json!("x")), "unknown field `secret`"),
        (json!({"keys": [key(), key()]}), "keys[1].id: \"k1\" is there twice"),
        (json!({"keys": [key(), key()]}), "keys[1].hash: is there twice"),
        (lookup(json!({"cluster": ""})), "lookup.cluster: must not be empty"),
        (lookup(json!({"path": "keys"})), "lookup.path: \"keys\" is not a path"),
        (lookup(json!({"changes": "/a b"})), "lookup.changes: "),
        (lookup(json!({"timeout": "0s"})), "lookup.timeout: must be at least 1ms"),
        (
            lookup(json!({"max_stale": "1s"})),
            "lookup.max_stale: must be at least as long as `cache`",
        ),
        (lookup(json!({"entries": 0})), "lookup.entries: must be from 1"),
        (
            lookup(json!({"token": {"env": "NONE"}})),
            "lookup.token.env: the environment has no `NONE`",
        ),
    ] {
        let found = compile(config.clone()).map(|_| ()).unwrap_err();
        assert!(
            found.contains(expected),
            "{config}\n  expected: {expected}\n  found: {found}"
        );
    }
    let mut never = key();
    never["not_before"] = json!("2027-01-01T00:00:00Z");
    never["expires_at"] = json!("2026-01-01T00:00:00Z");
    let found = compile(json!({"keys": [never]})).map(|_| ()).unwrap_err();
    assert!(found.starts_with("keys[0].expires_at: is not after"), "{found}");
}
