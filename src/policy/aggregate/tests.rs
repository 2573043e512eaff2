use std::rc::Rc;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::exchange::Exchange;
use crate::gateway::plan::Plan;
use crate::gateway::worker::{CallId, Worker};
use crate::http::headers::Headers;
use crate::seam::simulated::Simulated;
use crate::seam::{Answer, Call, Event, Lost, Step, StreamId, Then, Wakeup};

/// A request under way, with what a shell keeps of it.
struct Visit {
    worker: Rc<Worker>,
    exchange: Exchange,
    world: Simulated,
    step: Step,
    /// How often it was woken up.
    woken: usize,
}

impl Visit {
    fn begin(config: &Value, headers: &[(&str, &str)]) -> Self {
        let environment = [("SECRET".to_owned(), "k".repeat(32))].into_iter().collect();
        let plan = Plan::of(config, &environment).unwrap();
        Self::with(&plan, headers)
    }

    fn with(plan: &Arc<Plan>, headers: &[(&str, &str)]) -> Self {
        let worker = Rc::new(Worker::new(Arc::clone(plan)));
        let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(0));
        let world = Simulated::default();
        world.now.set(1_700_000_000_000);
        let usual = [(":method", "GET"), (":authority", "h"), (":path", "/")];
        let usual = usual
            .into_iter()
            .filter(|(name, _)| !headers.iter().any(|(own, _)| own == name));
        let event = Event::RequestHeaders {
            headers: Rc::new(usual.chain(headers.iter().copied()).collect()),
            route_name: None,
            has_body: false,
        };
        let step = exchange.on(event, &world);
        Self {
            worker,
            exchange,
            world,
            step,
            woken: 0,
        }
    }

    fn calls(&self) -> Vec<(CallId, Rc<Call>)> {
        self.worker.attend(&self.world).calls
    }

    /// Answers a call; `None` if it could not be sent.
    fn answer(&mut self, id: CallId, answer: Option<Answer>) {
        let agenda = self.worker.answered(id, answer.ok_or(Lost::Unsent), &self.world);
        if !agenda.wakeups.is_empty() {
            self.woken = self.woken.saturating_add(1);
            self.step = self.exchange.wake(Wakeup::Due, &self.world).unwrap().step;
        }
    }

    fn status(&self) -> Option<u16> {
        self.step.reply().map(|reply| reply.status)
    }

    fn body(&self) -> Value {
        serde_json::from_slice(&self.step.reply().unwrap().body).unwrap()
    }
}

fn config(parts: &Value, aggregate: &Value) -> Value {
    json!({
        "version": 1,
        "identity": {"proof": {"secret": {"env": "SECRET"}}},
        "parts": parts,
        "routes": [{"match": {"path_prefix": "/"}, "public": true, "aggregate": aggregate}],
    })
}

fn header<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let mut found = call.headers.iter().filter(|(own, _)| own == name);
    found.next().map(|(_, value)| value.as_str())
}

#[test]
fn a_part_has_a_proof_of_its_own_method_and_path() {
    let config = config(
        &json!({"a": {"cluster": "c", "authority": "a.test", "path": "/a", "query": {"b": "x y"}}}),
        &json!({"body": "{parts.a}"}),
    );
    let forged = [
        ("x-tollgate-proof", "forged"),
        ("x-user-id", "root"),
        ("x-request-id", "r1"),
    ];
    let visit = Visit::begin(&config, &forged);
    let calls = visit.calls();
    let call = &calls[0].1;
    assert_eq!(header(call, ":path"), Some("/a?b=x%20y"));
    assert_eq!(header(call, "x-request-id"), Some("r1"));
    assert_eq!(header(call, "x-user-id"), None);
    let mut mac = Hmac::<Sha256>::new_from_slice(&[b'k'; 32]).unwrap();
    mac.update(b"v2\n1700000000\nGET\na.test\n/a?b=x%20y");
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let proofs = call.headers.iter().filter(|(name, _)| name == "x-tollgate-proof");
    let proofs: Vec<_> = proofs.map(|(_, value)| value.as_str()).collect();
    assert_eq!(proofs, [format!("t=1700000000,v2={digest}")]);
}

#[test]
fn a_call_that_cannot_be_sent_is_the_breakers_word() {
    let optional = json!({"b": {"cluster": "c", "path": "/b", "default": []}});
    let mut visit = Visit::begin(&config(&optional, &json!({"body": ["{parts.b}"]})), &[]);
    let id = visit.calls()[0].0;
    visit.answer(id, None);
    assert_eq!((visit.status(), visit.body()), (Some(200), json!([[]])));
    let told = visit.step.reply().unwrap().headers.first("x-tollgate-incomplete");
    assert_eq!(told, Some("b;code=unavailable"));
    let required = json!({"a": {"cluster": "c", "path": "/a"}});
    let mut visit = Visit::begin(&config(&required, &json!({"body": ["{parts.a}"]})), &[]);
    let id = visit.calls()[0].0;
    visit.answer(id, None);
    assert_eq!(visit.status(), Some(503));
    let reply = visit.step.reply().unwrap();
    assert_eq!(reply.headers.first("retry-after"), Some("1"));
    assert_eq!(reply.details, "tollgate{part_unavailable:unavailable:a}");
}

