use std::rc::Rc;

use serde_json::{Value, json};

use crate::config::{Environment, decode};
use crate::effect::{Effect, applied};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::headers::Headers;
use crate::plan::Plan;
use crate::remote::Answer;
use crate::world::simulated::Simulated;

fn compile(fallback: &Value) -> Result<Rc<Plan>, String> {
    let rule = json!({"name": "r", "match": {"path_prefix": "/"}, "public": true, "fallback": fallback});
    let config = json!({"version": 1, "routes": [rule]});
    let plan = decode(config.to_string().as_bytes())
        .map_err(|error| vec![error])
        .and_then(|config| Plan::compile(&config, &Environment::default()));
    plan.map(Rc::new).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        errors.join("\n")
    })
}

/// A request that has passed.
fn begin(plan: &Rc<Plan>, world: &Simulated, method: &str) -> Exchange {
    let target = [
        (":method", method),
        (":authority", "h"),
        (":path", "/a?b"),
        ("te", "trailers"),
        ("x-a", "1"),
    ];
    let headers: Headers = target.into_iter().collect();
    let mut exchange = Exchange::new(Rc::clone(plan));
    let event = Event::RequestHeaders {
        headers: &headers,
        route_name: None,
        may_wait: true,
        has_body: false,
    };
    exchange.on(event, world);
    exchange
}

/// Tells a response with a body.
fn respond(exchange: &mut Exchange, world: &Simulated, status: &str, may_wait: bool) -> Vec<Effect> {
    let headers: Headers = [(":status", status), ("x-theirs", "1")].into_iter().collect();
    let event = Event::ResponseHeaders {
        headers: &headers,
        may_wait,
        has_body: true,
    };
    exchange.on(event, world)
}

/// What stands in, by its own word.
fn stands_in(effects: &[Effect]) -> Option<String> {
    applied(&Headers::default(), effects)
        .first("x-tollgate-fallback")
        .map(str::to_owned)
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
        let effects = respond(&mut begin(&plan, &world, "GET"), &world, "503", true);
        assert_eq!(stands_in(&effects).as_deref(), Some("answer"), "{name}");
        let count = format!("tollgate_fallbacks_total;route=r;failure={name};served=answer;");
        assert!(effects.contains(&Effect::Count(count.as_str().into())), "{effects:?}");
        // Any other flag, none at all, and a response of the upstream's own.
        for flags in [Some(!flag & !0xf6 | (0xf6 & !flag)), Some(0), None] {
            world.flags.set(flags);
            assert_eq!(
                stands_in(&respond(&mut begin(&plan, &world, "GET"), &world, "503", true)),
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
    let effects = respond(&mut begin(&plan, &world, "GET"), &world, "503", true);
    let actual: Headers = [(":status", "503"), ("x-theirs", "1"), ("content-length", "99")]
        .into_iter()
        .collect();
    let fields = applied(&actual, &effects);
    let mut fields: Vec<_> = fields
        .iter()
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
    let event = Event::ResponseHeaders {
        headers: &headers,
        may_wait: true,
        has_body: false,
    };
    let effects = begin(&plan, &world, "HEAD").on(event, &world);
    assert!(
        !effects.iter().any(|effect| matches!(effect, Effect::Respond(_))),
        "{effects:?}"
    );
    let fields = applied(&headers, &effects);
    assert_eq!(
        (fields.first(":status"), fields.first("content-length")),
        (Some("200"), Some("4"))
    );
}

#[test]
fn another_cluster_is_asked_once_then_the_answer_is_given() {
    let plan = compile(&json!({"cluster": {"name": "c"}, "answer": {"status": 200}})).unwrap();
    let cluster = Rc::clone(&plan.remotes[0]);
    let ask = |answer: Option<Answer>| {
        let world = Simulated::default();
        has_failed(&world, 0x2);
        let mut exchange = begin(&plan, &world, "GET");
        assert_eq!(respond(&mut exchange, &world, "503", true), [Effect::Wait]);
        assert!(!exchange.is_ready(&world.store));
        let call = cluster.call(0, &world.store).unwrap();
        let headers: Vec<_> = call
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(headers, [":method: GET", ":authority: h", ":path: /a?b", "x-a: 1"]);
        assert!(cluster.is_awaited(0));
        cluster.answer(&call, answer.as_ref(), 0, &world.store);
        assert!(exchange.is_ready(&world.store) && !cluster.is_awaited(0));
        stands_in(&respond(&mut exchange, &world, "503", true))
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

    // Nobody answers in time; nothing can be held; a method that changes things.
    let world = Simulated::default();
    has_failed(&world, 0x2);
    let mut exchange = begin(&plan, &world, "GET");
    assert_eq!(respond(&mut exchange, &world, "503", true), [Effect::Wait]);
    assert_eq!(
        stands_in(&respond(&mut exchange, &world, "503", true)).as_deref(),
        Some("answer")
    );
    assert!(exchange.is_ready(&world.store), "it waits for nothing any more");
    let held = respond(&mut begin(&plan, &world, "GET"), &world, "503", false);
    assert_eq!(stands_in(&held).as_deref(), Some("answer"));
    let posted = respond(&mut begin(&plan, &world, "POST"), &world, "503", true);
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
        let mut exchange = Exchange::new(Rc::clone(&plan));
        let event = Event::RequestHeaders {
            headers: &headers,
            route_name: None,
            may_wait: false,
            has_body: false,
        };
        exchange.on(event, &world);
        let effects = respond(&mut exchange, &world, "503", true);
        assert_eq!(stands_in(&effects).as_deref(), expected, "{content_type}");
    }
}

#[test]
fn mistakes_are_named() {
    let answer = json!({"status": 200});
    for (fallback, expected) in [
        (
            json!({"when": ["timeout"]}),
            "routes[0].fallback: has nothing to stand in",
        ),
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
            "routes[0].fallback.statuses[0]: 200 is none of a failure",
        ),
        (
            json!({"methods": ["GET", "get"], "answer": answer}),
            "routes[0].fallback.methods[1]: \"get\" is not",
        ),
        (
            json!({"methods": ["POST"], "last_good": {}}),
            "routes[0].fallback.methods[0]: POST is for `answer` alone",
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
