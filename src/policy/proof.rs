//! Proofs for upstreams without mutual TLS: a header which shows that a request and its identity come from the gateway.
//!
//! A proof is an HMAC over the identity and payload headers, the method, the host, the path and the time. It is made
//! after all changes of the request's headers, and does not cover its body.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use super::{Policy, Stop};
use crate::clock::Seconds;
use crate::config::values::HeaderName;
use crate::config::{self, Environment, Report};
use crate::message::request::Request;
use crate::seam::Context;

/// A header by which upstreams recognize the gateway's requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ProofConfig {
    /// The header's name. Default `x-tollgate-proof`.
    #[serde(default = "default_header")]
    pub header: HeaderName,
    /// The secret that the gateway and its upstreams share, at least 32 bytes.
    pub secret: ProofSecretConfig,
}

/// The source of the secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ProofSecretConfig {
    /// The environment variable that holds the secret.
    pub env: String,
}

/// Makes proofs.
pub struct Proof {
    header: Arc<str>,
    /// The names of the covered headers, sorted.
    names: Vec<String>,
    mac: Option<Hmac<Sha256>>,
}

#[derive(Debug)]
struct Prove(Arc<Proof>);

/// Makes the policy, which every rule has: without an identity, the proof shows that there is none.
pub fn compile(proof: &Arc<Proof>) -> Box<dyn Policy> {
    Box::new(Prove(Arc::clone(proof)))
}

impl Proof {
    /// Compiles `identity.proof`. `names` are the headers that only the gateway sets.
    pub fn compile<'a>(
        config: &ProofConfig,
        names: impl Iterator<Item = &'a str>,
        environment: &Environment,
        report: &mut Report,
    ) -> Self {
        let secret = config::long_secret(environment, &config.secret.env, MIN_SECRET);
        if let Err(message) = &secret {
            report.error_at("secret.env", message);
        }
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort_unstable();
        Self {
            header: config.header.as_str().into(),
            names,
            mac: secret
                .ok()
                .and_then(|secret| Hmac::new_from_slice(secret.as_bytes()).ok()),
        }
    }

    /// The header's name.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The value of the header at `now`, by the wall clock, for a request with these headers. `None` only if the
    /// configuration was refused.
    pub fn of<'a>(&self, now: Seconds, values: impl Fn(&str) -> Vec<&'a [u8]>) -> Option<String> {
        let mut mac = self.mac.clone()?;
        let now = now.get();
        mac.update(format!("v2\n{now}").as_bytes());
        for name in [":method", ":authority", ":path"] {
            mac.update(b"\n");
            values(name).iter().for_each(|value| mac.update(value));
        }
        for name in &self.names {
            for value in values(name) {
                mac.update(format!("\n{name}:").as_bytes());
                mac.update(value);
            }
        }
        let digest = mac.finalize().into_bytes();
        let digest = digest.iter().map(|byte| format!("{byte:02x}"));
        Some(format!("t={now},v2={}", digest.collect::<String>()))
    }
}

impl Policy for Prove {
    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop> {
        if let Some(proof) = self.0.of(cx.wall_seconds(), |name| request.current(name)) {
            request.changes.set_one(Arc::clone(&self.0.header), proof);
        }
        Ok(())
    }
}

// `Debug` does not show the secret.
impl fmt::Debug for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proof({})", self.header)
    }
}

fn default_header() -> HeaderName {
    HeaderName::constant("x-tollgate-proof")
}

/// Minimum length of the secret in bytes: that of an HMAC-SHA256.
const MIN_SECRET: usize = 32;

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::Exchange;
    use crate::gateway::plan::Plan;
    use crate::gateway::worker::Worker;
    use crate::http::headers::Headers;
    use crate::seam::simulated::Simulated;
    use crate::seam::{Event, StreamId};

    fn compile(proof: &Value, secret: &str) -> Result<Arc<Plan>, String> {
        let config = json!({
            "version": 1,
            "identity": {"proof": proof},
            "routes": [{
                "match": {"path_prefix": "/"}, "public": true,
                "request": {"reroute": true, "path": {"strip_prefix": "/api"}},
            }],
        });
        let environment = [("SECRET".to_owned(), secret.to_owned())].into_iter().collect();
        Plan::of(&config, &environment)
    }

    #[test]
    fn a_request_is_proven_as_the_upstream_gets_it() {
        let plan = compile(&json!({"secret": {"env": "SECRET"}}), &"k".repeat(32)).unwrap();
        let headers: Headers = [
            (":method", "GET"),
            (":authority", "h"),
            (":path", "/api/a?b=c"),
            ("x-user-id", "forged"),
            ("x-tollgate-proof", "forged"),
        ]
        .into_iter()
        .collect();
        let world = Simulated::default();
        world.now.set(1_700_000_000_000);
        let headers = Rc::new(headers);
        let event = Event::RequestHeaders {
            headers: Rc::clone(&headers),
            route_name: None,
            has_body: false,
        };
        let step = Exchange::new(Rc::new(Worker::new(plan)), StreamId(0)).on(event, &world);
        let changed: Headers = step.headers.applied_to(&headers).collect();
        let mut mac = Hmac::<Sha256>::new_from_slice(&[b'k'; 32]).unwrap();
        mac.update(b"v2\n1700000000\nGET\nh\n/a?b=c");
        let digest: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            changed.all("x-tollgate-proof").collect::<Vec<_>>(),
            [format!("t=1700000000,v2={digest}").as_bytes()]
        );
    }

    #[test]
    fn mistakes_are_named() {
        let secret = json!({"env": "SECRET"});
        for (proof, length, expected) in [
            (
                json!({"secret": {"env": "OTHER"}}),
                32,
                "identity.proof.secret.env: the environment has no `OTHER`",
            ),
            (
                json!({"secret": secret}),
                31,
                "identity.proof.secret.env: `SECRET` has 31 bytes",
            ),
            (
                json!({"secret": secret, "header": "X_User_Id"}),
                32,
                "identity.proof.header: `x_user_id` is the header of another field",
            ),
        ] {
            let error = compile(&proof, &"k".repeat(length)).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
