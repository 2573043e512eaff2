//! Certificates as `scripts/certs` makes them, servers that show and demand them, and clients.

use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Once};
use std::time::Duration;

use axum::serve::Listener;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::case::repository;
use crate::raw::{self, Response};

/// A folder that `scripts/certs` has filled.
#[derive(Debug, Clone)]
pub struct Certificates(PathBuf);

impl Certificates {
    /// Those of the repository, `target/certs`, made where they are missing.
    pub fn shared() -> Self {
        static MADE: Once = Once::new();
        let folder = repository().join("target/certs");
        MADE.call_once(|| drop(Self::make(&folder)));
        Self(folder)
    }

    /// Those of a folder, made where they are missing.
    pub fn make(folder: &Path) -> Self {
        let certificates = Self(folder.to_owned());
        certificates.run(&[]);
        certificates
    }

    /// New ones by the same authority.
    pub fn renew(&self) {
        self.run(&["--renew"]);
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(repository().join("scripts/certs"));
        let output = command.arg("--folder").arg(&self.0).args(arguments).output();
        let output = output.expect("scripts/certs runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    /// A certificate in use, and its key.
    pub fn pair(&self, name: &str) -> Pair {
        let file = |suffix: &str| self.0.join(format!("current/{name}.{suffix}"));
        Pair {
            certificate: file("crt"),
            key: file("key"),
        }
    }
}

/// A certificate's file and its key's.
#[derive(Debug, Clone)]
pub struct Pair {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Pair {
    /// The certificate itself, to be compared.
    pub fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.certificate).expect("a certificate")
    }

    /// The same two files, of one renewal: the folder in between is replaced as a whole.
    fn as_it_is_now(&self) -> Self {
        let resolved = |file: &Path, folder: &Path| folder.join(file.file_name().expect("a file"));
        let folder = self.certificate.parent().expect("a folder");
        let folder = folder.canonicalize().expect("a folder");
        Self {
            certificate: resolved(&self.certificate, &folder),
            key: resolved(&self.key, &folder),
        }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.leaf()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).expect("a key")
    }
}

/// What a service shows, and whom it serves: clients with a certificate of the authority that names the gateway.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Read anew for every connection.
    pub pair: Pair,
    /// Of the client's certificate.
    pub authority: PathBuf,
}

impl Identity {
    /// A service by its name.
    pub fn of(certificates: &Certificates, name: &str) -> Self {
        Self {
            pair: certificates.pair(name),
            authority: certificates.authority(),
        }
    }

    fn config(&self) -> Arc<ServerConfig> {
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots(&self.authority)));
        let verifier = verifier.build().expect("a verifier");
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        let pair = self.pair.as_it_is_now();
        let mut config = config.with_single_cert(pair.chain(), pair.key()).expect("a pair");
        config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
        Arc::new(config)
    }
}

/// A listener behind TLS.
pub struct TlsListener {
    /// Where it listens.
    pub tcp: tokio::net::TcpListener,
    /// As what.
    pub identity: Identity,
}

impl Listener for TlsListener {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    /// The next client that is the gateway.
    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else {
                continue;
            };
            let handshake = TlsAcceptor::from(self.identity.config()).accept(stream);
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, handshake).await else {
                continue;
            };
            if names_the_gateway(&stream) {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

fn names_the_gateway(stream: &TlsStream<tokio::net::TcpStream>) -> bool {
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let parsed = leaf.and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    let gateway = ServerName::try_from("gateway").expect("a name");
    parsed.is_some_and(|leaf| verify_server_name(&leaf, &gateway).is_ok())
}

fn roots(authority: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).expect("a file") {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    roots
}

/// How a client speaks: whom it trusts, what it shows, and which protocols it offers.
pub fn client(authority: &Path, own: Option<&Pair>, protocols: &[&str]) -> Arc<ClientConfig> {
    let config = ClientConfig::builder().with_root_certificates(roots(authority));
    let mut config = match own {
        Some(own) => {
            let own = own.as_it_is_now();
            config.with_client_auth_cert(own.chain(), own.key()).expect("a pair")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().into()).collect();
    Arc::new(config)
}

/// A connection to whoever shows this name there.
pub fn connect(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Sends bytes on a new connection and reads one response.
pub fn send(address: SocketAddr, name: &str, config: &Arc<ClientConfig>, bytes: &[u8]) -> io::Result<Response> {
    let mut stream = connect(address, name, config)?;
    stream.write_all(bytes)?;
    raw::read(&mut stream, bytes.starts_with(b"HEAD "))
}

/// The Secret Discovery Service's file of `envoy/tls` with another folder for `target/certs`.
pub(crate) fn secret_file(name: &str, certificates: &Certificates, folder: &Path) -> PathBuf {
    let path = repository().join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let own = certificates.folder().display().to_string();
    let file = folder.join(path.file_name().expect("a name"));
    fs::write(&file, text.replace("target/certs", &own)).expect("a file");
    file
}

const TIMEOUT: Duration = Duration::from_secs(20);
const HANDSHAKE: Duration = Duration::from_secs(5);
