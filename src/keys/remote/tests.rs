use std::cell::Cell;

use serde_json::{Value, json};

use super::*;
use crate::jose::Algorithm;
use crate::store::memory::Memory;

const ISSUER: &str = "https://issuer.example";

fn remote(change: Value) -> RemoteKeys {
    let mut config = json!({"cluster": "issuer", "url": "https://issuer.example/keys"});
    for (name, value) in change.as_object().unwrap() {
        config[name] = value.clone();
    }
    let config: RemoteConfig = serde_json::from_value(config).unwrap();
    let mut report = Report::default();
    let keys = RemoteKeys::compile(&config, "main", ISSUER, &mut report);
    report.finish().unwrap();
    keys
}

fn key_set(kid: &str) -> Vec<u8> {
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": kid, "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]})
    .to_string()
    .into_bytes()
}

fn ok(body: &[u8]) -> Answer {
    Answer::new("200", body)
}

/// `:authority` and `:path`.
fn place(call: &Call) -> (&str, &str) {
    let header = |name| call.headers.iter().find(|(own, _)| *own == name).unwrap().1.as_str();
    (header(":authority"), header(":path"))
}

fn has(keys: &RemoteKeys, now: u64, kid: &str) -> bool {
    matches!(keys.lookup(now), Lookup::Keys(set) if set.candidates(Some(kid), Algorithm::ES256).count() == 1)
}

#[test]
fn one_worker_fetches_for_all() {
    let store = Memory::default();
    let (first, second) = (remote(json!({})), remote(json!({})));
    assert!(matches!(first.lookup(1), Lookup::Soon));
    let fetch = first.begin(1000, &store).unwrap();
    assert_eq!(
        (fetch.cluster.as_str(), place(&fetch)),
        ("issuer", ("issuer.example", "/keys"))
    );
    assert_eq!(second.begin(1000, &store), None, "somebody is fetching");
    assert_eq!(
        first.end(fetch.topic, 1200, &ok(&key_set("a")), &store),
        Fetched::Published(vec![])
    );
    assert!(has(&first, 2, "a"));
    assert!(matches!(second.lookup(2), Lookup::Soon));
    second.take_over(&store);
    assert!(has(&second, 2, "a"));
    assert_eq!(second.begin(2000, &store), None, "not due");
    assert!(second.begin(1200 + 600_000, &store).is_some(), "due");
}

#[test]
fn workers_that_begin_at_once_do_not_all_fetch() {
    /// Lets another worker in between a read and the write that follows it.
    struct Raced<'a>(&'a Memory, &'a RemoteKeys, Cell<bool>);

    impl Store for Raced<'_> {
        fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.0.read(key)
        }

        fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool {
            if !self.2.replace(true) {
                assert!(self.1.begin(0, self.0).is_some());
            }
            self.0.write(key, value, ticket)
        }
    }

    let store = Memory::default();
    let (first, second) = (remote(json!({})), remote(json!({})));
    first.prepare(&store);
    second.prepare(&store);
    let raced = Raced(&store, &second, Cell::new(false));
    assert_eq!(first.begin(0, &raced), None, "the other was faster");
}

#[test]
fn preparing_anew_changes_nothing() {
    let store = Memory::default();
    let keys = remote(json!({}));
    keys.prepare(&store);
    let fetch = keys.begin(0, &store).unwrap();
    keys.end(fetch.topic, 0, &ok(&key_set("a")), &store);
    let new = remote(json!({}));
    new.prepare(&store);
    assert!(has(&new, 1, "a") && new.begin(1000, &store).is_none());
}

#[test]
fn a_worker_that_dies_while_it_fetches_is_followed_by_another() {
    let store = Memory::default();
    let (first, second) = (remote(json!({})), remote(json!({})));
    assert!(first.begin(0, &store).is_some());
    assert_eq!(second.begin(5999, &store), None);
    assert!(second.begin(6000, &store).is_some());
}

#[test]
fn a_new_configuration_finds_what_the_old_one_fetched() {
    let store = Memory::default();
    let old = remote(json!({}));
    let fetch = old.begin(0, &store).unwrap();
    old.end(fetch.topic, 0, &ok(&key_set("a")), &store);
    let new = remote(json!({"refresh": "1h"}));
    new.take_over(&store);
    assert!(has(&new, 1, "a"));
    let elsewhere = remote(json!({"url": "https://issuer.example/other"}));
    elsewhere.take_over(&store);
    assert!(
        matches!(elsewhere.lookup(1), Lookup::Soon),
        "other keys are fetched elsewhere"
    );
}

