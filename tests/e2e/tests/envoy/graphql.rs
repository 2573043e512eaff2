//! GraphQL: what only a real Envoy, a real client, or an attacker can show of it.

use std::net::SocketAddr;
use std::process::Command;

use axum::Router;
use axum::extract::Request as Received;
use serde_json::{Value, json};
use tollgate_e2e::attack::documents::documents;
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

/// The services of `tests/graphql/config.yaml`, in one: every value is of the right type.
async fn right(request: Received) -> String {
    let user = json!({
        "kind": "user", "id": "u1", "name": "Ada", "names": {"full": "Ada Lovelace"}, "age": 36, "score": 1.5, "ok": true,
        "role": "ADMIN", "roles": ["USER"], "meta": {"a": [1]}, "friend_id": "u2", "team_id": "t1",
        "address": {"street": "Square", "city": "London", "zip": 1}, "tags": [["a", null]],
    });
    let team = json!({"kind": "team", "id": "t1", "title": "Engines", "friend_id": "u3"});
    let answer = match request.uri().path() {
        "/users" => json!([user, user]),
        "/feed" => json!([user, {"kind": "post", "id": "p1", "title": "Notes", "author": user, "likes": 3}, team]),
        "/deep" => json!([[1, 2], []]),
        "/teams" => json!([team]),
        "/echo" => json!({"echoed": true}),
        _ => user,
    };
    answer.to_string()
}

#[test]
fn schemathesis_finds_nothing() {
    let listener = listener();
    let services = listener.local_addr().expect("an address");
    serve(listener, Router::new().fallback(right));
    let text = std::fs::read_to_string(repository().join("tests/graphql/config.yaml")).expect("a file");
    let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
    let graphql = &mut config["routes"][0]["graphql"];
    graphql["introspection"] = true.into();
    // What makes operations knows neither OneOf input objects nor limits.
    let schema = graphql["schema"].as_str().expect("a schema").replace(" @oneOf", "");
    graphql["schema"] = schema.into();
    graphql["fields"]["Query.users"] = json!({"part": "users", "size": 2});
    // Their part is a list of lists, for the sake of errors.
    graphql["fields"]["Query.count"] = json!({"part": "number"});
    graphql["fields"]["Inner.count"] = json!({"part": "number"});
    config["parts"]["number"] = json!({"cluster": "services", "path": "/number", "response": {"unwrap": "age"}});
    for (_, part) in config["parts"].as_object_mut().expect("parts") {
        part["cluster"] = "services".into();
    }
    let echo = Echo::start("upstream");
    let envoy = Envoy::start(
        &Bare {
            clusters: vec![("services", services)],
            form: Form::Text,
            filters: vec![buffer(1 << 20)],
            ..Bare::new(config, &echo)
        }
        .bootstrap(),
    );
    // It keeps what it has found where it runs.
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new("python3")
        .current_dir(folder.path())
        .args([
            "-m",
            "schemathesis.cli",
            "run",
            "--max-examples",
            "40",
            "--generation-deterministic",
            "--no-color",
        ])
        .arg(format!("http://{}/", envoy.address()))
        .env("PYTHONPATH", repository().join("target/tools/graphql"))
        .output()
        .expect("python3 runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{problems}");
    assert!(told.contains("Tested: 12"), "{told}");
    envoy.assert_no_vm_died();
}

#[test]
fn documents_that_cost_others_seconds_are_refused_and_the_worker_lives() {
    let echo = Echo::start("upstream");
    let envoy = Envoy::alone(1, &gateway(services(), &echo));
    for (name, document) in documents() {
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
