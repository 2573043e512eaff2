//! An issuer's HTTP server: publishes a key set, or fails in a chosen way, and counts who asks.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::server::{listener, serve};

/// A server on a port of its own, until the process ends.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// Where it listens.
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    answer: Answer,
    requests: Vec<String>,
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This document.
    Document(Value),
    /// This document with a header.
    WithHeader(Value, &'static str, &'static str),
    /// This status and text.
    Text(u16, String),
    /// So many bytes of white space and then the document.
    Large(usize, Value),
    /// One byte of the document in each of these.
    Drip(Value, Duration),
    /// Nothing, ever.
    Silence,
}

impl Publisher {
    /// Starts a server.
    pub fn start(answer: Answer) -> Self {
        Self::serve(listener(), answer)
    }

    /// Serves where this listens.
    pub fn serve(listener: TcpListener, answer: Answer) -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            answer,
            requests: Vec::new(),
        }));
        let publisher = Self {
            address: listener.local_addr().expect("an address"),
            inner,
        };
        let router = Router::new().fallback(answer_one).with_state(publisher.clone());
        serve(listener, router);
        publisher
    }

    /// From now on.
    pub fn answer(&self, answer: Answer) {
        self.inner.lock().expect("not poisoned").answer = answer;
    }

    /// The paths that were asked for so far.
    pub fn requests(&self) -> Vec<String> {
        self.inner.lock().expect("not poisoned").requests.clone()
    }
}

async fn answer_one(State(publisher): State<Publisher>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let answer = {
        let mut inner = publisher.inner.lock().expect("not poisoned");
        inner.requests.push(path.clone());
        inner.answer.clone()
    };
    if path == "/.well-known/openid-configuration" {
        let host = request
            .headers()
            .get("host")
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let document = json!({"issuer": "https://issuer.example", "jwks_uri": format!("https://{host}/keys?v=1")});
        return respond(200, document.to_string().into());
    }
    match answer {
        Answer::Document(document) => respond(200, document.to_string().into()),
        Answer::WithHeader(document, name, value) => {
            let mut response = respond(200, document.to_string().into());
            response.headers_mut().insert(name, value.parse().expect("a header"));
            response
        }
        Answer::Text(status, text) => respond(status, text.into()),
        Answer::Large(size, document) => respond(200, format!("{}{document}", " ".repeat(size)).into()),
        Answer::Drip(document, pause) => respond(200, Body::new(Drip::new(document.to_string(), pause))),
        Answer::Silence => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            respond(200, Body::empty())
        }
    }
}

fn respond(status: u16, body: Body) -> Response {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    response.body(body).expect("a response")
}

/// A body of one byte at a time.
struct Drip {
    bytes: std::vec::IntoIter<u8>,
    pause: Duration,
    sleep: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl Drip {
    fn new(text: String, pause: Duration) -> Self {
        Self {
            bytes: text.into_bytes().into_iter(),
            pause,
            sleep: Box::pin(tokio::time::sleep(pause)),
        }
    }
}

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        use std::future::Future as _;
        std::task::ready!(self.sleep.as_mut().poll(context));
        let pause = self.pause;
        self.sleep.as_mut().reset(tokio::time::Instant::now() + pause);
        let byte = self.bytes.next();
        std::task::Poll::Ready(byte.map(|byte| Ok(http_body::Frame::data(Bytes::copy_from_slice(&[byte])))))
    }
}
