//! What becomes of requests, answers and errors.

use std::fs;

use serde_json::json;
use tollgate_e2e::case::repository;
use tollgate_e2e::grpc::RestToGrpc;
use tollgate_e2e::server::runtime;
use tollgate_grpc::products::{InspectRequest, ListProductsRequest};
use tonic::Code;

use super::{bearer, get_product, native, rest, with};

#[test]
fn rest_clients_get_json() {
    let gateway = RestToGrpc::start(|_| {});
    let ada = bearer("ada", "products.write");
    let call =
        |method: &str, path: &str, body: &str| rest(&gateway.envoy, method, path, &[("authorization", &ada)], body);

    let one = call("GET", "/v1/products/3", "");
    assert_eq!(
        (one.status, one.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(one.json(), json!({"id": "3", "name": "Häuschen", "price": "1500000"}));

    let two = call("GET", "/v1/products?after=1", "");
    assert_eq!(
        (two.status, two.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(
        two.json(),
        json!([{"id": "2", "name": "barrier", "price": "99900"}, {"id": "3", "name": "Häuschen", "price": "1500000"}])
    );
    assert_eq!(call("GET", "/v1/products?after=3", "").json(), json!([]));

    // A member that the message does not know is passed over.
    let made = call(
        "POST",
        "/v1/products",
        r#"{"id": "4", "name": "cone", "colour": "red"}"#,
    );
    assert_eq!((made.status, made.json()), (200, json!({"id": "4", "name": "cone"})));
    assert_eq!(call("GET", "/v1/products/4", "").json(), made.json());
    // The transcoder takes one path for the other; so do the routes.
    let made = call("POST", "/v1/products/", r#"{"id": "5", "name": "lamp"}"#);
    assert_eq!((made.status, made.json()), (200, json!({"id": "5", "name": "lamp"})));
    gateway.envoy.assert_no_vm_died();
}

#[test]
fn what_cannot_be_transcoded_is_refused_before_the_service_sees_it() {
    let gateway = RestToGrpc::start(|_| {});
    let ada = bearer("ada", "products.write");
    let call =
        |method: &str, path: &str, body: &str| rest(&gateway.envoy, method, path, &[("authorization", &ada)], body);
    let good = r#"{"id": "4", "name": "cone"}"#;
    let large = format!(r#"{{"id": "4", "name": "{}"}}"#, "x".repeat(1 << 20));
    for (method, path, body, status) in [
        ("POST", "/v1/products", "{not JSON", 400),
        ("POST", "/v1/products", &good[..good.len() - 1], 400),
        (
            "POST",
            "/v1/products",
            r#"{"id": "4", "name": "cone", "price": "dear"}"#,
            400,
        ),
        ("POST", "/v1/products?product.id=5", good, 400),
        ("POST", "/v1/products", &large, 413),
        ("GET", "/v1/products?colour=red", "", 400),
        ("GET", "/v1/products?status=many", "", 400),
        ("GET", "/v1/products/1/parts", "", 404),
        ("DELETE", "/v1/products/1", "", 404),
        ("HEAD", "/v1/products/1", "", 404),
        // Only gRPC clients may take a gRPC path, also where a method has no other.
        (
            "POST",
            "/products.v1.Products/CreateProduct",
            r#"{"product": {"id": "4", "name": "cone"}}"#,
            404,
        ),
        ("POST", "/products.v1.Products/RemoveProduct", r#"{"id": "3"}"#, 404),
    ] {
        let answer = call(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/plain"), "{method} {path}");
    }
    let after_two = json!([{"id": "3", "name": "Häuschen", "price": "1500000"}]);
    assert_eq!(call("GET", "/v1/products?after=2", "").json(), after_two);

    let almost = format!(r#"{{"id": "4", "name": "{}"}}"#, "x".repeat((1 << 20) - 100));
    let answer = call("POST", "/v1/products", &almost);
    assert_eq!((answer.status, answer.body.len()), (200, almost.len() - 3));
}

/// Why the configuration has a filter of its own for that.
#[test]
fn the_transcoder_alone_does_not_hold_bodies_to_its_limit() {
    let gateway = RestToGrpc::start(|bootstrap| {
        let connection = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
        let filters = &mut connection["typed_config"]["http_filters"];
        let filters = filters.as_array_mut().expect("filters");
        filters.retain(|filter| filter["name"] != "envoy.filters.http.buffer");
        assert_eq!(filters[2]["typed_config"]["max_request_body_size"], 1 << 20);
        let routes = &mut connection["typed_config"]["route_config"]["virtual_hosts"][0]["routes"];
        for route in routes.as_array_mut().expect("routes") {
            route
                .as_object_mut()
                .expect("a route")
                .remove("typed_per_filter_config");
        }
    });
    let ada = bearer("ada", "products.write");
    let note = "x".repeat(3 << 20);
    let body = format!(r#"{{"id": "4", "name": "cone", "note": "{note}"}}"#);
    let answer = rest(
        &gateway.envoy,
        "POST",
        "/v1/products",
        &[("authorization", &ada)],
        &body,
    );
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"id": "4", "name": "cone"}))
    );
}

#[test]
fn errors_map_to_http_as_the_documentation_says() {
    let gateway = RestToGrpc::start(|_| {});
    let ada = bearer("ada", "");
    let documentation = fs::read_to_string(repository().join("docs/GRPC.md")).expect("docs/GRPC.md");
    let rows = documentation.lines().filter_map(|line| {
        let (grpc, http) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        let (number, name) = grpc.split_once(" `")?;
        Some((
            number.parse::<i32>().ok()?,
            name.trim_end_matches('`').to_owned(),
            http.parse::<u16>().ok()?,
        ))
    });
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), Vec::from_iter(1..=16));
    for (number, name, http) in rows {
        let path = format!("/v1/products/-/inspection?status={number}&message=so%20%C3%A4%20%25");
        let answer = rest(&gateway.envoy, "GET", &path, &[("authorization", &ada)], "");
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (http, Some("application/json")),
            "{name}"
        );
        assert_eq!(answer.json(), json!({"code": number, "message": "so ä %"}));
        assert_eq!(
            (answer.header("grpc-status"), answer.header("grpc-message")),
            (None, None)
        );

        let message = "so ä %".to_owned();
        let asked = with(
            InspectRequest {
                status: number,
                message,
            },
            &[("authorization", &ada)],
        );
        let mut client = native(&gateway.envoy);
        let status = runtime().block_on(client.inspect(asked)).expect_err("a status");
        assert_eq!((i32::from(status.code()), status.message()), (number, "so ä %"));
        let told = format!("{:?}", status.code()).to_uppercase();
        assert_eq!(told, name.replace('_', ""));
    }
    let unknown = rest(&gateway.envoy, "GET", "/v1/products/9", &[("authorization", &ada)], "");
    assert_eq!(
        (unknown.status, unknown.json()),
        (404, json!({"code": 5, "message": "no product is called \"9\""}))
    );
    let ada = bearer("ada", "products.write");
    let nameless = rest(
        &gateway.envoy,
        "POST",
        "/v1/products",
        &[("authorization", &ada)],
        r#"{"id": "4"}"#,
    );
    assert_eq!((nameless.status, &nameless.json()["code"]), (400, &json!(3)));
}

#[test]
fn a_stream_that_fails() {
    let gateway = RestToGrpc::start(|_| {});
    let ada = bearer("ada", "");
    // For REST clients the status is right only where the service fails before it begins to answer.
    for (path, status, body) in [
        (
            "/v1/products?after=9",
            404,
            json!({"code": 5, "message": "no product is called \"9\""}),
        ),
        (
            "/v1/products?after=3&status=8",
            200,
            json!({"code": 8, "message": "as asked for"}),
        ),
        (
            "/v1/products?after=2&status=8",
            200,
            json!([{"id": "3", "name": "Häuschen", "price": "1500000"}]),
        ),
    ] {
        let answer = rest(&gateway.envoy, "GET", path, &[("authorization", &ada)], "");
        assert_eq!((answer.status, answer.json()), (status, body), "{path}");
    }

    let after = "1".to_owned();
    let asked = with(ListProductsRequest { after, status: 10 }, &[("authorization", &ada)]);
    let mut client = native(&gateway.envoy);
    runtime().block_on(async {
        let mut stream = client.list_products(asked).await.expect("a stream").into_inner();
        for id in ["2", "3"] {
            let product = stream.message().await.expect("a message").expect("a product");
            assert_eq!(product.id, id);
        }
        // What trailers carry.
        let status = stream.message().await.expect_err("a status");
        assert_eq!((status.code(), status.message()), (Code::Aborted, "as asked for"));
        let listed = status.metadata().get("x-listed").expect("metadata");
        assert_eq!(listed, "2");
    });
}

#[test]
fn a_service_that_is_away() {
    let envoy = RestToGrpc::start(|_| {}).kill_service();
    let ada = bearer("ada", "");
    let answer = rest(&envoy, "GET", "/v1/products/1", &[("authorization", &ada)], "");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (503, Some("text/plain"))
    );
    let status = get_product(&envoy, "1", &[("authorization", &ada)]).expect_err("a status");
    assert_eq!(status.code(), Code::Unavailable);
}
