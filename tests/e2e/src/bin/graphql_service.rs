//! The article's GraphQL service as one would write it by hand, for the bench to compare with: three fields by three calls, and operations
//! known by Apollo's hash once they were sent. Arguments: the address of the services. It prints its own.

use async_graphql::extensions::apollo_persisted_queries::{ApolloPersistedQueries, LruCacheStorage};
use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Object, Request, Schema, SimpleObject};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tollgate_e2e::pooled::{Pooled, address, serve};

type Dashboards = Schema<Query, EmptyMutation, EmptySubscription>;

#[tokio::main]
async fn main() {
    let schema: Dashboards = Schema::build(Query, EmptyMutation, EmptySubscription)
        .data(Pooled::new(address()))
        .extension(ApolloPersistedQueries::new(LruCacheStorage::new(256)))
        .finish();
    serve(Router::new().fallback(post(answer)).with_state(schema)).await;
}

async fn answer(State(schema): State<Dashboards>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Request>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let text = serde_json::to_vec(&schema.execute(request).await).expect("JSON");
    ([(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
}

struct Query;

#[Object]
impl Query {
    async fn dashboard(&self) -> Dashboard {
        Dashboard
    }
}

struct Dashboard;

#[Object]
impl Dashboard {
    async fn profile(&self, cx: &Context<'_>) -> Option<Profile> {
        ask(cx, "/profile").await
    }

    async fn recent_orders(&self, cx: &Context<'_>, limit: i32) -> Option<Vec<Order>> {
        ask(cx, &format!("/orders?limit={limit}")).await
    }

    async fn metrics(&self, cx: &Context<'_>) -> Option<Metrics> {
        ask(cx, "/metrics").await
    }
}

async fn ask<T: DeserializeOwned>(cx: &Context<'_>, path: &str) -> Option<T> {
    cx.data_unchecked::<Pooled>().ask(path).await
}

#[derive(SimpleObject, Deserialize)]
struct Profile {
    id: ID,
    name: String,
    email: Option<String>,
    avatar: Option<String>,
}

#[derive(SimpleObject, Deserialize)]
struct Order {
    id: ID,
    total: f64,
    status: Option<String>,
}

#[derive(SimpleObject, Deserialize)]
struct Metrics {
    visits: Option<i32>,
    revenue: Option<f64>,
}
