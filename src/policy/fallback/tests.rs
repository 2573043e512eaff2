use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::Environment;
use crate::exchange::Exchange;
use crate::gateway::plan::Plan;
use crate::gateway::worker::Worker;
use crate::http::headers::Headers;
use crate::seam::simulated::Simulated;
use crate::seam::{Answer, Event, Lost, Note, Step, StreamId, Then, Wakeup};

fn compile(fallback: &Value) -> Result<Arc<Plan>, String> {
    let rule = json!({"name": "r", "match": {"path_prefix": "/"}, "public": true, "fallback": fallback});
    let config = json!({"version": 1, "routes": [rule]});
    Plan::of(&config, &Environment::default())
}

/// An allowed request, with a worker of its own.
fn begin(plan: &Arc<Plan>, world: &Simulated, method: &str) -> (Exchange, Rc<Worker>) {
    let target = [
        (":method", method),
        (":authority", "h"),
        (":path", "/a?b"),
        ("te", "trailers"),
        ("x-a", "1"),
    ];
    let worker = Rc::new(Worker::new(Arc::clone(plan)));
    let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(0));
    exchange.on(request(target.into_iter().collect()), world);
    (exchange, worker)
}

fn request(headers: Headers) -> Event<'static> {
    Event::RequestHeaders {
        headers: Rc::new(headers),
        route_name: None,
        has_body: false,
    }
}

/// Passes a response with a body to the exchange.
fn respond(exchange: &mut Exchange, world: &Simulated, status: &str) -> Step {
    let headers: Headers = [(":status", status), ("x-theirs", "1")].into_iter().collect();
    let event = Event::ResponseHeaders {
        headers: Rc::new(headers),
        has_body: true,
    };
    exchange.on(event, world)
}

/// The origin of a replacement, from its header.
fn stands_in(step: &Step) -> Option<String> {
    let marker = step.headers.get(b"x-tollgate-fallback")?;
    Some(String::from_utf8(marker[0].clone()).unwrap())
}

fn has_failed(world: &Simulated, flag: u64) {
    world.flags.set(Some(flag));
}

#[test]
fn each_failure_is_known_by_envoys_flag() {
    for (name, flag) in [
        ("no_healthy_upstream", 0x2),
        ("timeout", 0x4),
        ("remote_reset", 0x10),
        ("connection_failure", 0x20),
        ("connection_termination", 0x40),
        ("overflow", 0x80),
    ] {
        let world = Simulated::default();
        let answer = json!({"status": 200});
        let plan = compile(&json!({"when": [name], "answer": answer})).unwrap();
        has_failed(&world, flag);
        let step = respond(&mut begin(&plan, &world, "GET").0, &world, "503");
        assert_eq!(stands_in(&step).as_deref(), Some("answer"), "{name}");
        let count = format!("tollgate_fallbacks_total;route=r;failure={name};served=answer;");
        assert!(step.notes.contains(&Note::Count(count.as_str().into())), "{step:?}");
        // Any other flag, no flag, and the upstream's own response.
        for flags in [Some(!flag & !0xf6 | (0xf6 & !flag)), Some(0), None] {
            world.flags.set(flags);
            assert_eq!(
                stands_in(&respond(&mut begin(&plan, &world, "GET").0, &world, "503")),
                None,
                "{name}"
            );
        }
    }
}

#[test]
fn nothing_of_the_failures_own_answer_is_left() {
    let world = Simulated::default();
    let plan = compile(&json!({"answer": {"status": 299, "headers": {"X-B": "2"}, "body": "text"}})).unwrap();
    has_failed(&world, 0x20);
    let step = respond(&mut begin(&plan, &world, "GET").0, &world, "503");
    let actual: Headers = [(":status", "503"), ("x-theirs", "1"), ("content-length", "99")]
        .into_iter()
        .collect();
    let fields = step.headers.applied_to(&actual);
    let mut fields: Vec<_> = fields
        .map(|(name, value)| {
            [name, value]
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .join(": ")
        })
        .collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            ":status: 299",
            "content-length: 4",
            "content-type: text/plain; charset=utf-8",
            "x-b: 2",
            "x-tollgate-fallback: answer"
        ]
    );
}

