//! Authentication, authorization, limits and identity on both paths of a method.

use serde_json::json;
use tollgate_e2e::grpc::RestToGrpc;
use tollgate_e2e::server::runtime;
use tollgate_grpc::products::{CreateProductRequest, InspectRequest, Product, RemoveProductRequest};
use tonic::{Code, Status};

use super::{bearer, get_product, native, rest, with};

#[test]
fn nobody_passes_on_either_path_who_may_not() {
    let gateway = RestToGrpc::start(|_| {});
    let reader = bearer("ada", "products.read");
    let good = r#"{"id": "4", "name": "cone"}"#;
    for (method, path, authorization, body, status, code) in [
        ("GET", "/v1/products/1", None, "", 401, "missing_credentials"),
        ("GET", "/v1/products/1", Some("Bearer x"), "", 401, "invalid_token"),
        ("POST", "/v1/products", None, good, 401, "missing_credentials"),
        (
            "POST",
            "/v1/products",
            Some(reader.as_str()),
            good,
            403,
            "insufficient_scope",
        ),
        (
            "POST",
            "/v1/products/",
            Some(reader.as_str()),
            good,
            403,
            "insufficient_scope",
        ),
        ("GET", "/v1/products2", Some(reader.as_str()), "", 403, "no_policy"),
        (
            "POST",
            "/products.v1.Products/CreateProduct",
            Some(reader.as_str()),
            good,
            403,
            "insufficient_scope",
        ),
    ] {
        let headers: Vec<_> = authorization
            .map(|value| ("authorization", value))
            .into_iter()
            .collect();
        let answer = rest(&gateway.envoy, method, path, &headers, body);
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code)),
            "{method} {path}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{path}"
        );
        assert_eq!(
            answer.header("www-authenticate").is_some(),
            code != "no_policy",
            "{path}"
        );
    }

    let status =
        |answer: Result<Product, Status>| answer.map_err(|status| (status.code(), status.message().to_owned()));
    let refused = |code, message: &str| Err((code, message.to_owned()));
    let found = get_product(&gateway.envoy, "1", &[]);
    assert_eq!(status(found), refused(Code::Unauthenticated, "missing_credentials"));
    let found = get_product(&gateway.envoy, "1", &[("authorization", "Bearer x")]);
    assert_eq!(status(found), refused(Code::Unauthenticated, "invalid_token"));
    let found = get_product(&gateway.envoy, "1", &[("authorization", &reader)]);
    assert_eq!(found.expect("a product").name, "toll");
    let product = Some(Product {
        id: "4".into(),
        name: "cone".into(),
        price: 0,
    });
    let create = |authorization: &str| {
        let asked = with(
            CreateProductRequest {
                product: product.clone(),
            },
            &[("authorization", authorization)],
        );
        let answer = runtime().block_on(native(&gateway.envoy).create_product(asked));
        status(answer.map(tonic::Response::into_inner))
    };
    assert_eq!(create(&reader), refused(Code::PermissionDenied, "insufficient_scope"));
    assert_eq!(
        create(&bearer("ada", "products.write")),
        Ok(product.clone().expect("a product"))
    );
    let asked = with(RemoveProductRequest { id: "4".into() }, &[("authorization", &reader)]);
    let answer = runtime().block_on(native(&gateway.envoy).remove_product(asked));
    assert_eq!(
        status(answer.map(tonic::Response::into_inner)),
        refused(Code::PermissionDenied, "insufficient_scope")
    );
    get_product(&gateway.envoy, "4", &[("authorization", &reader)]).expect("it is still there");
    // A gRPC client on a REST path: the service knows no such method.
    let headers = [
        ("authorization", reader.as_str()),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let answer = rest(&gateway.envoy, "GET", "/v1/products/1", &headers, "");
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("12")));
}

#[test]
fn a_path_without_a_route_is_refused_and_the_other_is_not() {
    let gateway = RestToGrpc::start(|bootstrap| {
        let connection = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
        let routes = &mut connection["typed_config"]["route_config"]["virtual_hosts"][0]["routes"];
        let routes = routes.as_array_mut().expect("routes");
        routes.retain(|route| !route["match"].to_string().contains("products.v1"));
        assert_eq!(routes.len(), 2);
    });
    let ada = bearer("ada", "");
    let answer = rest(&gateway.envoy, "GET", "/v1/products/1", &[("authorization", &ada)], "");
    assert_eq!(
        (answer.status, &answer.json()["name"]),
        (200, &json!("toll")),
        "{}",
        answer.text()
    );
    let status = get_product(&gateway.envoy, "1", &[("authorization", &ada)]).expect_err("a refusal");
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no_policy"));
}

