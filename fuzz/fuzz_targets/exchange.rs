//! Any bytes as a header map, on a route that reads tokens from everywhere.
#![no_main]

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tollgate::config::Environment;
use tollgate::gateway::decode;
use tollgate::http::piece::Chunk;
use tollgate::exchange::Exchange;
use tollgate::http::headers::Headers;
use tollgate::gateway::plan::Plan;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Answer, Event, StreamId, Then, Wakeup};
use tollgate::gateway::worker::Worker;

/// Every signature is good, so that claims are read too.
fn credulous() -> Simulated {
    let world = Simulated::default();
    world.now.set(1_700_000_000_000);
    world.verdict.set(Some(true));
    world
}

thread_local! {
    static PLAN: OnceCell<Arc<Plan>> = const { OnceCell::new() };
}

fn plan() -> Arc<Plan> {
    let key = json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let config = json!({
        "version": 1,
        "jwt": {"issuers": [{
            "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"], "jwks": {"inline": {"keys": [key]}},
            "claims": {"roles": "roles", "attributes": {"team": "team"}}, "from": [{"header": {"name": "authorization"}}, {"header": {"name": "x-token"}}, {"cookie": "c"}, {"query": "q"}],
        }]},
        "api_keys": {
            "opaque": true,
            "secrets": [{"id": "v1", "env": "SECRET"}],
            "from": [{"header": {"name": "x-api-key"}}, {"cookie": "k"}, {"query": "k"}],
            "lookup": {"cluster": "keys"},
        },
        "identity": {
            "headers": {"attributes": {"team": "x-team"}},
            "filter_state": ["user_id"],
            "proof": {"header": "x-proof", "secret": {"env": "SECRET"}},
        },
        "rate_limits": [
            {"name": "all", "key": ["ip", "route", "header:x-client"], "algorithm": "token_bucket", "limit": 1000, "window": "1s"},
            {"name": "user", "key": ["user", "tenant", "claim:team"], "limit": 1000, "window": "1s"},
        ],
        "routes": [
            {
                "match": {"path_prefix": "/keep", "host": "a.test", "methods": ["GET", "POST"]}, "path_parameters": "keep",
                "auth": {"any": ["jwt", "api_key"], "optional": true}, "rate_limits": ["all"],
                "validate": {"headers": ["x-needed"], "query": ["q"], "max_bytes": 100, "schema": {"type": "object"}},
                "fallback": {"cluster": {"name": "other"}, "last_good": {"max_age": "1m"}, "statuses": ["5xx"]},
            },
            {
                "match": {"path_prefix": "/"}, "auth": {"any": ["jwt", "api_key"]}, "require": {"roles": {"any": ["r"]}},
                "rate_limits": ["all", "user"],
                "request": {
                    "headers": {"remove": ["x-a"], "set": {"x-b": "{query.q}{headers.x-c}{claims.team}"}},
                    "query": {"remove": ["d"], "set": {"e": "{headers.x-c}"}}, "body": {"remove": ["a"]},
                },
                "response": {"headers": {"remove": ["server"]}, "body": {"keep": ["a"]}},
            },
        ],
    });
    let config = decode(config.to_string().as_bytes()).expect("a configuration");
    Arc::new(Plan::compile(&config, &Environment::from([("SECRET".to_owned(), "s".repeat(32))])).expect("a plan"))
}

/// Sends what the worker would send, and answers all of it with these bytes.
fn answer(worker: &Worker, world: &Simulated, body: &[u8]) {
    let mut calls = worker.attend(world).calls;
    for _ in 0..MOST_CALLS {
        let Some((id, _)) = calls.pop() else { return };
        let answer = Answer {
            headers: [(":status", "200")].into_iter().collect(),
            trailers: Headers::default(),
            body: body.to_vec(),
        };
        calls.extend(worker.answered(id, Ok(answer), world).calls);
    }
}

/// A request and its response, with the same bytes wherever a client, an upstream or another service writes some.
/// The worker is not prepared: to create every slot that workers share takes a thousand times as long as the rest.
fn go_through(headers: &Headers, body: &[u8]) {
    let worker = Rc::new(Worker::new(PLAN.with(|cell| Arc::clone(cell.get_or_init(plan)))));
    let world = credulous();
    let headers = &Rc::new(headers.clone());
    let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(0));
    let read = || Some(body.to_vec());
    let chunk = || Chunk { size: body.len(), ends: true, read: &read };
    let request = Event::RequestHeaders { headers: Rc::clone(headers), route_name: None, has_body: true };
    let mut then = exchange.on(request, &world).then;
    // Waits of which the last one takes too long; a body that comes early beside every other request.
    for wakeup in [Wakeup::Due, Wakeup::Due, Wakeup::TimeOver] {
        if then == Then::Wait {
            if body.len() % 2 == 0 {
                exchange.on(Event::RequestBody(chunk()), &world);
            }
            answer(&worker, &world, body);
            then = exchange.wake(wakeup, &world).expect("a request that waits").step.then;
        }
    }
    assert!(then != Then::Wait, "nothing waits for ever");
    exchange.on(Event::RequestBody(chunk()), &world);
    exchange.on(Event::RequestTrailers { trailers: headers, body: chunk() }, &world);
    exchange.on(Event::RouteTaken(None), &world);
    let response = Event::ResponseHeaders { headers: Rc::clone(headers), has_body: true };
    if exchange.on(response, &world).then == Then::Wait {
        answer(&worker, &world, body);
        exchange.wake(Wakeup::TimeOver, &world).expect("a response that waits");
    }
    exchange.on(Event::ResponseBody(chunk()), &world);
}

/// Calls of one request.
const MOST_CALLS: usize = 20;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(headers) = Headers::decode(bytes.to_vec()) {
        go_through(&headers, bytes);
    }
    // The same bytes as text lines: libFuzzer finds names faster than lengths.
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().skip(1).position(|&byte| byte == b':')? + 1;
        Some((&line[..colon], &line[colon + 1..]))
    });
    go_through(&lines.collect(), bytes);
});
