//! Tests of the key service with several workers of one store.

use std::sync::Arc;

use super::*;
use crate::seam::{Answer, Call, Caller, Lost, Outcome, Ticket};

/// A worker, with its callers for lookups and changes.
struct Worker {
    keys: ApiKeys,
    lookups: Arc<dyn Caller>,
    changes: Arc<dyn Caller>,
}

fn worker(world: &Simulated) -> Worker {
    worker_with(json!({}), world)
}

fn worker_with(change: Value, world: &Simulated) -> Worker {
    let mut config = json!({"lookup": {"cluster": "keys", "token": {"env": "TOKEN"}, "max_stale": "5m"}});
    for (name, value) in change.as_object().unwrap() {
        config[name] = value.clone();
    }
    let keys = compile(config).unwrap();
    let remotes: Vec<_> = keys.callers().collect();
    for remote in &remotes {
        remote.prepare(&world.cx());
    }
    keys.prepare(&world.store);
    let [lookups, changes] = remotes.try_into().unwrap();
    Worker { keys, lookups, changes }
}

impl Worker {
    fn ask(&self, key: &str, world: &Simulated) -> String {
        ask(&self.keys, key, true, world).0
    }

    /// Asks without permission to wait, like a request that has waited.
    fn again(&self, key: &str, world: &Simulated) -> String {
        ask(&self.keys, key, false, world).0
    }

    /// What a request with this key waits for.
    fn waiting(&self, key: &str, world: &Simulated) -> Vec<Ticket> {
        let headers: Headers = [(":method", "GET"), (":authority", "h"), (":path", "/")]
            .into_iter()
            .collect();
        let mut request = Request::simulated(headers, ManagedNames::default());
        request.may_wait = true;
        match self.keys.verify(key.as_bytes(), &mut request, &world.cx()) {
            Err(Failure::Wait(wait)) => wait.tickets,
            other => panic!("{other:?}"),
        }
    }

    fn lookup(&self, world: &Simulated) -> Option<Call> {
        self.lookups.next_call(&world.cx())
    }

    fn answered(&self, call: &Call, status: &str, body: &Value, world: &Simulated) -> Outcome {
        let answer = Answer::new(status, body.to_string());
        self.lookups.answer(call, Ok(answer), &world.cx())
    }

    fn changed(&self, call: &Call, body: &Value, world: &Simulated) -> Option<Call> {
        let answer = Answer::new("200", body.to_string());
        self.changes.answer(call, Ok(answer), &world.cx()).next
    }
}

fn found(version: u64, id: &str, key: &str) -> Value {
    json!({"version": version, "key": record(id, hash("v2", key))})
}

fn header<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.headers
        .iter()
        .find(|(own, _)| *own == name)
        .map(|(_, value)| value.as_str())
}

fn pass(world: &Simulated, millis: u64) {
    world.now.set(world.now.get() + millis);
}

#[test]
fn one_call_serves_every_worker_and_holds_no_key() {
    let world = world();
    let (first, second) = (worker(&world), worker(&world));
    let key = mint(1).key;
    assert_eq!(first.ask(&key, &world), "wait");
    assert_eq!(first.ask(&key, &world), "wait");
    assert_eq!(second.ask(&key, &world), "wait");
    let call = first.lookup(&world).unwrap();
    assert!(
        first.lookup(&world).is_none() && second.lookup(&world).is_none(),
        "one is enough"
    );
    assert_eq!(header(&call, ":path"), Some("/v1/keys/lookup"));
    assert_eq!(header(&call, "authorization"), Some("Bearer lookup-token"));
    assert_eq!(header(&call, "x-request-id"), Some("r1"));
    assert_eq!(
        serde_json::from_slice::<Value>(&call.body).unwrap(),
        json!({"hashes": [hash("v2", &key), hash("v1", &key)]})
    );
    assert!(!format!("{call:?}").contains(&key));
    first.answered(&call, "200", &found(1, "k1", &key), &world);
    for worker in [&first, &second] {
        assert_eq!(
            ask(&worker.keys, &key, false, &world),
            ("k1 of u1".into(), vec!["tollgate_key_cache_total;outcome=hit;".into()])
        );
    }
    pass(&world, 59_999);
    assert_eq!(second.ask(&key, &world), "k1 of u1");
    pass(&world, 1);
    assert_eq!(second.ask(&key, &world), "wait", "its cache time is over");
    assert!(second.lookup(&world).is_some());
}

