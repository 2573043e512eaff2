//! Connections of the key service: so many, and none that says nothing for long.

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

/// Serves until it is to stop, and then until what is under way has its answer.
pub(super) async fn serve(listener: TcpListener, router: Router, mut stopping: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    let told = stopping.clone();
    loop {
        let accepted = async {
            // Held by the connection until it ends; a semaphore that nobody closes has one for everybody in turn.
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
                    log::line(&format!("a connection could not be accepted: {error}"));
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
            // What goes wrong with a connection is its client's to know.
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

/// Takes down that a request has come.
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

/// Connections at a time: fewer than a process may have files by default, so that the database has some too. Others wait.
const MOST: usize = 512;

/// Until a new connection has brought its first request.
const FIRST_WITHIN: Duration = Duration::from_secs(5);

/// Until one that has brought some brings the next.
const IDLE: Duration = Duration::from_secs(75);

/// After an error that another try would meet again.
const PAUSE: Duration = Duration::from_millis(100);
