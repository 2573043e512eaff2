//! Any bytes as a header map, on a route that reads tokens from everywhere.
#![no_main]

use std::cell::OnceCell;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tollgate::config::{Environment, decode};
use tollgate::event::Event;
use tollgate::exchange::Exchange;
use tollgate::headers::Headers;
use tollgate::plan::Plan;
use tollgate::world::{SignatureCheck, World};

/// Every signature is good, so that claims are read too.
struct Credulous;

impl World for Credulous {
    fn now(&self) -> u64 {
        1_700_000_000
    }

    fn verify_signature(&self, _: &SignatureCheck<'_>) -> Option<bool> {
        Some(true)
    }
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
        "routes": [{"match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}, "require": {"roles": {"any": ["r"]}}}],
    });
    let config = decode(config.to_string().as_bytes()).expect("a configuration");
    Rc::new(Plan::compile(&config, &Environment::new()).expect("a plan"))
}

fuzz_target!(|bytes: &[u8]| {
    let plan = PLAN.with(|cell| Rc::clone(cell.get_or_init(plan)));
    if let Ok(headers) = Headers::decode(bytes.to_vec()) {
        let mut exchange = Exchange::new(plan);
        exchange.on(Event::RequestHeaders { headers: &headers, route_name: None, may_wait: false }, &Credulous);
        exchange.on(Event::RequestTrailers { trailers: &headers }, &Credulous);
    }
    // The same bytes as text lines: libFuzzer finds names faster than lengths.
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().skip(1).position(|&byte| byte == b':')? + 1;
        Some((&line[..colon], &line[colon + 1..]))
    });
    let headers: Headers = lines.collect();
    let plan = PLAN.with(|cell| Rc::clone(cell.get_or_init(self::plan)));
    Exchange::new(plan).on(Event::RequestHeaders { headers: &headers, route_name: None, may_wait: false }, &Credulous);
});
