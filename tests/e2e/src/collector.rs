//! An OpenTelemetry collector: takes spans by OTLP over HTTP and keeps them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

use crate::server::{listener, serve};

/// A collector on a port of its own, until the process ends.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
}

/// A span as it came.
#[derive(Debug, Clone)]
pub struct Span {
    /// Whose it is: `service.name` of its resource.
    pub service: String,
    /// Of the whole trace, hexadecimal.
    pub trace_id: String,
    /// Its own, hexadecimal.
    pub span_id: String,
    /// Of the span that it is part of; empty for the first.
    pub parent_id: String,
    /// Its name.
    pub name: String,
    /// What is said of it, as text.
    pub attributes: Vec<(String, String)>,
}

impl Collector {
    /// Starts a collector.
    pub fn start() -> Self {
        let listener = listener();
        let collector = Self {
            address: listener.local_addr().expect("an address"),
            spans: Arc::default(),
        };
        let router = Router::new().route("/v1/traces", post(take));
        serve(listener, router.with_state(collector.clone()));
        collector
    }

    /// The spans that have come so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("not poisoned").clone()
    }
}

impl Span {
    /// What is said of it under this name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let own = self.attributes.iter().find(|(key, _)| key == name);
        own.map(|(_, value)| value.as_str())
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap_or_default();
        let service = texts(resource.attributes)
            .into_iter()
            .find(|(name, _)| name == "service.name")
            .map(|(_, value)| value)
            .unwrap_or_default();
        let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let spans = spans.map(|span| Span {
            service: service.clone(),
            trace_id: hexadecimal(&span.trace_id),
            span_id: hexadecimal(&span.span_id),
            parent_id: hexadecimal(&span.parent_span_id),
            name: span.name,
            attributes: texts(span.attributes),
        });
        collector.spans.lock().expect("not poisoned").extend(spans);
    }
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
