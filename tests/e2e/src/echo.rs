//! An upstream that answers with what it received, and remembers it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};

use crate::case::{RESPOND, responded};
use crate::raw::{from_latin1, latin1};
use crate::server::{listener, serve};

/// A server on a port of its own, until the process ends.
#[derive(Debug, Clone)]
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    name: String,
}

/// One request as the upstream received it. Values are ISO-8859-1, so that no byte is lost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Which upstream it was.
    pub service: String,
    /// As received.
    pub method: String,
    /// With the query.
    pub path: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// What followed the body.
    pub trailers: Vec<(String, String)>,
    /// How long the body was.
    pub body_size: usize,
    /// The body as UTF-8, if it is short.
    pub body: String,
}

impl Echo {
    /// Starts a server that calls itself `name`; it speaks HTTP/1.1 and HTTP/2 with prior knowledge.
    pub fn start(name: &str) -> Self {
        let listener = listener();
        let echo = Self {
            address: listener.local_addr().expect("an address"),
            seen: Arc::default(),
            name: name.to_owned(),
        };
        let router = Router::new().fallback(answer).with_state(echo.clone());
        serve(listener, router);
        echo
    }

    /// The requests that it has received since this was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("not poisoned"))
    }
}

impl Seen {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

async fn answer(State(echo): State<Echo>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.ok();
    let pairs = |map: &http::HeaderMap| {
        let pairs = map
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), from_latin1(value.as_bytes())));
        pairs.collect::<Vec<_>>()
    };
    let trailers = body
        .as_ref()
        .and_then(|body| body.trailers())
        .map(pairs)
        .unwrap_or_default();
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    let seen = Seen {
        service: echo.name.clone(),
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: pairs(&parts.headers),
        trailers,
        body_size: bytes.len(),
        body: Some(String::from_utf8_lossy(&bytes).into_owned())
            .filter(|text| text.len() < MOST_SHOWN)
            .unwrap_or_default(),
    };
    let told = seen
        .all(RESPOND)
        .into_iter()
        .map(responded)
        .find(|(name, _)| *name == ":body");
    let text = match told {
        Some((_, text)) => latin1(text),
        None => serde_json::to_vec(&seen).expect("JSON"),
    };
    let mut response = ([(http::header::CONTENT_TYPE, "application/json")], text).into_response();
    for line in seen.all(RESPOND) {
        match responded(line) {
            (":status", status) => *response.status_mut() = status.parse().expect("a status"),
            (":body" | ":trailer", _) => {}
            ("content-type", value) => {
                let value = value.parse().expect("a value");
                response.headers_mut().insert(http::header::CONTENT_TYPE, value);
            }
            (name, value) => {
                let name: http::HeaderName = name.parse().expect("a name");
                response.headers_mut().append(name, value.parse().expect("a value"));
            }
        }
    }
    let trailers: http::HeaderMap = seen
        .all(RESPOND)
        .into_iter()
        .map(responded)
        .filter(|(name, _)| *name == ":trailer")
        .map(|(_, line)| line.split_once('=').expect("`name=value`"))
        .map(|(name, value)| {
            (
                name.parse::<http::HeaderName>().expect("a name"),
                value.parse().expect("a value"),
            )
        })
        .collect();
    echo.seen.lock().expect("not poisoned").push(seen);
    if !trailers.is_empty() {
        let with = |body: axum::body::Body| axum::body::Body::new(body.with_trailers(async { Some(Ok(trailers)) }));
        return response.map(with);
    }
    response
}

/// Bytes; the answer tells of the whole request.
const MOST_SHOWN: usize = 64 * 1024;
