//! Any bytes as a header map, on a route that reads tokens from everywhere.
#![no_main]

use std::cell::OnceCell;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tollgate::config::{Environment, decode};
use tollgate::body::Chunk;
use tollgate::event::Event;
use tollgate::exchange::Exchange;
use tollgate::headers::Headers;
use tollgate::plan::Plan;
use tollgate::world::simulated::Simulated;

/// Every signature is good, so that claims are read too.
fn credulous() -> Simulated {
    let world = Simulated::default();
    world.now.set(1_700_000_000_000);
    world.verdict.set(Some(true));
    world
}

thread_local! {
    static PLAN: OnceCell<Rc<Plan>> = const { OnceCell::new() };
}

fn plan() -> Rc<Plan> {
    let key = json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let config = json!({
        "version": 1,
        "jwt": {"issuers": [{
            "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"], "jwks": {"inline": {"keys": [key]}},
            "from": [{"header": {"name": "authorization"}}, {"header": {"name": "x-token"}}, {"cookie": "c"}, {"query": "q"}],
        }]},
        "api_keys": {
            "opaque": true,
            "secrets": [{"id": "v1", "env": "SECRET"}],
            "from": [{"header": {"name": "x-api-key"}}, {"cookie": "k"}, {"query": "k"}],
            "lookup": {"cluster": "keys"},
        },
        "routes": [{"match": {"path_prefix": "/"}, "auth": {"any": ["jwt", "api_key"]}, "require": {"roles": {"any": ["r"]}}}],
    });
    let config = decode(config.to_string().as_bytes()).expect("a configuration");
    Rc::new(Plan::compile(&config, &Environment::from([("SECRET".to_owned(), "s".repeat(32))])).expect("a plan"))
}

fuzz_target!(|bytes: &[u8]| {
    let plan = PLAN.with(|cell| Rc::clone(cell.get_or_init(plan)));
    if let Ok(headers) = Headers::decode(bytes.to_vec()) {
        let mut exchange = Exchange::new(plan);
        exchange.on(Event::RequestHeaders { headers: &headers, route_name: None, may_wait: false, has_body: true }, &credulous());
        let body = Chunk { size: 0, ends: true, read: &|| Some(Vec::new()) };
        exchange.on(Event::RequestTrailers { trailers: &headers, body }, &credulous());
    }
    // The same bytes as text lines: libFuzzer finds names faster than lengths.
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().skip(1).position(|&byte| byte == b':')? + 1;
        Some((&line[..colon], &line[colon + 1..]))
    });
    let headers: Headers = lines.collect();
    let plan = PLAN.with(|cell| Rc::clone(cell.get_or_init(self::plan)));
    Exchange::new(plan).on(Event::RequestHeaders { headers: &headers, route_name: None, may_wait: false, has_body: true }, &credulous());
});