#[test]
fn who_waits_is_woken_up_when_the_answer_is_there() {
    let world = world();
    let (first, second) = (worker(&world), worker(&world));
    let key = mint(1).key;
    let waiting = |worker: &Worker| worker.waiting(&key, &world);
    let woken = || world.locals.wakes().take();
    let (own, others) = (waiting(&first), waiting(&second));
    assert_eq!(waiting(&first), own, "all wait for the same");
    let call = first.lookup(&world).unwrap();
    second.lookups.synchronize(&world.cx());
    assert_eq!(woken(), []);
    first.answered(&call, "503", &json!({}), &world);
    assert_eq!(woken(), own);
    second.lookups.synchronize(&world.cx());
    assert_eq!(woken(), others, "another worker sees it with its next tick");
}

#[test]
fn who_waits_for_a_worker_that_died_asks_itself() {
    let world = world();
    let (dead, worker) = (worker(&world), worker(&world));
    let key = mint(1).key;
    dead.ask(&key, &world);
    assert!(dead.lookup(&world).is_some(), "which it does not live to hear answered");
    let tickets = worker.waiting(&key, &world);
    let woken = || {
        worker.lookups.synchronize(&world.cx());
        world.locals.wakes().take()
    };
    pass(&world, 749);
    assert_eq!(woken(), [], "the call's timeout, and half a second");
    pass(&world, 1);
    assert_eq!(woken(), tickets);
    assert_eq!(worker.ask(&key, &world), "wait");
    assert!(worker.lookup(&world).is_some());
}

#[test]
fn an_unknown_key_is_not_asked_for_again_until_it_is_created() {
    let world = world();
    let worker = worker(&world);
    let key = mint(1).key;
    let feed = worker.changes.next_call(&world.at(NOW)).unwrap();
    let feed = worker
        .changed(&feed, &json!({"version": 7, "all": true, "hashes": []}), &world)
        .unwrap();
    assert_eq!(worker.ask(&key, &world), "wait");
    let call = worker.lookup(&world).unwrap();
    worker.answered(&call, "200", &json!({"version": 7, "key": null}), &world);
    assert_eq!(worker.ask(&key, &world), "unknown");
    pass(&world, 59_000);
    assert_eq!(worker.ask(&key, &world), "unknown");
    assert!(worker.lookup(&world).is_none());
    // The key is hashed with the older secret, whose hash is not the first of the lookup.
    worker.changed(
        &feed,
        &json!({"version": 8, "all": false, "hashes": [hash("v1", &key)]}),
        &world,
    );
    assert_eq!(worker.ask(&key, &world), "wait");
}

#[test]
fn a_revoked_key_is_forgotten_by_all_at_once() {
    let world = world();
    let (first, second) = (worker(&world), worker(&world));
    let (key, other) = (mint(1).key, mint(2).key);
    let feed = first.changes.next_call(&world.at(NOW)).unwrap();
    assert_eq!(header(&feed, ":path"), Some("/v1/keys/changes?wait=10"));
    assert!(second.changes.next_call(&world.at(NOW)).is_none(), "one is enough");
    let feed = first
        .changed(&feed, &json!({"version": 1, "all": true, "hashes": []}), &world)
        .unwrap();
    assert_eq!(header(&feed, ":path"), Some("/v1/keys/changes?wait=10&after=1"));
    for key in [&key, &other] {
        assert_eq!(second.ask(key, &world), "wait");
        let call = second.lookup(&world).unwrap();
        second.answered(&call, "200", &found(1, "k1", key), &world);
    }
    let feed = first
        .changed(
            &feed,
            &json!({"version": 2, "all": false, "hashes": [hash("v2", &key)]}),
            &world,
        )
        .unwrap();
    assert_eq!(header(&feed, ":path"), Some("/v1/keys/changes?wait=10&after=2"));
    for worker in [&first, &second] {
        assert_eq!(worker.again(&key, &world), "unavailable for 1", "to be looked up again");
        assert_eq!(worker.again(&other, &world), "k1 of u1");
    }
    first.changed(&feed, &json!({"version": 900, "all": true, "hashes": []}), &world);
    assert_eq!(second.again(&other, &world), "unavailable for 1");
}

