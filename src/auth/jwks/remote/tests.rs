use std::cell::Cell;

use serde_json::{Value, json};

use super::*;
use crate::auth::jose::Algorithm;
use crate::seam::simulated::{Sharing, Simulated};

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

fn has(keys: &RemoteKeys, cx: &Context<'_>, kid: &str) -> bool {
    matches!(keys.lookup(cx), Lookup::Keys(set) if set.candidates(Some(kid), Algorithm::ES256).count() == 1)
}

#[test]
fn one_worker_fetches_for_all() {
    let host = Simulated::default();
    let (first, second) = (remote(json!({})), remote(json!({})));
    assert!(matches!(first.lookup(&host.at(1000)), Lookup::Soon));
    let fetch = first.begin(&host.at(1000)).unwrap();
    assert_eq!(
        (fetch.cluster.as_str(), place(&fetch)),
        ("issuer", ("issuer.example", "/keys"))
    );
    assert_eq!(second.begin(&host.at(1000)), None, "somebody is fetching");
    assert_eq!(
        first.end(fetch.topic, &ok(&key_set("a")), &host.at(1200)),
        Fetched::Published(vec![])
    );
    assert!(has(&first, &host.at(2 * 1000), "a"));
    assert!(matches!(second.lookup(&host.at(2 * 1000)), Lookup::Soon));
    second.take_over(&host.cx());
    assert!(has(&second, &host.at(2 * 1000), "a"));
    assert_eq!(second.begin(&host.at(2000)), None, "not due");
    assert!(second.begin(&host.at(1200 + 600_000)).is_some(), "due");
}

#[test]
fn workers_that_begin_at_once_do_not_all_fetch() {
    /// A store in which another worker writes between a read and the following write.
    struct Raced<'a>(&'a Simulated, &'a RemoteKeys, Cell<bool>);

    impl Store for Raced<'_> {
        fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.0.store.read(key)
        }

        fn write(&self, key: &str, value: &[u8], ticket: u32) -> bool {
            if !self.2.replace(true) {
                assert!(self.1.begin(&self.0.cx()).is_some());
            }
            self.0.store.write(key, value, ticket)
        }
    }

    let host = Simulated::default();
    let (first, second) = (remote(json!({})), remote(json!({})));
    first.prepare(&host.cx());
    second.prepare(&host.cx());
    let raced = Raced(&host, &second, Cell::new(false));
    let sharing = Sharing {
        host: &host,
        store: &raced,
    };
    let cx = Context {
        host: &sharing,
        locals: &host.locals,
    };
    assert_eq!(first.begin(&cx), None, "the other was faster");
}

#[test]
fn preparing_anew_changes_nothing() {
    let host = Simulated::default();
    let keys = remote(json!({}));
    keys.prepare(&host.cx());
    let fetch = keys.begin(&host.at(0)).unwrap();
    keys.end(fetch.topic, &ok(&key_set("a")), &host.at(0));
    let new = remote(json!({}));
    new.prepare(&host.cx());
    assert!(has(&new, &host.at(1000), "a") && new.begin(&host.at(1000)).is_none());
}

#[test]
fn a_worker_that_dies_while_it_fetches_is_followed_by_another() {
    let host = Simulated::default();
    let (first, second) = (remote(json!({})), remote(json!({})));
    assert!(first.begin(&host.at(0)).is_some());
    assert_eq!(second.begin(&host.at(5999)), None);
    assert!(second.begin(&host.at(6000)).is_some());
}

#[test]
fn a_new_configuration_finds_what_the_old_one_fetched() {
    let host = Simulated::default();
    let old = remote(json!({}));
    let fetch = old.begin(&host.at(0)).unwrap();
    old.end(fetch.topic, &ok(&key_set("a")), &host.at(0));
    let new = remote(json!({"refresh": "1h"}));
    new.take_over(&host.cx());
    assert!(has(&new, &host.at(1000), "a"));
    let elsewhere = remote(json!({"url": "https://issuer.example/other"}));
    elsewhere.take_over(&host.cx());
    assert!(
        matches!(elsewhere.lookup(&host.at(1000)), Lookup::Soon),
        "other keys are fetched elsewhere"
    );
}