#[test]
fn a_path_that_is_too_long_is_not_called() {
    let parts = json!({
        "a": {"cluster": "c", "path": "/a"},
        "b": {"cluster": "c", "path": "/b/{parts.a}", "default": null},
        "c": {"cluster": "c", "path": "/c", "query": {"q": "{parts.a}"}, "default": null},
    });
    for (length, expected) in [
        (2000, None),
        (2100, Some("b;code=target")),
        (8300, Some("b;code=target, c;code=target")),
    ] {
        let mut visit = Visit::begin(&config(&parts, &json!({"body": ["{parts.b}", "{parts.c}"]})), &[]);
        let id = visit.calls()[0].0;
        visit.answer(id, Some(Answer::new("200", json!("x".repeat(length)).to_string())));
        for (id, _) in visit.calls() {
            visit.answer(id, Some(Answer::new("200", "1")));
        }
        assert_eq!(
            visit.step.reply().unwrap().headers.first("x-tollgate-incomplete"),
            expected,
            "{length}"
        );
    }
}

#[test]
fn grpc_is_refused_before_any_call() {
    let config = config(
        &json!({"a": {"cluster": "c", "path": "/a"}}),
        &json!({"body": "{parts.a}"}),
    );
    let visit = Visit::begin(&config, &[("content-type", "application/grpc"), (":method", "POST")]);
    assert_eq!(visit.step.reply().and_then(|reply| reply.grpc_status), Some(3));
    assert!(visit.calls().is_empty());
}

#[test]
fn who_leaves_before_a_call_is_sent_makes_none() {
    let config = config(
        &json!({"a": {"cluster": "c", "path": "/a"}}),
        &json!({"body": "{parts.a}"}),
    );
    let Visit {
        worker,
        exchange,
        world,
        step,
        ..
    } = Visit::begin(&config, &[]);
    assert_eq!(step.then, Then::Wait);
    drop(exchange);
    worker.leave(StreamId(0));
    assert!(worker.attend(&world).calls.is_empty());
}

#[test]
fn the_deadline_ends_all_that_is_under_way() {
    let parts = json!({
        "a": {"cluster": "c", "path": "/a", "default": null},
        "b": {"cluster": "c", "path": "/b/{parts.a.id}", "default": null},
        "each": {"cluster": "c", "path": "/c/{item.id}", "default": null},
    });
    let aggregate = json!({
        "deadline": "100ms",
        "each": [{"part": "each", "of": "a[*]"}],
        "body": ["{parts.a}", "{parts.b}", "{parts.each}", "{errors}"],
    });
    let mut visit = Visit::begin(&config(&parts, &aggregate), &[]);
    let calls = visit.calls();
    assert_eq!(calls[0].1.timeout.as_millis(), 100, "cut to the deadline");
    visit.world.now.set(1_700_000_000_100);
    let agenda = visit.worker.attend(&visit.world);
    assert_eq!(agenda.wakeups, [(StreamId(0), Wakeup::TimeOver)]);
    let step = visit.exchange.wake(Wakeup::TimeOver, &visit.world).unwrap().step;
    let body: Value = serde_json::from_slice(&step.reply().unwrap().body).unwrap();
    let late = |part: &str| json!({"part": part, "code": "deadline"});
    assert_eq!(body, json!([null, null, null, [late("a"), late("b"), late("each")]]));
}

proptest! {
    /// Whatever a service or a client says, a call has the path segments, parameters and headers that its template has.
    #[test]
    fn no_value_is_more_than_one_value(value in ".{0,40}", bytes in "[ -~é]{0,20}") {
        let parts = json!({
            "a": {"cluster": "c", "path": "/a"},
            "b": {
                "cluster": "c", "path": "/b/{parts.a}/c", "query": {"q": "{parts.a}", "p": "{headers.x-own}"},
                "headers": {"x-value": "{parts.a}", "x-own": "{headers.x-own}"}, "default": null,
            },
        });
        let config = config(&parts, &json!({"body": ["{parts.b}"]}));
        let mut visit = Visit::begin(&config, &[("x-own", &bytes)]);
        let id = visit.calls()[0].0;
        visit.answer(id, Some(Answer::new("200", json!(value).to_string())));
        let Some((_, call)) = visit.calls().pop() else {
            // It is not called with a path that could be read in two ways.
            prop_assert_eq!(visit.status(), Some(200));
            return Ok(());
        };
        let target = header(&call, ":path").unwrap();
        let (path, query) = target.split_once('?').unwrap();
        prop_assert_eq!(path.split('/').count(), 4);
        prop_assert!(!path.split('/').any(|segment| segment.is_empty() && !path.starts_with('/') || segment == ".."));
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        prop_assert_eq!(pairs, [("q".to_owned(), value), ("p".to_owned(), bytes)]);
        let names: Vec<_> = call.headers.iter().map(|(name, _)| name.as_ref()).collect();
        prop_assert_eq!(
            names,
            [":method", ":path", ":authority", "accept", "x-own", "x-value", "x-tollgate-proof"]
        );
        for (_, value) in &call.headers {
            prop_assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{}", value);
        }
    }
}

