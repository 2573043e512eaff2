//! Receives events as an operator's own service would.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::runtime::Runtime;

/// A server on a port of its own, with what it received.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _runtime: Runtime,
}

struct Shared {
    status: u16,
    taken: Vec<Value>,
    refused: usize,
    running: usize,
    most_at_once: usize,
}

impl Receiver {
    /// Answers with this status.
    pub(crate) fn start(status: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        Self::on(listener, status)
    }

    /// The same on a port that was chosen before.
    pub(crate) fn on(listener: std::net::TcpListener, status: u16) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            status,
            taken: Vec::new(),
            refused: 0,
            running: 0,
            most_at_once: 0,
        }));
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let runtime = Runtime::new().expect("a runtime");
        let state = Arc::clone(&shared);
        let handler = move |headers: HeaderMap, body: Bytes| receive(Arc::clone(&state), headers, body);
        let router = Router::new().route("/hook", post(handler));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, router).await.expect("it serves");
        });
        Self {
            address,
            shared,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?token=hook-token-of-the-operator", self.address)
    }

    pub(crate) fn answer(&self, status: u16) {
        self.shared.lock().expect("a lock").status = status;
    }

    /// The events that were taken, in their order.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.shared.lock().expect("a lock").taken.clone()
    }

    pub(crate) fn refused(&self) -> usize {
        self.shared.lock().expect("a lock").refused
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.lock().expect("a lock").most_at_once
    }
}

async fn receive(shared: Arc<Mutex<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    {
        let mut shared = shared.lock().expect("a lock");
        shared.running += 1;
        shared.most_at_once = shared.most_at_once.max(shared.running);
    }
    // Long enough for another instance to come across.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let mut shared = shared.lock().expect("a lock");
    shared.running -= 1;
    assert_eq!(headers["content-type"], "application/cloudevents+json");
    if shared.status == 200 {
        shared.taken.push(serde_json::from_slice(&body).expect("JSON"));
    } else {
        shared.refused += 1;
    }
    StatusCode::from_u16(shared.status).expect("a status")
}
