//! The service's paths, and the token that each needs.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tollgate::auth::api_key::wire::{LookupAnswer, LookupRequest, MAX_HASHES, MAX_WAIT};
use tollgate::clock::Seconds;

use super::problem::Problem;
use super::tokens::Role;
use super::{Service, administration, feed};

pub(super) type Answer = Result<Response, Problem>;

pub(super) fn router(service: Arc<Service>) -> Router {
    let gateways = Router::new()
        .route("/v1/keys/lookup", post(lookup))
        .route("/v1/keys/changes", get(feed::changes))
        .route_layer(from_fn_with_state((Arc::clone(&service), Role::Lookup), admit));
    let administrators = Router::new()
        .route("/v1/keys", get(administration::list).post(administration::create))
        .route("/v1/keys/import", post(administration::import))
        .route("/v1/keys/{id}/rotate", post(administration::rotate))
        .route("/v1/keys/{id}/revoke", post(administration::revoke))
        .route_layer(from_fn_with_state((Arc::clone(&service), Role::Admin), admit));
    let all = Router::new()
        .route("/healthz", get(health))
        .merge(gateways)
        .merge(administrators)
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "unknown path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not allow this method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY));
    guarded(all).with_state(service)
}

/// What holds for every request, whatever becomes of it.
fn guarded<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    // The last one is around the others: what comes too late is not kept either.
    router.layer(from_fn(bounded)).layer(from_fn(no_store))
}

async fn admit(
    State((service, role)): State<(Arc<Service>, Role)>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    match (sent.next(), sent.next()) {
        (Some(value), None) if service.tokens.admit(role, value.as_bytes()) => next.run(request).await,
        _ => {
            let wanted = match role {
                Role::Admin => "needs the administrators' token: Authorization: Bearer ...",
                Role::Lookup => "needs the gateways' token: Authorization: Bearer ...",
            };
            Problem::new(StatusCode::UNAUTHORIZED, wanted).into_response()
        }
    }
}

/// Ends requests after [`REQUEST_WITHIN`]: no answer is held that long, so the body has not arrived.
async fn bounded(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time").into_response()
        }
    }
}

/// Forbids caching: answers get outdated, and may contain a key.
async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn health(State(service): State<Arc<Service>>) -> Answer {
    match tokio::time::timeout(HEALTHY_WITHIN, service.registry.store.version()).await {
        Ok(version) => version?,
        Err(_) => {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer",
            ));
        }
    };
    json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
}

async fn lookup(State(service): State<Arc<Service>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let LookupRequest { hashes } = read(body)?;
    if !(1..=MAX_HASHES).contains(&hashes.len()) {
        return Err(unprocessable(format!("hashes must have 1 to {MAX_HASHES} entries")));
    }
    let store = &service.registry.store;
    // The version is read before the key, so that a change in between counts as one after it.
    let version = store.version().await?;
    let key = store.lookup(&hashes).await?.map(|key| key.record);
    json(StatusCode::OK, &LookupAnswer { version, key })
}

/// What a query asks for.
pub(super) fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query
        .map(|Query(asked)| asked)
        .map_err(|rejection| bad_query(rejection.body_text()))
}

/// Parses a JSON body.
pub(super) fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body must have at most {MAX_BODY} bytes"),
        ),
        status => Problem::new(status, "the body cannot be read"),
    })?;
    serde_json::from_slice(&body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => unprocessable(error.to_string()),
        _ => Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")),
    })
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_string(value)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written"))?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A 400 problem: the query has an unknown parameter or a bad value.
pub(super) fn bad_query(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// A 422 problem: the request is well-formed but invalid.
pub(super) fn unprocessable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

/// Maximum size of a request's body: 64 KiB.
const MAX_BODY: usize = 65_536;

/// How long a request may take; one for changes is held for `MAX_WAIT`.
const REQUEST_WITHIN: Duration = MAX_WAIT.saturating_add(Seconds::new(30)).duration();

const HEALTHY_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    #[tokio::test(start_paused = true)]
    async fn what_comes_too_late_is_not_kept_either() {
        let router = guarded(Router::new().route("/", get(std::future::pending::<()>)));
        let request = Request::new(Body::empty());
        let response = TowerToHyperService::new(router).call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
}
