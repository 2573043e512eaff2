//! Any bytes as the answers of parts, and as the body of a request: the run ends, and what it answers is JSON.
#![no_main]

use std::cell::OnceCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tollgate::gateway::plan::Plan;
use tollgate_fuzz::{compile, go_through};

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
    compile(&config)
}

fuzz_target!(|bytes: &[u8]| {
    let plan = PLAN.with(|cell| Arc::clone(cell.get_or_init(plan)));
    go_through(&plan, "GET", "/dashboard", b"", bytes);
    let (body, answers) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(place) => bytes.split_at(place + 1),
        None => (bytes, &b""[..]),
    };
    if !body.is_empty() {
        go_through(&plan, "POST", "/orders", body, answers);
    }
});
