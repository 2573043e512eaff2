//! Services that answer when the test says so, and as it says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use crate::server::{listener, serve};
use crate::steps::{Answered, Received};

/// Services that share one list of calls.
#[derive(Debug, Clone, Default)]
pub struct Services {
    calls: Arc<Mutex<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    received: Vec<Received>,
    unanswered: BTreeMap<usize, oneshot::Sender<Answered>>,
}

impl Services {
    /// Starts a service; it speaks HTTP/1.1 and HTTP/2 with prior knowledge.
    pub fn start(&self, name: &str) -> SocketAddr {
        let listener = listener();
        let address = listener.local_addr().expect("an address");
        let state = (self.clone(), name.to_owned());
        serve(listener, Router::new().fallback(hold).with_state(state));
        address
    }

    /// Calls that are not answered, and that their caller has not given up.
    pub fn received(&self) -> Vec<Received> {
        let calls = self.calls.lock().expect("not poisoned");
        let is_open = |call: &&Received| {
            let caller = calls.unanswered.get(&call.number);
            caller.is_some_and(|caller| !caller.is_closed())
        };
        calls.received.iter().filter(is_open).cloned().collect()
    }

    /// Answers a call, unless the caller has given it up.
    pub fn answer(&self, number: usize, answer: &Answered) {
        let caller = self.calls.lock().expect("not poisoned").unanswered.remove(&number);
        drop(caller.expect("a call that is not answered").send(answer.clone()));
    }

    fn receive(&self, call: Received) -> oneshot::Receiver<Answered> {
        let (sender, receiver) = oneshot::channel();
        let mut calls = self.calls.lock().expect("not poisoned");
        let number = calls.received.len();
        calls.received.push(Received { number, ..call });
        calls.unanswered.insert(number, sender);
        receiver
    }
}

async fn hold(State((services, name)): State<(Services, String)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let pseudo = [
        (":method", Some(parts.method.to_string())),
        (":path", parts.uri.path_and_query().map(ToString::to_string)),
        (":authority", parts.uri.authority().map(ToString::to_string)),
    ];
    let pseudo = pseudo
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let headers = parts.headers.iter().map(|(key, value)| (key.to_string(), text(value)));
    let answer = services.receive(Received {
        number: 0,
        service: name,
        headers: pseudo.chain(headers).collect(),
        body: body.to_vec(),
    });
    match answer.await {
        Ok(answer) => respond(&answer),
        // The test is over.
        Err(_) => Response::default(),
    }
}

/// An answer that ends before its declared length, for which Envoy breaks the stream off. As a stream of frames: of a text, the server knows the length.
fn broken() -> Response {
    let begun = Body::from("{\"a\":").map_frame(|frame| frame);
    let mut response = Response::new(Body::new(begun));
    let length = HeaderValue::from_static("100");
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

fn respond(answer: &Answered) -> Response {
    if answer.reset {
        return broken();
    }
    let mut trailers = HeaderMap::new();
    for (name, value) in answer.trailers() {
        trailers.insert(name, HeaderValue::from_static(value));
    }
    let body = Body::from(answer.bytes());
    let body = match trailers.is_empty() {
        true => body,
        false => Body::new(body.with_trailers(async { Some(Ok(trailers)) })),
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status.try_into().expect("a status");
    for (name, value) in answer.all_headers() {
        let name: HeaderName = name.parse().expect("a name");
        response.headers_mut().append(name, value.parse().expect("a value"));
    }
    response
}