#[test]
fn a_head_request_gets_headers_in_place() {
    let world = Simulated::default();
    let plan = compile(&json!({"answer": {"status": 200, "body": "text"}})).unwrap();
    has_failed(&world, 0x20);
    let headers: Headers = [(":status", "503"), ("content-length", "99")].into_iter().collect();
    let headers = Rc::new(headers);
    let event = Event::ResponseHeaders {
        headers: Rc::clone(&headers),
        has_body: false,
    };
    let step = begin(&plan, &world, "HEAD").0.on(event, &world);
    assert_eq!(step.then, Then::Continue);
    let fields: Headers = step.headers.applied_to(&headers).collect();
    assert_eq!(
        (fields.first(":status"), fields.first("content-length")),
        (Some("200"), Some("4"))
    );
}

#[test]
fn another_cluster_is_asked_once_then_the_answer_is_given() {
    let plan = compile(&json!({"cluster": {"name": "c"}, "answer": {"status": 200}})).unwrap();
    let ask = |answer: Option<Answer>| {
        let world = Simulated::default();
        has_failed(&world, 0x2);
        let (mut exchange, worker) = begin(&plan, &world, "GET");
        assert_eq!(respond(&mut exchange, &world, "503"), Step::wait());
        let agenda = worker.attend(&world);
        assert!(agenda.wakeups.is_empty() && agenda.is_awaited);
        let [(id, call)] = agenda.calls.as_slice() else {
            panic!("{agenda:?}");
        };
        let headers: Vec<_> = call
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(headers, [":method: GET", ":authority: h", ":path: /a?b", "x-a: 1"]);
        let agenda = worker.answered(*id, answer.clone().ok_or(Lost::Unsent), &world);
        assert_eq!(agenda.wakeups, [(StreamId(0), Wakeup::Due)]);
        assert!(!worker.attend(&world).is_awaited);
        stands_in(&exchange.wake(Wakeup::Due, &world).unwrap().step)
    };
    assert_eq!(ask(Some(Answer::new("200", "x"))).as_deref(), Some("cluster"));
    assert_eq!(ask(Some(Answer::new("404", "x"))).as_deref(), Some("cluster"));
    assert_eq!(ask(Some(Answer::new("500", "x"))).as_deref(), Some("answer"));
    assert_eq!(
        ask(Some(Answer::new("200", vec![0; (1 << 20) + 1]))).as_deref(),
        Some("answer")
    );
    assert_eq!(ask(Some(Answer::default())).as_deref(), Some("answer"));
    assert_eq!(ask(None).as_deref(), Some("answer"));

    // No answer in time; no place to wait; a method that changes data.
    let world = Simulated::default();
    has_failed(&world, 0x2);
    let (mut exchange, worker) = begin(&plan, &world, "GET");
    assert_eq!(respond(&mut exchange, &world, "503"), Step::wait());
    world.now.set(1999);
    assert_eq!(worker.attend(&world).wakeups, []);
    world.now.set(2000);
    assert_eq!(worker.attend(&world).wakeups, [(StreamId(0), Wakeup::TimeOver)]);
    let woken = exchange.wake(Wakeup::TimeOver, &world).unwrap();
    assert_eq!(stands_in(&woken.step).as_deref(), Some("answer"));
    assert!(
        exchange.wake(Wakeup::Due, &world).is_none(),
        "it waits for nothing any more"
    );
    let mut held = Exchange::impatient(Rc::clone(&worker), StreamId(1));
    held.on(
        request(
            [(":method", "GET"), (":authority", "h"), (":path", "/")]
                .into_iter()
                .collect(),
        ),
        &world,
    );
    assert_eq!(stands_in(&respond(&mut held, &world, "503")).as_deref(), Some("answer"));
    let posted = respond(&mut begin(&plan, &world, "POST").0, &world, "503");
    assert_eq!(stands_in(&posted), None);
}