#[test]
fn a_change_takes_nothing_away_that_was_read_after_it() {
    let world = world();
    let worker = worker(&world);
    let (known, unknown) = (mint(1).key, mint(2).key);
    let feed = worker.changes.next_call(&world.at(NOW)).unwrap();
    let feed = worker
        .changed(&feed, &json!({"version": 4, "all": true, "hashes": []}), &world)
        .unwrap();
    // One key is created and another deleted; both are looked up before the change arrives.
    for (key, answer) in [
        (&known, found(6, "k1", &known)),
        (&unknown, json!({"version": 6, "key": null})),
    ] {
        assert_eq!(worker.ask(key, &world), "wait");
        let call = worker.lookup(&world).unwrap();
        worker.answered(&call, "200", &answer, &world);
    }
    let changed = |version: u64| {
        let hashes = [&known, &unknown].map(|key| hash("v2", key));
        json!({"version": version, "all": false, "hashes": hashes})
    };
    let feed = worker.changed(&feed, &changed(6), &world).unwrap();
    assert_eq!(worker.again(&known, &world), "k1 of u1");
    assert_eq!(worker.again(&unknown, &world), "unknown");
    worker.changed(&feed, &changed(7), &world);
    for key in [&known, &unknown] {
        assert_eq!(worker.again(key, &world), "unavailable for 1", "to be looked up again");
    }
}

#[test]
fn an_answer_that_a_change_has_overtaken_is_not_believed() {
    let world = world();
    let worker = worker(&world);
    let key = mint(1).key;
    let feed = worker.changes.next_call(&world.at(NOW)).unwrap();
    let feed = worker
        .changed(&feed, &json!({"version": 4, "all": true, "hashes": []}), &world)
        .unwrap();
    assert_eq!(worker.ask(&key, &world), "wait");
    let call = worker.lookup(&world).unwrap();
    // The service has read the key, the key is revoked, and the change arrives first.
    worker.changed(
        &feed,
        &json!({"version": 5, "all": false, "hashes": [hash("v2", &key)]}),
        &world,
    );
    let again = worker
        .answered(&call, "200", &found(4, "k1", &key), &world)
        .next
        .unwrap();
    assert_eq!(again.body, call.body);
    assert_eq!(worker.again(&key, &world), "unavailable for 1", "nothing was kept");
    worker.answered(&again, "200", &json!({"version": 5, "key": null}), &world);
    assert_eq!(worker.ask(&key, &world), "unknown");
}

#[test]
fn answers_that_never_catch_up_end() {
    let world = world();
    let worker = worker(&world);
    let key = mint(1).key;
    let feed = worker.changes.next_call(&world.at(NOW)).unwrap();
    worker.changed(&feed, &json!({"version": 9, "all": true, "hashes": []}), &world);
    assert_eq!(worker.ask(&key, &world), "wait");
    let mut call = worker.lookup(&world);
    let mut calls = 0;
    while let Some(next) = call {
        calls += 1;
        call = worker.answered(&next, "200", &found(1, "k1", &key), &world).next;
    }
    assert_eq!(calls, 3);
    assert_eq!(worker.again(&key, &world), "unavailable for 1");
}

#[test]
fn known_keys_serve_while_the_service_is_down_and_others_are_refused() {
    let world = world();
    let worker = worker(&world);
    let (known, other) = (mint(1).key, mint(2).key);
    assert_eq!(worker.ask(&known, &world), "wait");
    let call = worker.lookup(&world).unwrap();
    worker.answered(&call, "200", &found(1, "k1", &known), &world);
    pass(&world, 60_000);
    for (status, body) in [("503", json!({})), ("200", json!("<html>")), ("504", json!({}))] {
        assert_eq!(worker.ask(&other, &world), "wait");
        let call = worker.lookup(&world).unwrap();
        worker.answered(&call, status, &body, &world);
        assert_eq!(worker.again(&other, &world), "unavailable for 1");
        assert_eq!(ask(&worker.keys, &known, false, &world).0, "k1 of u1");
    }
    assert_eq!(
        worker.ask(&other, &world),
        "unavailable for 1",
        "nobody waits for what will not come"
    );
    assert_eq!(
        ask(&worker.keys, &known, true, &world).1,
        ["tollgate_key_cache_total;outcome=stale;"]
    );
    pass(&world, 239_999);
    assert_eq!(worker.again(&known, &world), "k1 of u1");
    pass(&world, 1);
    assert_eq!(worker.again(&known, &world), "unavailable for 1", "beyond max_stale");
    assert_eq!(worker.ask(&known, &world), "wait", "the pause is over");
    let call = worker.lookup(&world).unwrap();
    worker.answered(&call, "200", &found(1, "k1", &known), &world);
    assert_eq!(worker.ask(&known, &world), "k1 of u1");
}

