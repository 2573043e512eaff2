//! REST in front of gRPC: `envoy/rest-to-grpc.yaml` with a real service, for REST clients and for gRPC clients.

mod policies;
mod transcoding;

use serde_json::json;
use tollgate_e2e::envoy::{Envoy, validate};
use tollgate_e2e::grpc::build_descriptors;
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::raw::{Response, request};
use tollgate_e2e::server::runtime;
use tollgate_grpc::products::products_client::ProductsClient;
use tollgate_grpc::products::{GetProductRequest, Product};
use tonic::transport::Channel;
use tonic::{Request, Status};

#[test]
fn the_configuration_is_valid_as_it_is() {
    build_descriptors();
    validate(&["-c", "envoy/rest-to-grpc.yaml"]).unwrap_or_else(|refused| panic!("{}", refused.log));
}

/// `Bearer` and a token of this user with these scopes.
fn bearer(user: &str, scope: &str) -> String {
    Issuer::shared().bearer(&json!({"sub": user, "scope": scope}))
}

/// A REST client, which sends a body as JSON.
fn rest(envoy: &Envoy, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let json = [("content-type", "application/json")];
    let all: Vec<_> = [("host", "gateway.example")]
        .iter()
        .chain(headers)
        .chain(if body.is_empty() { &[][..] } else { &json })
        .copied()
        .collect();
    envoy.send(&request(method, path, &all, body.as_bytes()))
}

/// A gRPC client with a connection of its own.
fn native(envoy: &Envoy) -> ProductsClient<Channel> {
    let address = format!("http://{}", envoy.address());
    let connected = runtime().block_on(ProductsClient::connect(address));
    connected.expect("a connection")
}

fn get_product(envoy: &Envoy, id: &str, metadata: &[(&'static str, &str)]) -> Result<Product, Status> {
    let asked = with(GetProductRequest { id: id.to_owned() }, metadata);
    let answer = runtime().block_on(native(envoy).get_product(asked));
    answer.map(tonic::Response::into_inner)
}

/// A message with this metadata.
fn with<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        let value = value.parse().expect("a value");
        request.metadata_mut().append(*name, value);
    }
    request
}
