//! Connections of the key service, limited in number and idle time.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::log;

/// Serves until `stopping` is true, then answers the requests in progress.
pub(super) async fn serve(listener: TcpListener, router: Router, mut stopping: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    let told = stopping.clone();
    loop {
        let accepted = async {
            // The connection holds its permit until it ends. The semaphore is never closed, so this does not fail.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let (router, stopping) = (router.clone(), told.clone());
                    connections.spawn(async move {
                        connection(stream, router, stopping).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    log::line(&format!("cannot accept a connection: {error}; next attempt in 100 ms"));
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stopped(&mut stopping) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    let has_asked = Arc::new(AtomicBool::new(false));
    let service = Noted {
        inner: TowerToHyperService::new(router),
        has_asked: Arc::clone(&has_asked),
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut first = pin!(tokio::time::sleep(FIRST_WITHIN));
    let mut is_watched = true;
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // Errors of a connection are not logged: they concern only its client.
            _ = &mut serving => return,
            () = &mut first, if is_watched => {
                if !has_asked.load(Ordering::Relaxed) {
                    return;
                }
                is_watched = false;
            }
            () = stopped(&mut stopping), if !is_stopping => {
                serving.as_mut().graceful_shutdown();
                is_stopping = true;
            }
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// A service that records whether a request has come.
struct Noted {
    inner: TowerToHyperService<Router>,
    has_asked: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for Noted {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.has_asked.store(true, Ordering::Relaxed);
        self.inner.call(request)
    }
}

/// Connections at a time; others wait. Fewer than the default limit of open files, so that some are left for the
/// database.
const MOST: usize = 512;

/// How long a new connection may take to bring its first request.
const FIRST_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may be idle between requests.
const IDLE: Duration = Duration::from_secs(75);

/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