#[test]
fn a_stale_key_still_ends() {
    let world = world();
    let worker = worker(&world);
    let key = mint(1).key;
    assert_eq!(worker.ask(&key, &world), "wait");
    let call = worker.lookup(&world).unwrap();
    let mut answer = found(1, "k1", &key);
    answer["key"]["expires_at"] = json!("2023-11-14T22:15:00Z");
    worker.answered(&call, "200", &answer, &world);
    assert_eq!(worker.again(&key, &world), "k1 of u1");
    pass(&world, 100_000);
    assert_eq!(worker.again(&key, &world), "expired");
}

#[test]
fn what_is_no_answer_to_the_question_is_none() {
    let (key, other) = (mint(1).key, mint(2).key);
    let mut controlled = found(1, "k1", &key);
    controlled["key"]["user_id"] = json!("a\nb");
    let mut large = found(1, "k1", &key);
    large["key"]["attributes"] = json!({"a": vec!["x".repeat(1000); 4], "b": vec!["x".repeat(1000); 4], "c": vec!["x".repeat(1000); 4], "d": vec!["x".repeat(1000); 4], "e": vec!["x".repeat(1000); 4]});
    for (body, reason) in [
        (found(1, "k1", &other), "other_key"),
        (json!({"version": 1}), "not_an_answer"),
        (json!({"version": 1, "key": {"id": "k1"}}), "bad_record"),
        (json!([]), "not_an_answer"),
        (controlled, "bad_record"),
        (large, "bad_record"),
    ] {
        let world = world();
        let worker = worker(&world);
        assert_eq!(worker.ask(&key, &world), "wait");
        let call = worker.lookup(&world).unwrap();
        let outcome = worker.answered(&call, "200", &body, &world);
        let expected = format!("tollgate_key_lookups_total;outcome=failed;reason={reason};");
        assert_eq!(outcome.notes.first(), Some(&Note::Count(expected.as_str().into())));
        let is_failure = reason == "not_an_answer";
        let expected = if is_failure { "unavailable for 1" } else { "unknown" };
        assert_eq!(worker.again(&key, &world), expected, "{reason}");
    }
}

