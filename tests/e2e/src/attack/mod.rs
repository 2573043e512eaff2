//! An attack on a gateway with everything on: bytes that no HTTP library would send, over HTTP/1 and HTTP/2, and a judge of what comes through.

mod bytes;
pub mod documents;
mod http1;
mod http2;
mod judge;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::bootstrap::{Bare, one_issuer};
use crate::echo::Echo;
use crate::envoy::Envoy;
use crate::issuer::Issuer;
use crate::keys::{SECRET, mint, record};
use crate::publisher::{Answer, Publisher};
use crate::raw::{self, request};

/// The gateway, and what is behind it.
pub struct Attacked {
    /// The process.
    pub envoy: Envoy,
    upstream: Echo,
    key: String,
}

/// What a client of good standing has.
#[derive(Debug, Clone)]
struct Credentials {
    token: String,
    key: String,
}

/// What an attack came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Connections that were made.
    pub connections: u64,
    /// Requests that came through to the upstream.
    pub requests: u64,
    /// What must not have come through.
    pub faults: Vec<String>,
}

impl Attacked {
    /// Starts it, with two workers.
    pub fn start() -> Self {
        let upstream = Echo::start("upstream");
        let service = Publisher::start(Answer::Document(json!({"version": 1, "key": null, "hashes": []})));
        let known = mint();
        let mut bare = Bare::new(config(&record(&known)), &upstream);
        bare.clusters = vec![("keys", service.address)];
        bare.tells_of_held = true;
        for (name, value) in [
            SECRET,
            ("TOKEN", "the-token-of-the-key-service"),
            ("PROOF", "a secret that upstreams share with it"),
        ] {
            bare.environment.insert(name.into(), value.into());
        }
        Self {
            envoy: Envoy::alone(2, &bare.bootstrap()),
            upstream,
            key: known.key,
        }
    }

    /// Makes the connections of these numbers, on several threads, and judges what came through. One number makes the same bytes for one seed.
    pub fn attack(&self, seed: u64, numbers: std::ops::Range<u64>) -> Outcome {
        // Tokens last for some minutes; an attack may last for hours.
        let credentials = Credentials {
            token: Issuer::shared().good_token(),
            key: self.key.clone(),
        };
        let next = AtomicU64::new(numbers.start);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= numbers.end {
                            break;
                        }
                        // Who refuses a connection does well.
                        let _ = self.one(seed, number, &credentials);
                    }
                });
            }
        });
        let is_served = self.serves(&credentials);
        let seen = self.upstream.take();
        let mut faults: Vec<String> = seen.iter().filter_map(judge::fault).collect();
        faults.extend(is_served.err());
        Outcome {
            connections: numbers.end - numbers.start,
            requests: seen.len() as u64,
            faults,
        }
    }

    fn one(&self, seed: u64, number: u64, credentials: &Credentials) -> std::io::Result<()> {
        let mut random = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
        let mut bytes = match random.random_ratio(1, 2) {
            true => http1::conversation(&mut random, credentials, number),
            false => http2::conversation(&mut random, credentials, number),
        };
        if random.random_ratio(1, 2) {
            bytes::spoil(&mut bytes, &mut random);
        }
        let mut stream = connect(self.envoy.address(), random.random_range(2..250))?;
        let pieces = random.random_range(1..4);
        for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
            stream.write_all(piece)?;
            if random.random_ratio(1, 8) {
                // It leaves in the middle.
                return Ok(());
            }
        }
        let mut answer = [0; 4096];
        stream.read(&mut answer).map(drop)
    }

    /// Whether who is in good standing is still served.
    fn serves(&self, credentials: &Credentials) -> Result<(), String> {
        let bearer = format!("Bearer {}", credentials.token);
        let bytes = request("GET", "/private", &[("host", "a"), ("authorization", &bearer)], b"");
        match raw::send(self.envoy.address(), &bytes) {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("a good request is not served: {other:?}")),
        }
    }
}

/// From an address of its own.
fn connect(address: SocketAddr, last: u8) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::from([127, 0, 0, last]), 0).into())?;
    socket.connect_timeout(&address.into(), Duration::from_secs(5))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.set_write_timeout(Some(Duration::from_secs(2)))?;
    Ok(socket.into())
}

const THREADS: usize = 32;

/// All of it: tokens and keys from everywhere, both kinds of limits, checked and changed requests and responses, what stands in, proofs.
fn config(known: &Value) -> Value {
    let mut config = one_issuer(json!([
        {"match": {"host": "admin.test", "path_prefix": "/"}, "auth": {"any": ["jwt"]}, "rate_limits": ["all"]},
        {"match": {"path_prefix": "/admin"}, "auth": {"any": ["jwt"]}, "require": {"roles": {"any": ["admin"]}}},
        {
            "match": {"path_prefix": "/private"}, "auth": {"any": ["jwt", "api_key"]}, "rate_limits": ["all", "user"],
            "request": {
                "headers": {"remove": ["x-a"], "set": {"x-b": "{query.q}{headers.x-c}{claims.team}"}},
                "query": {"remove": ["d"], "set": {"e": "{headers.x-c}"}},
            },
            "response": {"headers": {"remove": ["server"]}, "body": {"remove": ["secret"]}},
        },
        {
            "match": {"path_prefix": "/checked"}, "public": true,
            "validate": {
                "max_bytes": 40000,
                "schema": {"properties": {"a": {"pattern": "^(a|b)*c$"}, "b": {"items": {"type": "object"}}}},
            },
            "request": {"body": {"remove": ["x"], "set": {"y": "{query.q}"}}},
        },
        {"match": {"path_prefix": "/keep"}, "path_parameters": "keep", "method_override": "keep", "public": true},
        {
            "match": {"path_prefix": "/optional"}, "auth": {"any": ["jwt", "api_key"], "optional": true},
            "fallback": {"last_good": {}}, "rate_limits": ["all"],
        },
        {"match": {"path_prefix": "/read", "methods": ["GET", "HEAD"]}, "public": true},
        {"match": {"path_prefix": "/"}, "public": true},
    ]));
    let issuer = &mut config["jwt"]["issuers"][0];
    issuer["from"] = json!([{"header": {"name": "authorization", "scheme": "Bearer"}}, {"cookie": "session"}, {"query": "access_token"}]);
    issuer["payload_header"] = "x-jwt-payload".into();
    issuer["claims"] = json!({"roles": "roles", "attributes": {"team": "team"}});
    config["api_keys"] = json!({
        "secrets": [{"id": "v1", "env": SECRET.0}],
        "keys": [known],
        "from": [{"header": {"name": "x-api-key"}}, {"query": "api_key"}],
        "lookup": {"cluster": "keys", "token": {"env": "TOKEN"}},
        "throttle": {"limit": 1_000_000, "window": "1m"},
    });
    config["identity"] = json!({
        "headers": {"attributes": {"team": "x-team"}},
        "filter_state": ["user_id"],
        "proof": {"secret": {"env": "PROOF"}},
    });
    config["rate_limits"] = json!([
        {"name": "all", "key": ["ip", "header:x-client"], "limit": 1_000_000, "window": "1m"},
        {"name": "user", "key": ["user"], "limit": 1_000_000, "window": "1m"},
    ]);
    config
}
