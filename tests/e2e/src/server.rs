//! HTTP servers of this process, on ports of their own, until it ends.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;

use axum::Router;
use tokio::runtime::{Handle, Runtime};

use crate::tls::{Identity, TlsListener};

/// A listener on a free port.
pub fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}

/// Serves where this listens; HTTP/1.1, and HTTP/2 with prior knowledge.
pub fn serve(listener: TcpListener, router: Router) {
    serve_on(runtime().handle(), listener, router);
}

/// The same for as long as this runtime lives.
pub fn serve_on(runtime: &Handle, listener: TcpListener, router: Router) {
    listener.set_nonblocking(true).expect("a listener");
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        axum::serve(listener, router).await.expect("the server runs");
    });
}

/// The same behind TLS.
pub fn serve_tls(runtime: &Handle, listener: TcpListener, identity: Identity, router: Router) {
    listener.set_nonblocking(true).expect("a listener");
    runtime.spawn(async move {
        let tcp = tokio::net::TcpListener::from_std(listener).expect("a listener");
        axum::serve(TlsListener { tcp, identity }, router)
            .await
            .expect("the server runs");
    });
}

/// The one runtime of this process.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}
