//! A backend for frontends as one would write it by hand, for the bench to compare with: it asks one service three times at once, and makes
//! one answer. Arguments: the service's address. It prints its own.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::value::RawValue;
use tollgate_e2e::pooled::{Pooled, address, serve};

#[derive(Serialize)]
struct Dashboard {
    profile: Box<RawValue>,
    orders: Box<RawValue>,
    metrics: Box<RawValue>,
}

#[tokio::main]
async fn main() {
    let service = Pooled::new(address());
    serve(Router::new().fallback(get(dashboard)).with_state(service)).await;
}

async fn dashboard(State(service): State<Pooled>) -> Response {
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
