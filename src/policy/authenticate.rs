//! The authenticate stage: exactly one acceptable credential becomes an [`Identity`].

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::jwt::{Accept, Failure, Verified};
use super::{Policy, Registration, RouteContext, Stage, Stop};
use crate::config::Report;
use crate::credential::{Found, Source};
use crate::denial::{Denial, DenialKind};
use crate::effect::Effect;
use crate::identity::Identity;
use crate::request::Request;
use crate::world::World;

/// How callers prove who they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct AuthConfig {
    /// The methods of which one must succeed: `jwt`, or `{ jwt: [issuer name, ...] }`. With more than one issuer
    /// defined, they must be named.
    pub any: Vec<MethodConfig>,
    /// Audiences of this route: a token's `aud` must name one of these too.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// A request without any credential passes as anonymous; one with a bad credential is still refused.
    #[serde(default)]
    pub optional: bool,
}

/// One method of authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MethodConfig {
    /// A JSON Web Token of one of these issuers; `None` where only the method is named.
    Jwt(Option<Vec<String>>),
}

/// Proof that a value was made by the authenticate stage.
#[derive(Debug)]
pub struct Authenticated(());

/// The policy's line in the registry.
pub const REGISTRATION: Registration = Registration {
    stage: Stage::Authenticate,
    compile,
};

#[derive(Debug)]
struct Authenticate {
    methods: Vec<Method>,
    optional: bool,
}

#[derive(Debug)]
enum Method {
    Jwt(Accept),
}

fn compile(route: &RouteContext<'_>, report: &mut Report) -> Option<Box<dyn Policy>> {
    let auth = route.auth?;
    report.within("auth", |report| {
        if auth.any.is_empty() {
            report.error_at(
                "any",
                "is empty, so nobody could pass; name a method, or say `public: true` on the route",
            );
        }
        let methods = report.within("any", |report| {
            let methods = auth.any.iter().enumerate().filter_map(|(index, method)| {
                report.within(format!("[{index}]"), |report| {
                    if auth
                        .any
                        .iter()
                        .take(index)
                        .any(|earlier| earlier.name() == method.name())
                    {
                        report.error(format!(
                            "`{}` is there twice; one entry lists all of its issuers",
                            method.name()
                        ));
                    }
                    compile_method(method, &auth.audiences, route, report)
                })
            });
            methods.collect()
        });
        Some(Box::new(Authenticate {
            methods,
            optional: auth.optional,
        }) as Box<dyn Policy>)
    })
}

fn compile_method(
    method: &MethodConfig,
    audiences: &[String],
    route: &RouteContext<'_>,
    report: &mut Report,
) -> Option<Method> {
    match method {
        MethodConfig::Jwt(names) => match &route.definitions.jwt {
            Some(issuers) => issuers.accept(names.as_deref(), audiences, report).map(Method::Jwt),
            None => {
                report.error("needs a `jwt` section with at least one issuer");
                None
            }
        },
    }
}

impl Policy for Authenticate {
    fn on_request(&self, request: &mut Request<'_>, world: &dyn World) -> Result<(), Stop> {
        let mut presented = None;
        for method in &self.methods {
            for source in method.sources() {
                match source.find(request) {
                    Found::None => {}
                    Found::One(credential) if presented.is_none() => presented = Some((method, source, credential)),
                    Found::One(_) | Found::Several => {
                        return Err(Denial::new(DenialKind::MultipleCredentials, "multiple_credentials").into());
                    }
                }
            }
        }
        let Some((method, source, credential)) = presented else {
            if self.optional {
                return Ok(());
            }
            return Err(self
                .challenged(Denial::new(DenialKind::MissingCredentials, "missing"), None)
                .into());
        };
        match method.verify(&credential, source, request.may_wait, world) {
            Ok(Verified {
                subject,
                forward_token,
                payload,
            }) => {
                if !forward_token {
                    source.remove(request);
                }
                if let Some((name, payload)) = payload {
                    let value = payload.as_bytes().into();
                    request.effects.push(Effect::SetHeader(name.as_str().into(), value));
                }
                request.identity = Some(Identity::new(subject, Authenticated(())));
                Ok(())
            }
            Err(Failure::Wait(keys)) => Err(Stop::Wait(keys)),
            Err(Failure::Invalid(reason)) => {
                count_failure(request, method, reason);
                let denial = Denial::new(DenialKind::InvalidToken, reason);
                Err(self.challenged(denial, Some("invalid_token")).into())
            }
            Err(Failure::KeysUnavailable(seconds)) => {
                count_failure(request, method, "keys_unavailable");
                let denial = Denial::new(DenialKind::KeysUnavailable, "keys_unavailable");
                Err(denial.with_header("retry-after", seconds.to_string()).into())
            }
        }
    }
}

/// Successes are counted with the request itself: one host call less on the way that most requests take.
fn count_failure(request: &mut Request<'_>, method: &Method, reason: &str) {
    let name = method.name();
    request.effects.push(Effect::Count(
        format!("tollgate_auth_failures_total;method={name};reason={reason};").into(),
    ));
}

impl Authenticate {
    /// A challenge for each accepted method (RFC 9110 section 11.6.1).
    fn challenged(&self, denial: Denial, error: Option<&str>) -> Denial {
        self.methods.iter().fold(denial, |denial, method| {
            denial.with_header("www-authenticate", method.challenge(error))
        })
    }
}

impl Method {
    fn name(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt",
        }
    }

    fn sources(&self) -> &[Source] {
        match self {
            Self::Jwt(accept) => accept.sources(),
        }
    }

    fn verify(
        &self,
        credential: &[u8],
        source: &Source,
        may_wait: bool,
        world: &dyn World,
    ) -> Result<Verified, Failure> {
        match self {
            Self::Jwt(accept) => accept.verify(credential, source, may_wait, world),
        }
    }

    fn challenge(&self, error: Option<&str>) -> String {
        match self {
            Self::Jwt(accept) => accept.challenge(error),
        }
    }
}

// === impl MethodConfig ===

impl MethodConfig {
    fn name(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt",
        }
    }
}

impl<'de> Deserialize<'de> for MethodConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MethodVisitor)
    }
}

struct MethodVisitor;

impl<'de> Visitor<'de> for MethodVisitor {
    type Value = MethodConfig;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`jwt` or `{ jwt: [issuer name, ...] }`")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<MethodConfig, E> {
        match name {
            "jwt" => Ok(MethodConfig::Jwt(None)),
            other => Err(E::unknown_variant(other, &["jwt"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<MethodConfig, A::Error> {
        use serde::de::Error as _;
        let method = match members.next_key::<String>()?.as_deref() {
            Some("jwt") => MethodConfig::Jwt(Some(members.next_value()?)),
            Some(other) => return Err(A::Error::unknown_variant(other, &["jwt"])),
            None => return Err(A::Error::invalid_length(0, &self)),
        };
        match members.next_key::<String>()? {
            None => Ok(method),
            Some(_) => Err(A::Error::custom("one method per entry; add another entry to the list")),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl schemars::JsonSchema for MethodConfig {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Method".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "oneOf": [
                {"type": "string", "enum": ["jwt"]},
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["jwt"],
                    "properties": {"jwt": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Names of the issuers whose tokens are accepted."
                    }}
                }
            ]
        })
    }
}
