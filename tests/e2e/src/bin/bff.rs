//! A backend for frontends as one would write it by hand, for the bench to compare with: it asks one service three times at once, and makes
//! one answer. Arguments: the service's address. It prints its own.

use std::env;
use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Clone)]
struct Service {
    client: Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
}

#[derive(Serialize)]
struct Dashboard {
    profile: Box<RawValue>,
    orders: Box<RawValue>,
    metrics: Box<RawValue>,
}

#[tokio::main]
async fn main() {
    let address = env::args().nth(1).expect("the service's address");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let service = Service {
        client: Client::builder(TokioExecutor::new()).build(connector),
        address: address.parse().expect("an address"),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(get(dashboard)).with_state(service);
    axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))),
        router,
    )
    .await
    .expect("the server runs");
}

async fn dashboard(State(service): State<Service>) -> Response {
    let (profile, orders, metrics) = tokio::join!(service.ask("/a"), service.ask("/b"), service.ask("/c"));
    let (Some(profile), Some(orders), Some(metrics)) = (profile, orders, metrics) else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let dashboard = Dashboard {
        profile,
        orders,
        metrics,
    };
    let text = serde_json::to_vec(&dashboard).expect("JSON");
    ([(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
}

impl Service {
    async fn ask(&self, path: &str) -> Option<Box<RawValue>> {
        let request = Request::get(format!("http://{}{path}", self.address));
        let response = self.client.request(request.body(Empty::new()).ok()?).await.ok()?;
        let body = response.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice(&body).ok()
    }
}