#[test]
fn a_call_that_cannot_be_sent_and_one_without_an_answer_are_failures() {
    let world = world();
    let worker = worker(&world);
    let key = mint(1).key;
    assert_eq!(worker.ask(&key, &world), "wait");
    let call = worker.lookup(&world).unwrap();
    let outcome = worker.lookups.answer(&call, Err(Lost::Unsent), &world.at(NOW));
    assert_eq!(
        outcome.notes.first(),
        Some(&Note::Count(
            "tollgate_key_lookups_total;outcome=failed;reason=cluster;".into()
        ))
    );
    // If a worker dies during a lookup, others take over after the lease.
    assert_eq!(worker.ask(&key, &world), "wait");
    let _ = worker.lookup(&world).unwrap();
    let other = self::worker(&world);
    assert_eq!(other.ask(&key, &world), "wait");
    assert!(other.lookup(&world).is_none());
    pass(&world, 750);
    assert_eq!(other.ask(&key, &world), "wait");
    assert!(other.lookup(&world).is_some());
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_last_longer() {
    let world = world();
    let worker = worker(&world);
    let key = mint(1).key;
    assert_eq!(worker.ask(&key, &world), "wait");
    let call = worker.lookup(&world).unwrap();
    worker.answered(&call, "200", &found(1, "k1", &key), &world);
    // Within the difference that workers' clocks may have.
    world.now.set(NOW - 1000);
    assert_eq!(worker.ask(&key, &world), "k1 of u1");
    world.now.set(NOW - 1001);
    assert_eq!(worker.ask(&key, &world), "wait");
}

#[test]
fn nobody_is_locked_out_by_a_public_id() {
    let world = world();
    let worker = worker_with(json!({"throttle": {"limit": 3}}), &world);
    let good = mint(1);
    assert_eq!(worker.ask(&good.key, &world), "wait");
    let call = worker.lookup(&world).unwrap();
    worker.answered(&call, "200", &found(1, "k1", &good.key), &world);
    // The same id with other secrets, each from another address.
    let forged = |number: u8| {
        let mut bytes = number;
        let other = Format::new("tg", "live", false).unwrap().mint(|| {
            bytes = bytes.wrapping_mul(29).wrapping_add(3);
            bytes & 0x7f
        });
        let secret = other.key.rsplit('_').next().unwrap().get(..43).unwrap();
        crate::auth::api_key::format::signed(&format!("tg_live_{}_{secret}", good.id))
    };
    for number in 0..2 {
        world.address.set(Some([192, 0, 2, number].into()));
        assert_eq!(worker.ask(&forged(number), &world), "wait");
    }
    world.address.set(Some([192, 0, 2, 100].into()));
    assert_eq!(worker.ask(&forged(100), &world), "too many for 60");
    pass(&world, 59_000);
    assert_eq!(worker.ask(&good.key, &world), "k1 of u1");
    assert_eq!(worker.ask(&forged(101), &world), "too many for 1");
    // Its cache entry has expired and the limit of its id is reached: it is looked up anyway.
    world.now.set(NOW + 60_000 - 1);
    assert_eq!(worker.ask(&good.key, &world), "k1 of u1");
    world.now.set(NOW + 60_000);
    for number in 0..3 {
        worker.ask(&forged(200 + number), &world);
    }
    assert_eq!(worker.ask(&good.key, &world), "wait");
}

#[test]
fn a_new_configuration_takes_over_and_the_old_question_goes_unheard() {
    let world = world();
    let old = worker(&world);
    let feed = old.changes.next_call(&world.at(NOW)).unwrap();
    let new = worker(&world);
    let taken = new.changes.next_call(&world.at(NOW)).unwrap();
    assert!(
        new.changed(&taken, &json!({"version": 3, "all": true, "hashes": []}), &world)
            .is_some()
    );
    let none = old.changed(&feed, &json!({"version": 2, "all": true, "hashes": []}), &world);
    assert!(none.is_none(), "its lease is another's");
    let kept = new.changes.next_call(&world.at(NOW + 60_000)).unwrap();
    assert_eq!(header(&kept, ":path"), Some("/v1/keys/changes?wait=10&after=3"));
}

#[test]
fn a_feed_that_fails_is_asked_again_after_a_pause() {
    let world = world();
    let worker = worker(&world);
    for pause in [250, 500, 1000, 1000] {
        let call = worker.changes.next_call(&world.cx()).unwrap();
        assert!(
            worker
                .changes
                .answer(&call, Err(Lost::Unsent), &world.cx())
                .next
                .is_none()
        );
        pass(&world, pause - 1);
        assert!(worker.changes.next_call(&world.cx()).is_none());
        pass(&world, 1);
    }
    assert!(worker.changes.next_call(&world.cx()).is_some());
}

#[test]
fn one_asks_for_changes_however_long_an_answer_may_take() {
    for timeout in ["250ms", "5s", "30s"] {
        let world = world();
        let lookup = json!({"cluster": "keys", "token": {"env": "TOKEN"}, "timeout": timeout});
        let (first, second) = (
            worker_with(json!({"lookup": lookup}), &world),
            worker_with(json!({"lookup": lookup}), &world),
        );
        let asks = |worker: &Worker, now| worker.changes.next_call(&world.at(now)).is_some();
        assert!(asks(&first, NOW));
        // Another worker's clock may be a little behind.
        for now in [NOW, NOW + 1, NOW - 100, NOW + 11_000] {
            assert!(!asks(&first, now) && !asks(&second, now), "{timeout} {now}");
        }
        assert!(asks(&second, NOW - 3_600_000), "the clock was set back");
    }
}
