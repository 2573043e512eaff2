//! GraphQL: what only a real Envoy, a real client, or an attacker can show of it.

use std::net::SocketAddr;
use std::process::Command;

use axum::Router;
use axum::extract::Request as Received;
use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, Form, buffer};
use tollgate_e2e::case::repository;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::raw::{Response, request};
use tollgate_e2e::server::{listener, serve};

/// The services of the dashboard, in one.
fn services() -> SocketAddr {
    let listener = listener();
    let address = listener.local_addr().expect("an address");
    serve(listener, Router::new().fallback(answer));
    address
}

async fn answer(request: Received) -> String {
    let query = request.uri().query().unwrap_or_default();
    let answer = match request.uri().path() {
        "/v1/profile" => json!({"id": 7, "name": "Ada", "email": null}),
        "/v1/orders" => json!({"items": [{"id": "o1", "total": 10.5, "product_id": "p1"}], "asked": query}),
        "/v1/metrics" => json!({"visits": 128, "revenue": 4711.5}),
        _ => json!([{"id": "p1", "title": "Lamp"}]),
    };
    answer.to_string()
}

fn config() -> Value {
    json!({
        "version": 1,
        "parts": {
            "profile": {"cluster": "services", "path": "/v1/profile"},
            "orders": {"cluster": "services", "path": "/v1/orders", "query": {"limit": "{args.limit}"}, "response": {"unwrap": "items"}},
            "metrics": {"cluster": "services", "path": "/v1/metrics"},
            "product": {"cluster": "services", "path": "/v1/products", "query": {"ids": "{keys}"}, "batch": {"key": "{item.product_id}", "by": "id"}},
        },
        "routes": [
            {"match": {"path": "/graphql"}, "public": true, "graphql": {
                "schema": "type Query { dashboard: Dashboard! }
                    type Dashboard { profile: Profile  recentOrders(limit: Int! = 5): [Order!]  metrics: Metrics }
                    type Profile { id: ID!  name: String!  email: String }
                    type Order { id: ID!  total: Float!  product: Product }
                    type Product { id: ID!  title: String }
                    type Metrics { visits: Int  revenue: Float }",
                "fields": {
                    "Query.dashboard": {"group": true}, "Dashboard.profile": {"part": "profile"},
                    "Dashboard.recentOrders": {"part": "orders"}, "Dashboard.metrics": {"part": "metrics"}, "Order.product": {"part": "product"},
                },
                "introspection": true,
            }},
            {"match": {"path": "/shorthand"}, "public": true, "graphql": {
                "schema": "scalar JSON type Query { dashboard: Dashboard }
                    type Dashboard { profile: JSON recentOrders(limit: Int): JSON metrics: JSON }",
                "fields": {
                    "Query.dashboard": {"group": true}, "Dashboard.profile": {"part": "profile"},
                    "Dashboard.recentOrders": {"part": "orders"}, "Dashboard.metrics": {"part": "metrics"},
                },
            }},
        ],
    })
}

fn gateway(services: SocketAddr, echo: &Echo) -> Value {
    Bare {
        clusters: vec![("services", services)],
        form: Form::Text,
        filters: vec![buffer(1 << 20)],
        ..Bare::new(config(), echo)
    }
    .bootstrap()
}

fn ask(envoy: &Envoy, path: &str, query: &str) -> Response {
    let body = json!({"query": query}).to_string();
    let headers = [("host", "h"), ("content-type", "application/json")];
    envoy.send(&request("POST", path, &headers, body.as_bytes()))
}