#[test]
fn a_worker_that_holds_much_is_asked_for_nothing_more() {
    let mut config = config(
        &json!({"a": {"cluster": "c", "path": "/a"}}),
        &json!({"body": "{parts.a}"}),
    );
    config["part_limits"] = json!({"requests": 1});
    let environment = [("SECRET".to_owned(), "k".repeat(32))].into_iter().collect();
    let plan = Plan::of(&config, &environment).unwrap();
    let first = Visit::with(&plan, &[]);
    assert_eq!(first.step.then, Then::Wait);
    let mut second = Exchange::new(Rc::clone(&first.worker), StreamId(1));
    let pairs: Headers = [(":method", "GET"), (":authority", "h"), (":path", "/")]
        .into_iter()
        .collect();
    let event = |headers: &Headers| Event::RequestHeaders {
        headers: Rc::new(headers.clone()),
        route_name: None,
        has_body: false,
    };
    let refused = second.on(event(&pairs), &first.world);
    assert_eq!(refused.reply().map(|reply| reply.status), Some(503));
    assert_eq!(first.calls().len(), 1, "of the first alone");
    drop(first.exchange);
    first.worker.leave(StreamId(0));
    let mut third = Exchange::new(Rc::clone(&first.worker), StreamId(2));
    assert_eq!(third.on(event(&pairs), &first.world).then, Then::Wait);
}

#[test]
fn one_source_has_half_of_the_places() {
    let config = config(
        &json!({"a": {"cluster": "c", "path": "/a"}}),
        &json!({"body": "{parts.a}"}),
    );
    let environment = [("SECRET".to_owned(), "k".repeat(32))].into_iter().collect();
    let plan = Plan::of(&config, &environment).unwrap();
    let worker = Rc::new(Worker::new(plan));
    let world = Simulated::default();
    let pairs: Headers = [(":method", "GET"), (":authority", "h"), (":path", "/")]
        .into_iter()
        .collect();
    let headers = Rc::new(pairs);
    let mut held = Vec::new();
    let mut visit = |last: u8, count: u64| {
        world.address.set(Some([192, 0, 2, last].into()));
        let waits = (0..count).filter(|_| {
            let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(held.len() as u64));
            let event = Event::RequestHeaders {
                headers: Rc::clone(&headers),
                route_name: None,
                has_body: false,
            };
            let waits = exchange.on(event, &world).then == Then::Wait;
            held.push(exchange);
            waits
        });
        waits.count()
    };
    assert_eq!(visit(1, 600), 512);
    assert_eq!(visit(2, 600), 128, "an eighth of the places, where half are taken");
    for last in 3..6 {
        assert_eq!(visit(last, 600), 128);
    }
    assert_eq!(visit(6, 600), 0, "1,024 in all");
    assert_eq!(
        worker.attend(&world).calls.len(),
        1024,
        "none for those that were refused"
    );
}

#[test]
fn only_an_answer_that_lets_something_happen_wakes_its_request() {
    let parts = json!({
        "a": {"cluster": "a", "path": "/a"},
        "b": {"cluster": "b", "path": "/b", "default": null},
        "c": {"cluster": "c", "path": "/c/{parts.a.id}", "default": null},
        "d": {"cluster": "d", "path": "/d"},
    });
    let body = json!({"b": "{parts.b}", "c": "{parts.c}", "d": "{parts.d}"});
    let config = config(&parts, &json!({"body": body}));
    // Each answer with how often the request has then been woken up, and its status.
    for answers in [
        [("b", "500", 0), ("d", "200", 0), ("a", "200", 1), ("c", "200", 2)].as_slice(),
        &[("a", "200", 1), ("c", "200", 1), ("d", "200", 1), ("b", "200", 2)],
        &[("b", "200", 0), ("d", "500", 1)],
    ] {
        let mut visit = Visit::begin(&config, &[]);
        let mut calls = visit.calls();
        for (place, (cluster, status, woken)) in answers.iter().enumerate() {
            let at = calls.iter().position(|(_, call)| call.cluster == *cluster).unwrap();
            let (id, _) = calls.remove(at);
            visit.answer(id, Some(Answer::new(status, r#"{"id":1}"#)));
            calls.extend(visit.calls());
            assert_eq!(visit.woken, *woken, "{answers:?} {place}");
        }
        let is_whole = answers.len() == 4;
        assert_eq!(visit.status(), Some(if is_whole { 200 } else { 502 }));
    }
}
