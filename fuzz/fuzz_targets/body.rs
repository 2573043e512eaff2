//! Any bytes as bodies, of a request that is checked and changed, and of a response that is changed.
#![no_main]

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tollgate::http::piece::Chunk;
use tollgate::config::Environment;
use tollgate::gateway::decode;
use tollgate::exchange::Exchange;
use tollgate::http::headers::Headers;
use tollgate::gateway::plan::Plan;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Event, Step, StreamId};
use tollgate::gateway::worker::Worker;

thread_local! {
    static PLAN: OnceCell<Arc<Plan>> = const { OnceCell::new() };
}

fn plan() -> Arc<Plan> {
    let schema = json!({
        "anyOf": [{"type": "object"}, {"type": "array", "items": {"$ref": "#"}}],
        "properties": {"a": {"pattern": "^(a|b)*c$", "format": "date-time"}, "b": {"$ref": "#"}, "c": {"multipleOf": 0.1}},
        "additionalProperties": {"not": {"enum": [1, null, "x"]}},
    });
    let changes = json!({
        "unwrap": "u", "remove": ["a", "b[*].a"], "rename": {"b[*].b": "a", "c": "d"}, "move": {"d": "e.f", "b[*].c": "b[*].d.e"},
        "replace": {"b[*]": 1}, "set": {"e.g": "{query.q}"}, "add": {"h": {"i": ["{method}"]}}, "append": {"b": null}, "wrap": "w",
    });
    let mask = json!({"keep": ["a", "b[*].a", "[*][*].c"], "wrap": "w"});
    let config = json!({"version": 1, "routes": [
        {"match": {"path_prefix": "/check"}, "public": true, "validate": {"schema": schema}, "response": {"body": mask}},
        {"match": {"path_prefix": "/"}, "public": true, "request": {"body": changes}, "response": {"body": changes}},
    ]});
    let config = decode(config.to_string().as_bytes()).expect("a configuration");
    Arc::new(Plan::compile(&config, &Environment::new()).expect("a plan"))
}

/// What becomes of a body must be JSON again.
fn hold(step: &Step) {
    if let Some(bytes) = &step.body {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("JSON");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let plan = PLAN.with(|cell| Arc::clone(cell.get_or_init(plan)));
    let world = Simulated::default();
    for path in ["/check", "/?q=%22\\"] {
        let json = ("content-type", "application/json");
        let headers: Headers = [(":method", "POST"), (":authority", "a"), (":path", path), json].into_iter().collect();
        let mut exchange = Exchange::new(Rc::new(Worker::new(Arc::clone(&plan))), StreamId(0));
        exchange.on(Event::RequestHeaders { headers: Rc::new(headers), route_name: None, has_body: true }, &world);
        let read = || Some(bytes.to_vec());
        let chunk = || Chunk { size: bytes.len(), ends: true, read: &read };
        hold(&exchange.on(Event::RequestBody(chunk()), &world));
        let headers: Headers = [(":status", "200"), json].into_iter().collect();
        exchange.on(Event::ResponseHeaders { headers: Rc::new(headers), has_body: true }, &world);
        hold(&exchange.on(Event::ResponseBody(chunk()), &world));
    }
});