#[test]
fn a_client_reads_the_schema_and_asks() {
    let echo = Echo::start("upstream");
    let envoy = Envoy::start(&gateway(services(), &echo));
    let query = "query Dashboard($n: Int! = 5) { dashboard { profile { id name } recentOrders(limit: $n) { id total product { title } } \
                 metrics { visits } } }";
    let output = Command::new("python3")
        .arg(repository().join("tests/graphql/client.py"))
        .args([&format!("http://{}/graphql", envoy.address()), query, "{\"n\": 3}"])
        .env("PYTHONPATH", repository().join("target/tools/graphql"))
        .output()
        .expect("python3 runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let dashboard = json!({
        "profile": {"id": "7", "name": "Ada"},
        "recentOrders": [{"id": "o1", "total": 10.5, "product": {"title": "Lamp"}}],
        "metrics": {"visits": 128},
    });
    assert_eq!(told["answer"], json!({"dashboard": dashboard}));
    let types = json!([
        "Boolean",
        "Dashboard",
        "Float",
        "ID",
        "Int",
        "Metrics",
        "Order",
        "Product",
        "Profile",
        "Query",
        "String"
    ]);
    assert_eq!(told["types"], types);
    // The article's shorthand is valid where the three are leafs.
    let short = ask(
        &envoy,
        "/shorthand",
        "{ dashboard { profile recentOrders(limit: 5) metrics } }",
    )
    .text();
    let wanted = r#"{"data":{"dashboard":{"profile":{"id":7,"name":"Ada","email":null},"recentOrders":[{"id":"o1","total":10.5,"product_id":"p1"}],"metrics":{"visits":128,"revenue":4711.5}}}}"#;
    assert_eq!(short, wanted);
    envoy.assert_no_vm_died();
}

/// Documents that cost others seconds or their lives, each over a limit or wrong.
fn attacks() -> Vec<(&'static str, String)> {
    let chain = (0..10_000).map(|number| format!("fragment f{number} on Query {{ ...f{} }}", number + 1));
    let short = (0..150).map(|number| format!("fragment f{number} on Query {{ ...f{} }}", number + 1));
    let doubling = (0..30).map(|number| format!("fragment f{number} on Query {{ ...f{0} ...f{0} }}", number + 1));
    let inline = "... on Query { ".repeat(100);
    vec![
        (
            "10,000 chained fragments",
            format!("{{ ...f0 }} {}", chain.collect::<String>()),
        ),
        (
            "200 x 100 inline fragments",
            format!(
                "{{ {} }}",
                format!("{inline}__typename {} ", "} ".repeat(100)).repeat(200)
            ),
        ),
        ("5,000 directives", format!("{{ __typename {} }}", "@a ".repeat(5000))),
        ("10,000 brackets", "{".repeat(10_000)),
        (
            "150 chained fragments",
            format!(
                "{{ ...f0 }} {} fragment f150 on Query {{ __typename }}",
                short.collect::<String>()
            ),
        ),
        (
            "30 doubling fragments",
            format!(
                "{{ ...f0 }} {} fragment f30 on Query {{ __typename }}",
                doubling.collect::<String>()
            ),
        ),
        ("990 equal fields", format!("{{ {} }}", "__typename ".repeat(990))),
        (
            "lists in lists",
            format!(
                "{{ dashboard {{ recentOrders(limit: {}1{}) {{ id }} }} }}",
                "[".repeat(900),
                "]".repeat(900)
            ),
        ),
        (
            "objects in objects",
            format!(
                "{{ dashboard {{ recentOrders(limit: {}1{}) {{ id }} }} }}",
                "{a:".repeat(600),
                "}".repeat(600)
            ),
        ),
        ("a long name", "a".repeat(60_000)),
        ("an endless text", format!("{{ a(b: \"{}", "\\u{1F600}".repeat(5000))),
        ("a fragment in itself", "{ ...a } fragment a on Query { ...a }".into()),
    ]
}

#[test]
fn documents_that_cost_others_seconds_are_refused_and_the_worker_lives() {
    let echo = Echo::start("upstream");
    let envoy = Envoy::alone(1, &gateway(services(), &echo));
    for (name, document) in attacks() {
        let response = ask(&envoy, "/graphql", &document);
        let told = response.text();
        assert!(
            [200, 413].contains(&response.status) && !told.contains("\"data\""),
            "{name}: {} {told:.300}",
            response.status
        );
    }
    assert_eq!(
        ask(&envoy, "/graphql", "{ __typename }").text(),
        r#"{"data":{"__typename":"Query"}}"#
    );
    envoy.assert_no_vm_died();
}
