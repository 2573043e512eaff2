//! The changes endpoint for gateways that cache keys, by long polling: the answer is held until something changes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tollgate::auth::api_key::wire::MAX_WAIT;
use tollgate::clock::Seconds;

use super::Service;
use super::router::{self, Answer, bad_query, json};
use crate::log;
use crate::store::Store;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    after: Option<u64>,
    /// In seconds.
    #[serde(default)]
    wait: u64,
}

/// `GET /v1/keys/changes`.
pub(super) async fn changes(
    State(service): State<Arc<Service>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    let Asked { after, wait } = router::asked(asked)?;
    let wait = Seconds::new(wait);
    if wait > MAX_WAIT {
        return Err(bad_query(format!("wait is at most {} seconds", MAX_WAIT.get())));
    }
    let deadline = Instant::now().checked_add(wait.duration()).unwrap_or_else(Instant::now);
    let mut version = service.version.subscribe();
    let mut stopping = service.stopping.clone();
    loop {
        // Before the query, so that a change during it ends the wait below at once.
        version.mark_unchanged();
        let changes = service.registry.store.changes(after).await?;
        let new = changes.all || Some(changes.version) != after;
        if new || Instant::now() >= deadline || *stopping.borrow() {
            return json(StatusCode::OK, &changes);
        }
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => {}
            _ = version.changed() => {}
            _ = stopping.changed() => {}
        }
    }
}

/// Polls the database for changes by other processes.
pub(super) async fn poll(store: Store, version: watch::Sender<u64>) {
    let mut failing = false;
    loop {
        match store.version().await {
            Ok(seen) => {
                failing = false;
                tell(&version, seen);
            }
            Err(error) if !failing => {
                failing = true;
                log::line(&format!(
                    "cannot read changes: {error}; gateways do not learn of revoked keys until this succeeds"
                ));
            }
            Err(_) => {}
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Wakes waiting requests if `seen` is a new version.
pub(super) fn tell(version: &watch::Sender<u64>, seen: u64) {
    version.send_if_modified(|known| {
        let news = *known != seen;
        *known = seen;
        news
    });
}

const POLL_EVERY: Duration = Duration::from_millis(100);