#[test]
fn both_kinds_of_clients_share_a_limit() {
    // So long that nothing comes back meanwhile, on whatever machine.
    let gateway = RestToGrpc::start(|bootstrap| {
        let filters = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
        let tollgate = &mut filters["typed_config"]["http_filters"][1]["typed_config"]["config"];
        let limit = &mut tollgate["configuration"]["value"]["rate_limits"][0];
        assert_eq!((&limit["limit"], &limit["window"]), (&json!(60), &json!("1m")));
        limit["window"] = json!("24h");
    });
    let ada = bearer("ada", "");
    for _ in 0..30 {
        // A stream counts once, however much is in it.
        let answer = rest(&gateway.envoy, "GET", "/v1/products", &[("authorization", &ada)], "");
        assert_eq!((answer.status, answer.json().as_array().map(Vec::len)), (200, Some(3)));
        get_product(&gateway.envoy, "1", &[("authorization", &ada)]).expect("a product");
    }
    let answer = rest(&gateway.envoy, "GET", "/v1/products/1", &[("authorization", &ada)], "");
    assert_eq!((answer.status, &answer.json()["code"]), (429, &json!("rate_limited")));
    assert!(answer.header("retry-after").is_some());
    let status = get_product(&gateway.envoy, "1", &[("authorization", &ada)]).expect_err("a refusal");
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "rate_limited")
    );
    assert!(status.metadata().contains_key("retry-after"), "{status:?}");
    let bob = bearer("bob", "");
    get_product(&gateway.envoy, "1", &[("authorization", &bob)]).expect("another user's limit");
}

#[test]
fn identity_arrives_as_metadata_and_what_is_forged_does_not() {
    let gateway = RestToGrpc::start(|_| {});
    let ada = bearer("ada", "products.read products.write");
    let sent = [
        ("authorization", ada.as_str()),
        ("x-user-id", "root"),
        ("x-tenant-id", "all"),
        ("x-client", "test"),
    ];
    let answer = rest(&gateway.envoy, "GET", "/v1/products/-/inspection", &sent, "");
    let by_rest = answer.json()["metadata"].as_array().cloned().expect("metadata");
    let by_rest: Vec<_> = by_rest
        .iter()
        .filter_map(|entry| Some((entry["name"].as_str()?.to_owned(), entry["value"].as_str()?.to_owned())))
        .collect();
    let asked = with(InspectRequest::default(), &sent);
    let answer = runtime()
        .block_on(native(&gateway.envoy).inspect(asked))
        .expect("metadata");
    let entries = answer.into_inner().metadata.into_iter();
    let by_grpc: Vec<_> = entries.map(|entry| (entry.name, entry.value)).collect();
    for metadata in [by_rest, by_grpc] {
        let all = |name: &str| {
            let values = metadata.iter().filter(|(key, _)| key == name);
            values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(all("x-user-id"), ["ada"]);
        assert_eq!(all("x-user-scopes"), ["products.read,products.write"]);
        assert_eq!(all("x-auth-method"), ["jwt"]);
        assert_eq!(all("x-client"), ["test"]);
        assert!(
            all("x-tenant-id").is_empty() && all("authorization").is_empty(),
            "{metadata:?}"
        );
    }
}

#[test]
fn browsers_may_call_it() {
    let gateway = RestToGrpc::start(|_| {});
    let origin = ("origin", "https://app.example");
    let preflight = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = rest(&gateway.envoy, "OPTIONS", "/v1/products", &preflight, "");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some(origin.1))
    );
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
    let ada = bearer("ada", "");
    for (path, authorization, status) in [
        ("/v1/products/1", "Bearer x", 401),
        ("/v1/products/9", ada.as_str(), 404),
    ] {
        let answer = rest(
            &gateway.envoy,
            "GET",
            path,
            &[origin, ("authorization", authorization)],
            "",
        );
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (status, Some(origin.1))
        );
    }
}
