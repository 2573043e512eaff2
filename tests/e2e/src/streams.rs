//! An upstream whose answers come in pieces: what the gateway holds shows.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use tokio::sync::Semaphore;

use crate::server::{listener, serve};

/// A server on a port of its own, until the process ends.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Where it listens.
    pub address: SocketAddr,
    next: Arc<Semaphore>,
}

impl Streams {
    /// Starts it. `/RULE/count` is answered with the number of the request's bytes; `/RULE/bytes/N` with N
    /// bytes; any other path with the header `x-pieces`, split at `|`, of which each but the first waits for
    /// [`next`](Self::next). The content type of an answer is that of the header `x-type`.
    pub fn start() -> Self {
        let listener = listener();
        let streams = Self {
            address: listener.local_addr().expect("an address"),
            next: Arc::new(Semaphore::new(0)),
        };
        let router = Router::new()
            .route("/{rule}/count", any(count))
            .route("/{rule}/bytes/{count}", get(bytes))
            .fallback(pieces)
            .with_state(streams.clone());
        serve(listener, router);
        streams
    }

    /// Lets one more piece go.
    pub fn next(&self) {
        self.next.add_permits(1);
    }
}

async fn count(request: Request) -> Response {
    let mut body = request.into_body();
    let mut count = 0;
    while let Some(Ok(frame)) = body.frame().await {
        count += frame.data_ref().map_or(0, Bytes::len);
    }
    count.to_string().into_response()
}

async fn bytes(axum::extract::Path((_, count)): axum::extract::Path<(String, usize)>, request: Request) -> Response {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        let mut left = count;
        while left > 0 {
            let own = piece.slice(..left.min(piece.len()));
            left -= own.len();
            if sender.send_data(own).await.is_err() {
                break;
            }
        }
    });
    typed(&request, body)
}

async fn pieces(State(streams): State<Streams>, request: Request) -> Response {
    let text = request.headers().get("x-pieces").and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default().to_owned();
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for (place, piece) in text.split('|').enumerate() {
            if place > 0 {
                streams.next.acquire().await.expect("it is open").forget();
            }
            if sender.send_data(Bytes::from(piece.to_owned())).await.is_err() {
                break;
            }
        }
    });
    typed(&request, body)
}

fn typed(request: &Request, body: Channel<Bytes>) -> Response {
    let mut response = Response::new(Body::new(body));
    if let Some(value) = request.headers().get("x-type") {
        response.headers_mut().insert(http::header::CONTENT_TYPE, value.clone());
    }
    response
}
