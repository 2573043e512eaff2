//! A client that speaks HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::server::runtime;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Vec<u8>,
    /// What followed it.
    pub trailers: Option<HeaderMap>,
}

/// One request on a connection of its own, its body in these pieces, trailers after it. `Err` where the stream breaks off.
pub fn send(
    address: SocketAddr,
    request: Request<()>,
    pieces: &[&[u8]],
    trailers: Option<HeaderMap>,
) -> Result<Answer, h2::Error> {
    runtime().block_on(async move {
        let stream = TcpStream::connect(address).await.expect("a connection");
        exchange(stream, request, pieces, trailers).await
    })
}

/// The same over TLS, with whoever shows this name.
pub fn send_tls(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
    request: Request<()>,
    pieces: &[&[u8]],
) -> Result<Answer, h2::Error> {
    runtime().block_on(async move {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        let stream = stream.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        exchange(stream, request, pieces, None).await
    })
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<()>,
    pieces: &[&[u8]],
    trailers: Option<HeaderMap>,
) -> Result<Answer, h2::Error> {
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let mut client = client.ready().await?;
    let is_bodiless = pieces.is_empty() && trailers.is_none();
    let (response, mut body) = client.send_request(request, is_bodiless)?;
    for (place, piece) in pieces.iter().enumerate() {
        let ends = trailers.is_none() && place + 1 == pieces.len();
        body.send_data(Bytes::copy_from_slice(piece), ends)?;
    }
    if let Some(trailers) = trailers {
        body.send_trailers(trailers)?;
    }
    let (parts, mut body) = response.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        bytes.extend_from_slice(&chunk);
        body.flow_control().release_capacity(chunk.len())?;
    }
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: bytes,
        trailers: body.trailers().await?,
    })
}