#[test]
fn old_keys_stay_until_they_are_too_old() {
    let store = Memory::default();
    let keys = remote(json!({"max_stale": "1h"}));
    let fetch = keys.begin(0, &store).unwrap();
    keys.end(fetch.topic, 0, &ok(&key_set("a")), &store);
    for (status, body, reason) in [
        ("503", &b""[..], "status"),
        ("504", b"", "timeout"),
        ("302", b"", "redirect"),
        ("200", b"<html>", "not_json"),
        ("200", b"{}", "not_a_key_set"),
        ("200", b"{\"keys\":[]}", "no_usable_key"),
        ("200", b"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "no_usable_key"),
    ] {
        let now = keys.known.borrow().schedule.refresh_at;
        let fetch = keys.begin(now, &store).unwrap();
        let ended = keys.end(fetch.topic, now, &Answer::new(status, body), &store);
        assert!(
            matches!(ended, Fetched::Failed(found, _) if found == reason),
            "{ended:?}"
        );
        assert!(has(&keys, now / 1000, "a"), "after {reason}");
    }
    assert!(has(&keys, 3600, "a"));
    assert!(matches!(keys.lookup(3601), Lookup::Unavailable(1..=60)));
}

#[test]
fn cold_and_failing_is_said_at_once() {
    let store = Memory::default();
    let keys = remote(json!({}));
    let _ = keys.begin(0, &store).unwrap();
    keys.fail(0, &store);
    assert!(matches!(keys.lookup(0), Lookup::Unavailable(1)));
}

#[test]
fn who_waits_looks_again_when_there_is_news() {
    let store = Memory::default();
    let keys = remote(json!({}));
    assert!(!keys.is_settled(0));
    let fetch = keys.begin(0, &store).unwrap();
    assert!(!keys.is_settled(0), "on its way");
    keys.fail(0, &store);
    assert!(keys.is_settled(0), "the first fetch has failed");
    let _ = keys.begin(1000, &store).unwrap();
    keys.end(fetch.topic, 1000, &ok(&key_set("a")), &store);
    assert!(keys.is_settled(0) && !keys.is_settled(1));
    let _ = keys.begin(601_000, &store).unwrap();
    keys.fail(601_000, &store);
    assert!(
        !keys.is_settled(1),
        "a later failure is no news: the next fetch may bring the key"
    );
}

#[test]
fn an_unknown_key_asks_for_a_fetch_and_a_flood_of_them_does_not() {
    let store = Memory::default();
    let keys = remote(json!({"cooldown": "30s"}));
    let fetch = keys.begin(0, &store).unwrap();
    keys.end(fetch.topic, 0, &ok(&key_set("a")), &store);
    let mut fetches = 0;
    for now in 0..300_u64 {
        for _ in 0..100 {
            keys.demand(now);
        }
        if let Some(fetch) = keys.begin(now * 1000, &store) {
            fetches += 1;
            keys.end(fetch.topic, now * 1000, &ok(&key_set("b")), &store);
        }
    }
    assert!(
        (11..=13).contains(&fetches),
        "three at once and one in each of ten cooldowns: {fetches}"
    );
    assert!(has(&keys, 300, "b"));
    assert!(!keys.demand(299), "no use in waiting");
}

#[test]
fn discovery_leads_to_the_keys_of_the_same_issuer_and_host() {
    let store = Memory::default();
    let keys = remote(json!({"url": "https://issuer.example/.well-known/openid-configuration", "discovery": true}));
    let fetch = keys.begin(0, &store).unwrap();
    let document = |issuer: &str, uri: &str| json!({"issuer": issuer, "jwks_uri": uri}).to_string().into_bytes();
    for (issuer, uri, reason) in [
        (
            "https://other.example",
            "https://issuer.example/keys",
            "discovery_issuer",
        ),
        (ISSUER, "https://other.example/keys", "discovery_other_host"),
        (ISSUER, "file:///keys", "discovery_jwks_uri"),
    ] {
        assert_eq!(
            keys.end(fetch.topic, 0, &ok(&document(issuer, uri)), &store),
            Fetched::Failed(reason, Vec::new())
        );
    }
    let found = ok(&document(ISSUER, "https://issuer.example/k?v=1"));
    let Fetched::Next(next) = keys.end(fetch.topic, 0, &found, &store) else {
        panic!("no next step");
    };
    assert_eq!(place(&next), ("issuer.example", "/k?v=1"));
    assert_eq!(
        keys.end(next.topic, 0, &ok(&key_set("a")), &store),
        Fetched::Published(vec![])
    );
    assert!(has(&keys, 1, "a"));
}

#[test]
fn places_that_cannot_be_fetched_from_are_errors() {
    for (config, expected) in [
        (
            json!({"cluster": "", "url": "https://a/"}),
            "cluster: must not be empty",
        ),
        (json!({"cluster": "c"}), "needs the `url` of the key set"),
        (
            json!({"cluster": "c", "url": "ftp://a/"}),
            "url: \"ftp://a/\" is not an http or https URL",
        ),
        (
            json!({"cluster": "c", "url": "https://a/", "timeout": "0s"}),
            "timeout: must be at least 1ms",
        ),
        (
            json!({"cluster": "c", "url": "https://a/", "cooldown": "10ms"}),
            "cooldown: must be at least 1000ms",
        ),
    ] {
        let mut report = Report::default();
        RemoteKeys::compile(&serde_json::from_value(config).unwrap(), "main", ISSUER, &mut report);
        let errors = report.finish().unwrap_err();
        assert!(errors[0].to_string().starts_with(expected), "{errors:?}");
    }
}
