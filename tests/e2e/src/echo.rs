//! An upstream that answers with what it received, and remembers it.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, Runtime};

use crate::case::{RESPOND, responded};
use crate::catalogue::known;
use crate::raw::{from_latin1, latin1};
use crate::server::{listener, runtime, serve_on, serve_tls};
use crate::tls::Identity;

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
    /// Of the request line; HTTP/2 has it there, and no `host`.
    #[serde(default)]
    pub authority: String,
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
        Self::start_on(runtime().handle(), listener(), name, None)
    }

    fn start_on(runtime: &Handle, listener: TcpListener, name: &str, identity: Option<Identity>) -> Self {
        let echo = Self {
            address: listener.local_addr().expect("an address"),
            seen: Arc::default(),
            name: name.to_owned(),
        };
        let router = Router::new().fallback(answer).with_state(echo.clone());
        match identity {
            Some(identity) => serve_tls(runtime, listener, identity, router),
            None => serve_on(runtime, listener, router),
        }
        echo
    }

    /// The requests that it has received since this was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("not poisoned"))
    }
}

/// An upstream that can die, with all of its connections, and come back where it was.
pub struct Mortal {
    /// What it is while it lives.
    pub echo: Echo,
    identity: Option<Identity>,
    life: Option<Runtime>,
}

impl Mortal {
    /// Starts one that calls itself `name`.
    pub fn start(name: &str) -> Self {
        Self::begin(name, None)
    }

    /// The same behind TLS, for the gateway alone.
    pub fn with_identity(name: &str, identity: Identity) -> Self {
        Self::begin(name, Some(identity))
    }

    fn begin(name: &str, identity: Option<Identity>) -> Self {
        let life = Runtime::new().expect("a runtime");
        Self {
            echo: Echo::start_on(life.handle(), listener(), name, identity.clone()),
            identity,
            life: Some(life),
        }
    }

    /// From now on, connections are refused.
    pub fn die(&mut self) {
        let life = self.life.take().expect("it lives");
        life.shutdown_background();
    }

    /// It listens again.
    pub fn revive(&mut self) {
        let life = Runtime::new().expect("a runtime");
        let listener = TcpListener::bind(self.echo.address).expect("its port");
        let revived = Echo::start_on(life.handle(), listener, &self.echo.name, self.identity.clone());
        self.echo = revived;
        self.life = Some(life);
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(life) = self.life.take() {
            life.shutdown_background();
        }
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
        authority: parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: pairs(&parts.headers),
        trailers,
        body_size: bytes.len(),
        body: Some(String::from_utf8_lossy(&bytes).into_owned())
            .filter(|text| text.len() < MOST_SHOWN)
            .unwrap_or_default(),
    };
    let told = |wanted: &str| {
        let told = seen.all(RESPOND).into_iter().map(responded);
        told.filter(|(name, _)| *name == wanted).map(|(_, value)| value).next()
    };
    let after = told(":after").map(|millis| millis.parse().expect("milliseconds"));
    let told = told(":body");
    let text = match told {
        Some(text) => latin1(text),
        None => match known(&seen.service, &seen.path) {
            Some(text) => text.into_bytes(),
            None => serde_json::to_vec(&seen).expect("JSON"),
        },
    };
    let mut response = ([(http::header::CONTENT_TYPE, "application/json")], text).into_response();
    // The catalogue of the bundled gateway's services is everybody's.
    if seen.service == "product-service" {
        let public = http::HeaderValue::from_static("public, max-age=60");
        response.headers_mut().insert(http::header::CACHE_CONTROL, public);
    }
    for line in seen.all(RESPOND) {
        match responded(line) {
            (":status", status) => *response.status_mut() = status.parse().expect("a status"),
            (":body" | ":trailer" | ":after", _) => {}
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
    if let Some(millis) = after {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    if !trailers.is_empty() {
        let with = |body: axum::body::Body| axum::body::Body::new(body.with_trailers(async { Some(Ok(trailers)) }));
        return response.map(with);
    }
    response
}

/// Bytes; the answer tells of the whole request.
const MOST_SHOWN: usize = 64 * 1024;