#[test]
fn a_grpc_client_gets_no_answer_that_it_cannot_read() {
    let world = Simulated::default();
    let plan = compile(&json!({"statuses": ["5xx"], "answer": {"status": 200}})).unwrap();
    for (content_type, expected) in [("application/grpc", None), ("application/json", Some("answer"))] {
        let headers: Headers = [
            (":method", "GET"),
            (":authority", "h"),
            (":path", "/"),
            ("content-type", content_type),
        ]
        .into_iter()
        .collect();
        let worker = Rc::new(Worker::new(Arc::clone(&plan)));
        let mut exchange = Exchange::new(worker, StreamId(0));
        exchange.on(request(headers), &world);
        let step = respond(&mut exchange, &world, "503");
        assert_eq!(stands_in(&step).as_deref(), expected, "{content_type}");
    }
}

#[test]
fn mistakes_are_named() {
    let answer = json!({"status": 200});
    for (fallback, expected) in [
        (json!({"when": ["timeout"]}), "routes[0].fallback: has no replacement"),
        (
            json!({"when": [], "answer": answer}),
            "routes[0].fallback.when: is empty",
        ),
        (
            json!({"when": ["slow"], "answer": answer}),
            "routes[0].fallback.when[0]: unknown variant `slow`",
        ),
        (
            json!({"statuses": [200], "answer": answer}),
            "routes[0].fallback.statuses[0]: 200 is not a status of a failure",
        ),
        (
            json!({"methods": ["GET", "get"], "answer": answer}),
            "routes[0].fallback.methods[1]: \"get\" is not",
        ),
        (
            json!({"methods": ["POST"], "last_good": {}}),
            "routes[0].fallback.methods[0]: POST needs `answer`",
        ),
        (
            json!({"cluster": {"name": ""}}),
            "routes[0].fallback.cluster.name: must not be empty",
        ),
        (
            json!({"cluster": {"name": "c", "timeout": "3s"}}),
            "routes[0].fallback.cluster.timeout: must be from 1ms to",
        ),
        (
            json!({"last_good": {"entries": 0}}),
            "routes[0].fallback.last_good: keeps nothing",
        ),
        (
            json!({"last_good": {"max_age": "0s"}}),
            "routes[0].fallback.last_good: keeps nothing",
        ),
        (
            json!({"last_good": {"entries": 100_000}}),
            "routes[0].fallback.last_good: `entries` times `max_bytes`",
        ),
        (
            json!({"answer": {"status": 100}}),
            "routes[0].fallback.answer.status: 100 is not a status",
        ),
        (
            json!({"answer": {"status": 204, "body": "x"}}),
            "routes[0].fallback.answer.body: a response of 204 has none",
        ),
        (
            json!({"answer": {"status": 200, "headers": {"content-length": "1"}}}),
            "routes[0].fallback.answer.headers",
        ),
        (
            json!({"answer": {"status": 200, "headers": {"x-a": "a\nb"}}}),
            "routes[0].fallback.answer.headers.x-a: has a",
        ),
        (
            json!({"answer": {}}),
            "routes[0].fallback.answer: missing field `status`",
        ),
        (json!({"last": {}}), "routes[0].fallback.last: unknown field `last`"),
    ] {
        let error = compile(&fallback).unwrap_err();
        assert!(error.starts_with(expected), "{fallback}: {error}");
    }
    for good in [
        json!({}),
        json!({"last_good": {}}),
        json!({"answer": answer, "methods": ["POST"]}),
    ] {
        compile(&good).unwrap();
    }
}

#[test]
fn of_a_crowd_only_those_ask_who_can_wait_for_the_answer() {
    let plan = compile(&json!({"cluster": {"name": "c"}, "answer": {"status": 200}})).unwrap();
    let world = Simulated::default();
    has_failed(&world, 0x2);
    let worker = Rc::new(Worker::new(plan));
    let answered = (0..300).filter(|number| {
        let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(*number));
        let headers = [(":method", "GET"), (":authority", "h"), (":path", "/")];
        exchange.on(request(headers.into_iter().collect()), &world);
        stands_in(&respond(&mut exchange, &world, "503")).as_deref() == Some("answer")
    });
    assert_eq!((answered.count(), worker.attend(&world).calls.len()), (236, 64));
}
