//! A proof for upstreams that cannot do mutual TLS: that a request, and who it is from, is the gateway's word.
//!
//! It is an HMAC over the identity headers and payload headers, the method, the host, the path and the time. It runs behind everything that
//! changes a request's headers, and does not cover its body.

use std::fmt;
use std::rc::Rc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use super::{Policy, Registration, RouteContext, Stage, Stop};
use crate::config::values::HeaderName;
use crate::config::{Environment, Report};
use crate::effect::Effect;
use crate::request::Request;
use crate::world::World;

/// A header by which upstreams can tell the gateway's requests from others.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ProofConfig {
    /// Its name. Default `x-tollgate-proof`.
    #[serde(default = "default_header")]
    pub header: HeaderName,
    /// The secret that the gateway and its upstreams share, at least 32 bytes.
    pub secret: ProofSecretConfig,
}

/// Where the secret is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct ProofSecretConfig {
    /// The environment variable that holds it.
    pub env: String,
}

/// Makes proofs.
pub struct Proof {
    header: Rc<str>,
    /// Those that it speaks for, by name.
    names: Vec<String>,
    mac: Option<Hmac<Sha256>>,
}

/// The policy's line in the registry.
pub const REGISTRATION: Registration = Registration {
    stage: Stage::Prove,
    compile,
};

#[derive(Debug)]
struct Prove(Rc<Proof>);

/// On every route: a request without an identity is proven to have none.
fn compile(route: &RouteContext<'_>, _: &mut Report) -> Option<Box<dyn Policy>> {
    let proof = route.definitions.proof.as_ref()?;
    Some(Box::new(Prove(Rc::clone(proof))))
}

impl Proof {
    /// Finds the secret. `names` are the headers that only the gateway sets.
    pub fn compile<'a>(
        config: &ProofConfig,
        names: impl Iterator<Item = &'a str>,
        environment: &Environment,
        report: &mut Report,
    ) -> Self {
        let name = &config.secret.env;
        let secret = environment.get(name);
        match secret {
            None => report.error_at(
                "secret.env",
                format!("the environment has no `{name}`; name it in the VM's `environment_variables`"),
            ),
            Some(secret) if secret.len() < MIN_SECRET => report.error_at(
                "secret.env",
                format!(
                    "`{name}` has {} bytes; a secret needs at least {MIN_SECRET}",
                    secret.len()
                ),
            ),
            Some(_) => {}
        }
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort_unstable();
        Self {
            header: config.header.as_str().into(),
            names,
            mac: secret.and_then(|secret| Hmac::new_from_slice(secret.as_bytes()).ok()),
        }
    }

    /// The value of the header, at this many seconds since 1970. `None` only where the configuration was refused.
    fn of(&self, request: &Request<'_>, now: u64) -> Option<String> {
        let mut mac = self.mac.clone()?;
        mac.update(format!("v2\n{now}").as_bytes());
        for name in [":method", ":authority", ":path"] {
            mac.update(b"\n");
            request.now(name).iter().for_each(|value| mac.update(value));
        }
        for name in &self.names {
            for value in request.now(name) {
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
    fn on_request(&self, request: &mut Request<'_>, world: &dyn World) -> Result<(), Stop> {
        if let Some(proof) = self.0.of(request, world.now()) {
            let values = vec![proof.into_bytes()];
            request
                .effects
                .push(Effect::SetHeaders(Rc::clone(&self.0.header), values));
        }
        Ok(())
    }
}

/// Without the secret.
impl fmt::Debug for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proof({})", self.header)
    }
}

fn default_header() -> HeaderName {
    HeaderName::constant("x-tollgate-proof")
}

/// Bytes, as many as HMAC-SHA256 makes.
const MIN_SECRET: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::decode;
    use crate::event::Event;
    use crate::exchange::Exchange;
    use crate::headers::Headers;
    use crate::plan::Plan;
    use crate::world::simulated::Simulated;

    fn compile(proof: &Value, secret: &str) -> Result<Rc<Plan>, String> {
        let config = json!({
            "version": 1,
            "identity": {"proof": proof},
            "routes": [{
                "match": {"path_prefix": "/"}, "public": true,
                "request": {"reroute": true, "path": {"strip_prefix": "/api"}},
            }],
        });
        let environment = [("SECRET".to_owned(), secret.to_owned())].into_iter().collect();
        let plan = Plan::compile(&decode(config.to_string().as_bytes()).unwrap(), &environment);
        plan.map(Rc::new)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
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
        let event = Event::RequestHeaders {
            headers: &headers,
            route_name: None,
            may_wait: false,
            has_body: false,
        };
        let effects = Exchange::new(plan).on(event, &world);
        let changed = crate::effect::applied(&headers, &effects);
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
