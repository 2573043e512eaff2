//! The administrators' endpoints: the same operations as on the command line.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::problem::Problem;
use super::router::{self, Answer, bad_query, json as answer, read};
use super::{Service, feed};
use crate::model::{Rotation, Shown, now};
use crate::registry::Made;
use crate::store::Filter;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    user_id: Option<String>,
    tenant_id: Option<String>,
    #[serde(default)]
    all: bool,
    limit: Option<u32>,
    after: Option<String>,
}

/// `POST /v1/keys`.
pub(super) async fn create(State(service): State<Arc<Service>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let made = service.registry.create(read(body)?).await?;
    changed(&service).await;
    show(&made)
}

/// `POST /v1/keys/import`.
pub(super) async fn import(State(service): State<Arc<Service>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let key = service.registry.import(read(body)?).await?;
    changed(&service).await;
    answer(StatusCode::CREATED, &json!({"record": key.view(now())}))
}

/// `POST /v1/keys/{id}/rotate`.
pub(super) async fn rotate(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let rotation = match body {
        Ok(body) if body.is_empty() => Rotation::default(),
        body => read(body)?,
    };
    let made = service.registry.rotate(&id, rotation).await?;
    changed(&service).await;
    show(&made)
}

/// `POST /v1/keys/{id}/revoke`.
pub(super) async fn revoke(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Answer {
    let (key, _) = service.registry.revoke(&id).await?;
    changed(&service).await;
    answer(StatusCode::OK, &key.view(now()))
}

/// `GET /v1/keys`.
pub(super) async fn list(State(service): State<Arc<Service>>, asked: Result<Query<Asked>, QueryRejection>) -> Answer {
    let asked = router::asked(asked)?;
    let page = asked.limit.unwrap_or(DEFAULT_PAGE);
    let filter = filter(asked, page)?;
    let now = now();
    let mut keys = service.registry.store.list(&filter, now).await?;
    let page = usize::try_from(page).unwrap_or(usize::MAX);
    let more = keys.len() > page;
    keys.truncate(page);
    let next = keys.last().filter(|_| more).map(|key| key.record.id.clone());
    let keys: Vec<_> = keys.iter().map(|key| key.view(now)).collect();
    answer(StatusCode::OK, &json!({"keys": keys, "next": next}))
}

/// The keys of one page, and one more that shows whether there is a next one.
fn filter(asked: Asked, page: u32) -> Result<Filter, Problem> {
    if !(1..=MAX_PAGE).contains(&page) {
        return Err(bad_query(format!("limit must be 1 to {MAX_PAGE}")));
    }
    for (name, value) in [
        ("user_id", &asked.user_id),
        ("tenant_id", &asked.tenant_id),
        ("after", &asked.after),
    ] {
        if value.as_ref().is_some_and(String::is_empty) {
            return Err(bad_query(format!(
                "{name} is empty; leave it out to list the keys of all"
            )));
        }
    }
    Ok(Filter {
        user_id: asked.user_id,
        tenant_id: asked.tenant_id,
        all: asked.all,
        after: asked.after,
        limit: page.saturating_add(1),
    })
}

fn show(Made { key, stored }: &Made) -> Answer {
    let record = stored.view(now());
    answer(StatusCode::CREATED, &Shown { key, record })
}

/// Wakes the gateways that wait for changes. If this fails, [`feed::poll`] wakes them.
async fn changed(service: &Service) {
    if let Ok(seen) = service.registry.store.version().await {
        feed::tell(&service.version, seen);
    }
}

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;

    #[test]
    fn whatever_is_wrong_with_a_query_is_one_status() {
        let status = |query: &str| {
            let uri = format!("http://h/v1/keys?{query}").parse().unwrap();
            let asked = router::asked(Query::<Asked>::try_from_uri(&uri));
            let filter = asked.and_then(|asked| {
                let page = asked.limit.unwrap_or(DEFAULT_PAGE);
                filter(asked, page)
            });
            filter.err().map(|problem| problem.into_response().status().as_u16())
        };
        for good in ["", "user_id=u&tenant_id=t&all=true&limit=1000&after=k"] {
            assert_eq!(status(good), None, "{good}");
        }
        for bad in [
            "user=u",
            "all=1",
            "limit=x",
            "limit=0",
            "limit=1001",
            "user_id=",
            "tenant_id=",
            "after=",
        ] {
            assert_eq!(status(bad), Some(400), "{bad}");
        }
    }
}
