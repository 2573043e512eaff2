//! Any bytes as the answers of parts, and as the body of a request: the run ends, and what it answers is JSON.
#![no_main]

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tollgate::config::Environment;
use tollgate::exchange::Exchange;
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;
use tollgate::gateway::worker::Worker;
use tollgate::http::headers::Headers;
use tollgate::http::piece::Chunk;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Answer, Event, Step, StreamId, Then, Wakeup};

thread_local! {
    static PLAN: OnceCell<Arc<Plan>> = const { OnceCell::new() };
}

/// The dashboard of docs/AGGREGATION.md, for anybody, and an aggregate that reads the request's body.
fn plan() -> Arc<Plan> {
    let config = json!({
        "version": 1,
        "identity": {"proof": {"secret": {"env": "SECRET"}}},
        "parts": {
            "profile": {
                "cluster": "user-service", "path": "/v1/users/{query.user|u1}", "statuses": {"pass": [404]},
                "response": {"keep": ["id", "name", "email", "avatar_url"], "rename": {"avatar_url": "avatar"}},
            },
            "orders": {
                "cluster": "order-service", "path": "/v1/orders", "query": {"limit": "{args.limit|5}", "sort": "-placed_at"},
                "response": {"unwrap": "items", "keep": ["[*].id", "[*].total", "[*].product_id"]}, "default": [],
            },
            "metrics": {
                "cluster": "analytics-service", "path": "/v1/users/{parts.profile.id}/dashboard",
                "headers": {"x-name": "{parts.profile.name}"}, "cache": "10s", "default": null,
            },
            "product": {
                "cluster": "product-service", "path": "/v1/products", "query": {"ids": "{keys}"},
                "batch": {"key": "{item.product_id}", "by": "id", "max": 3}, "anonymous": true,
                "response": {"unwrap": "products", "move": {"[*].a.b": "[*].c"}}, "default": null,
            },
            "related": {"cluster": "product-service", "path": "/v1/related/{item.id}", "when": "{item.total}", "default": 1},
            "create": {"cluster": "order-service", "method": "POST", "path": "/v1/orders", "body": {"items": "{body.items}", "text": "a {body.text}"}},
        },
        "routes": [
            {
                "match": {"path": "/dashboard"}, "public": true, "response": {"presets": ["security"]},
                "aggregate": {
                    "args": {"limit": {"value": "{query.limit|5}", "integer": [1, 50]}},
                    "each": [{"part": "product", "of": "orders[*]", "as": "product"}, {"part": "related", "of": "orders[*]"}],
                    "merge": ["metrics", "profile"],
                    "body": {
                        "profile": "{parts.profile}", "name": "Dear {parts.profile.name}", "recentOrders": "{parts.orders}",
                        "related": "{parts.related}", "metrics": "{parts.metrics}", "errors": "{errors}",
                    },
                },
            },
            {
                "match": {"path": "/orders", "methods": ["POST"]}, "public": true,
                "aggregate": {"body": ["{parts.create}", "{body.items}"]},
            },
        ],
    });
    let config = decode(config.to_string().as_bytes()).expect("a configuration");
    Arc::new(Plan::compile(&config, &Environment::from([("SECRET".to_owned(), "s".repeat(32))])).expect("a plan"))
}

/// Pieces of the input, one for each answer; the first byte of a piece tells how the call ends.
struct Answers<'a>(std::slice::Split<'a, u8, fn(&u8) -> bool>);

impl Answers<'_> {
    fn next(&mut self) -> Option<Answer> {
        let piece = self.0.next().unwrap_or_default();
        let (first, body) = piece.split_first().unwrap_or((&0, piece));
        let status = match first {
            b'!' => return None,
            b'?' => return Some(Answer::default()),
            b'4' => "404",
            b'5' => "500",
            b'T' => "504",
            b'N' => "204",
            _ => "200",
        };
        let body = if *first == b'[' || *first == b'{' { piece } else { body };
        Some(Answer {
            headers: [(":status", status)].into_iter().collect(),
            trailers: Headers::default(),
            body: body.to_vec(),
        })
    }
}

fn go_through(method: &str, path: &str, body: &[u8], bytes: &[u8]) {
    let worker = Rc::new(Worker::new(PLAN.with(|cell| Arc::clone(cell.get_or_init(plan)))));
    let world = Simulated::default();
    world.now.set(1_700_000_000_000);
    let pairs = [(":method", method), (":authority", "a"), (":path", path), ("content-type", "application/json")];
    let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(0));
    let event = Event::RequestHeaders {
        headers: Rc::new(pairs.into_iter().collect()),
        route_name: None,
        has_body: !body.is_empty(),
    };
    let mut step = exchange.on(event, &world);
    if step.then == Then::Continue {
        let read = || Some(body.to_vec());
        let chunk = Chunk { size: body.len(), ends: true, read: &read };
        step = exchange.on(Event::RequestBody(chunk), &world);
    }
    let is_line: fn(&u8) -> bool = |byte| *byte == b'\n';
    let mut answers = Answers(bytes.split(is_line));
    for _ in 0..MOST_CALLS {
        if step.then != Then::Wait {
            break;
        }
        for (id, _) in worker.attend(&world).calls {
            worker.answered(id, answers.next(), &world);
        }
        step = exchange.wake(Wakeup::Due, &world).expect("a request that waits").step;
    }
    if step.then == Then::Wait {
        world.now.set(world.now.get() + 10_000);
        step = exchange.wake(Wakeup::TimeOver, &world).expect("a request that waits").step;
    }
    check(&step);
}

fn check(step: &Step) {
    let reply = step.reply().expect("an answer");
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&reply.body).is_ok(), "{reply:?}");
}

/// Rounds of calls of one request.
const MOST_CALLS: usize = 50;

fuzz_target!(|bytes: &[u8]| {
    go_through("GET", "/dashboard", b"", bytes);
    let (body, answers) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(place) => bytes.split_at(place + 1),
        None => (bytes, &b""[..]),
    };
    if !body.is_empty() {
        go_through("POST", "/orders", body, answers);
    }
});
