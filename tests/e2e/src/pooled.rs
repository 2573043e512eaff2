//! A pooled client of one service, for the services that the bench compares with.

use std::net::SocketAddr;

use axum::body::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

/// A client of one service.
#[derive(Clone)]
pub struct Pooled {
    client: Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
}

impl Pooled {
    /// A client of the service at this address; nothing is connected yet.
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            address,
        }
    }

    /// What the service answers to a GET; `None` for no answer and for what cannot be read.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let request = Request::get(format!("http://{}{path}", self.address));
        let response = self.client.request(request.body(Empty::new()).ok()?).await.ok()?;
        let body = response.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice(&body).ok()
    }
}

/// Serves on a free port of 127.0.0.1, which is the first line of output.
pub async fn serve(router: axum::Router) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router).await.expect("the server runs");
}

/// The service's address, which is the program's first argument.
pub fn address() -> SocketAddr {
    let address = std::env::args().nth(1).expect("the service's address");
    address.parse().expect("an address")
}
