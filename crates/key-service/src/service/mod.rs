//! The HTTP service for gateways and administrators, with the delivery of events.

mod administration;
mod connections;
mod feed;
mod problem;
mod router;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate::clock::Millis;

use crate::error::{Error, Result};
use crate::log;
use crate::model::wall;
use crate::outbox::{self, Webhook};
use crate::registry::{Registry, announce_expired};
use crate::store::Store;

pub use tokens::Tokens;

/// The state that all requests share.
struct Service {
    registry: Registry,
    tokens: Tokens,
    /// The newest version known here; a new one wakes requests that wait for changes.
    version: watch::Sender<u64>,
    stopping: watch::Receiver<bool>,
}

/// Serves at an address until SIGTERM or SIGINT, and delivers events, to a webhook too if there is one.
pub async fn serve(listen: &str, tokens: Tokens, registry: Registry, webhook: Option<Webhook>) -> Result<()> {
    let store = registry.store.clone();
    let (version, changed) = watch::channel(store.version().await?);
    let (stop, stopping) = watch::channel(false);
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| Error::failed("--listen", error))?;
    let address = listener
        .local_addr()
        .map_err(|error| Error::failed("--listen", error))?;
    let service = Arc::new(Service {
        registry,
        tokens,
        version: version.clone(),
        stopping: stopping.clone(),
    });
    let signals = watch_signals(stop)?;
    let delivery = tokio::spawn(outbox::run(store.clone(), webhook, changed, stopping.clone()));
    let background = [
        tokio::spawn(feed::poll(store.clone(), version)),
        tokio::spawn(expire(store.clone())),
        tokio::spawn(prune(store.clone())),
    ];
    log::line(&format!("tollgate keys: listening on http://{address}"));
    let server = tokio::spawn(connections::serve(listener, router::router(service), stopping.clone()));
    let mut stopped = stopping;
    let _ = stopped.wait_for(|stopping| *stopping).await;
    log::line("tollgate keys: stopping");
    end(server).await;
    // Waits for a delivery in progress, so that the event is not sent twice.
    end(delivery).await;
    for task in background {
        task.abort();
    }
    signals.abort();
    let _ = tokio::time::timeout(END_WITHIN, store.close()).await;
    log::line("tollgate keys: stopped");
    Ok(())
}

/// Waits for a task that was asked to end; aborts it after [`END_WITHIN`].
async fn end<T>(task: JoinHandle<T>) {
    let abort = task.abort_handle();
    if tokio::time::timeout(END_WITHIN, task).await.is_err() {
        abort.abort();
    }
}

fn watch_signals(stop: watch::Sender<bool>) -> Result<JoinHandle<()>> {
    let watched = |kind| signal(kind).map_err(|error| Error::failed("signals", error));
    let (mut terminate, mut interrupt) = (watched(SignalKind::terminate())?, watched(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
        // Keeps the sender alive: receivers fail without one.
        std::future::pending::<()>().await;
    }))
}

/// Writes events for expired keys, every second.
async fn expire(store: Store) {
    loop {
        match announce_expired(&store).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => log::line(&format!("expired keys are not announced: {error}; next attempt in 1 s")),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Deletes old events, every [`PRUNE_EVERY`].
async fn prune(store: Store) {
    loop {
        if let Err(error) = store.prune(wall().saturating_sub(KEEP)).await {
            log::line(&format!("old events are not deleted: {error}; next attempt in 10m"));
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

const END_WITHIN: Duration = Duration::from_secs(7);

/// How long a delivered event is kept: seven days.
const KEEP: Millis = Millis::new(7 * 86_400_000);

const PRUNE_EVERY: Duration = Duration::from_secs(600);