#[test]
fn old_keys_stay_until_they_are_too_old() {
    let host = Simulated::default();
    let keys = remote(json!({"max_stale": "1h"}));
    let fetch = keys.begin(&host.at(0)).unwrap();
    keys.end(fetch.topic, &ok(&key_set("a")), &host.at(0));
    for (status, body, reason) in [
        ("503", &b""[..], "status"),
        ("504", b"", "timeout"),
        ("302", b"", "redirect"),
        ("200", b"<html>", "not_json"),
        ("200", b"{}", "not_a_key_set"),
        ("200", b"{\"keys\":[]}", "no_usable_key"),
        ("200", b"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "no_usable_key"),
    ] {
        let now = host.cx().local(&keys.own).known.borrow().schedule.refresh_at.get();
        let fetch = keys.begin(&host.at(now)).unwrap();
        let ended = keys.end(fetch.topic, &Answer::new(status, body), &host.at(now));
        assert!(
            matches!(ended, Fetched::Failed(found, _) if found == reason),
            "{ended:?}"
        );
        assert!(has(&keys, &host.at((now / 1000) * 1000), "a"), "after {reason}");
    }
    assert!(has(&keys, &host.at(3600 * 1000), "a"));
    let Lookup::Unavailable(pause) = keys.lookup(&host.at(3600 * 1000 + 1)) else {
        panic!("old keys");
    };
    assert!((1..=60).contains(&pause.get()), "{pause:?}");
}

#[test]
fn cold_and_failing_is_said_at_once() {
    let host = Simulated::default();
    let keys = remote(json!({}));
    let _ = keys.begin(&host.at(0)).unwrap();
    keys.fail(&host.at(0));
    assert!(matches!(keys.lookup(&host.at(0)), Lookup::Unavailable(pause) if pause.get() == 1));
}

#[test]
fn who_waits_is_woken_up_when_there_is_news() {
    let host = Simulated::default();
    let keys = remote(json!({}));
    let woken = || host.locals.wakes().take();
    let tickets = || keys.awaited(&host.cx()).tickets;
    let cold = tickets();
    assert_eq!(tickets(), cold, "all wait for the same");
    let fetch = keys.begin(&host.at(0)).unwrap();
    assert_eq!(woken(), [], "on its way");
    keys.fail(&host.at(0));
    assert_eq!(woken(), cold, "the first fetch has failed");
    let cold = tickets();
    let _ = keys.begin(&host.at(1000)).unwrap();
    keys.end(fetch.topic, &ok(&key_set("a")), &host.at(1000));
    assert_eq!(woken(), cold);
    let warm = tickets();
    let _ = keys.begin(&host.at(601_000)).unwrap();
    keys.fail(&host.at(601_000));
    assert_eq!(
        woken(),
        [],
        "a later failure is no news: the next fetch may bring the key"
    );
    let _ = keys.begin(&host.at(700_000)).unwrap();
    keys.end(fetch.topic, &ok(&key_set("b")), &host.at(700_000));
    assert_eq!(woken(), warm);
}

#[test]
fn an_unknown_key_asks_for_a_fetch_and_a_flood_of_them_does_not() {
    let host = Simulated::default();
    let keys = remote(json!({"cooldown": "30s"}));
    let fetch = keys.begin(&host.at(0)).unwrap();
    keys.end(fetch.topic, &ok(&key_set("a")), &host.at(0));
    let mut fetches = 0;
    for now in 0..300_u64 {
        for _ in 0..100 {
            keys.demand(&host.at(now * 1000));
        }
        if let Some(fetch) = keys.begin(&host.at(now * 1000)) {
            fetches += 1;
            keys.end(fetch.topic, &ok(&key_set("b")), &host.at(now * 1000));
        }
    }
    assert!(
        (11..=13).contains(&fetches),
        "three at once and one in each of ten cooldowns: {fetches}"
    );
    assert!(has(&keys, &host.at(300 * 1000), "b"));
    assert!(!keys.demand(&host.at(299 * 1000)), "no use in waiting");
}

#[test]
fn a_worker_that_looks_late_gets_the_set_that_others_have_fetched() {
    let host = Simulated::default();
    let (first, late) = (remote(json!({})), remote(json!({})));
    let fetch = first.begin(&host.at(0)).unwrap();
    first.end(fetch.topic, &ok(&key_set("a")), &host.at(0));
    late.take_over(&host.at(10));
    first.demand(&host.at(1000));
    let fetch = first.begin(&host.at(1000)).unwrap();
    first.end(fetch.topic, &ok(&key_set("b")), &host.at(1000));
    // It does not know yet, and asks.
    assert!(late.demand(&host.at(1001)));
    assert_eq!(late.begin(&host.at(1001)), None, "it is there already");
    late.take_over(&host.at(1002));
    assert!(has(&late, &host.at(1002), "b"));
}

#[test]
fn discovery_leads_to_the_keys_of_the_same_issuer_and_host() {
    let host = Simulated::default();
    let keys = remote(json!({"url": "https://issuer.example/.well-known/openid-configuration", "discovery": true}));
    let fetch = keys.begin(&host.at(0)).unwrap();
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
            keys.end(fetch.topic, &ok(&document(issuer, uri)), &host.at(0)),
            Fetched::Failed(reason, Vec::new())
        );
    }
    let found = ok(&document(ISSUER, "https://issuer.example/k?v=1"));
    let Fetched::Next(next) = keys.end(fetch.topic, &found, &host.at(0)) else {
        panic!("no next step");
    };
    assert_eq!(place(&next), ("issuer.example", "/k?v=1"));
    assert_eq!(
        keys.end(next.topic, &ok(&key_set("a")), &host.at(0)),
        Fetched::Published(vec![])
    );
    assert!(has(&keys, &host.at(1000), "a"));
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
