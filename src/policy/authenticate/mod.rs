//! The authenticate stage: exactly one acceptable credential becomes an [`Identity`].

mod config;
mod method;

use std::rc::Rc;
use std::sync::Arc;

use super::api_key::ApiKeys;
use super::jwt::Issuers;
use super::verdict::{Failure, Invalid, Verified};
use super::{Policy, Stop};
use crate::auth::credential::{self, Found};
use crate::clock::Seconds;
use crate::config::Report;
use crate::denial::{Denial, DenialKind};
use crate::message::identity::{Authenticated, Identity};
use crate::message::request::Request;
use crate::seam::{Context, Note};

pub use config::{AuthConfig, MethodConfig};
use method::Method;

#[derive(Debug)]
struct Authenticate {
    methods: Vec<Method>,
    optional: bool,
}

/// Kept of a request that has waited: it does not wait again for the same credential.
struct HasWaited;

/// The policy of a rule with `auth`.
pub fn compile(
    auth: &AuthConfig,
    jwt: Option<&Issuers>,
    api_keys: Option<&Arc<ApiKeys>>,
    report: &mut Report,
) -> Option<Box<dyn Policy>> {
    report.within("auth", |report| {
        if auth.any.is_empty() {
            report.error_at(
                "any",
                "is empty, so nobody could pass; name a method, or say `public: true` on the route",
            );
        }
        let methods: Vec<Method> = report.within("any", |report| {
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
                    Method::compile(method, &auth.audiences, jwt, api_keys, report)
                })
            });
            methods.collect()
        });
        check_sources(&methods, report);
        Some(Box::new(Authenticate {
            methods,
            optional: auth.optional,
        }) as Box<dyn Policy>)
    })
}

/// What two methods look for in one place would always be two credentials.
fn check_sources(methods: &[Method], report: &mut Report) {
    for (index, method) in methods.iter().enumerate() {
        let earlier = || methods.iter().take(index).flat_map(Method::sources);
        if method
            .sources()
            .iter()
            .any(|source| earlier().any(|other| other == source))
        {
            report.error_at(
                "any",
                format!(
                    "`{}` looks where another method does; change one's `from`",
                    method.name()
                ),
            );
        }
    }
}

impl Policy for Authenticate {
    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop> {
        request.may_wait &= request.memory.get::<HasWaited>().is_none();
        let received = Rc::clone(request.received());
        let mut presented = None;
        let mut several = false;
        for (method, source) in self
            .methods
            .iter()
            .flat_map(|method| method.sources().iter().map(move |source| (method, source)))
        {
            let credential = match source.find(&received) {
                Found::None => continue,
                Found::One(credential) => Some(credential),
                Found::Several => None,
            };
            several |= presented.is_some() || credential.is_none();
            presented = credential.map(|credential| (method, source, credential));
        }
        if several {
            return Err(Denial::new(DenialKind::MultipleCredentials, "multiple_credentials").into());
        }
        let Some((method, source, credential)) = presented else {
            if self.optional {
                return Ok(());
            }
            let denial = Denial::new(DenialKind::MissingCredentials, "missing");
            return Err(self.challenged(denial, None).into());
        };
        match method.verify(&credential, source, request, cx) {
            Ok(Verified {
                subject,
                forward,
                payload,
            }) => {
                if !forward {
                    credential::remove([source], received.headers(), &mut request.changes);
                }
                if let Some((name, payload)) = payload {
                    request.changes.set_one(name.shared(), payload.as_bytes());
                }
                request.identity = Some(Identity::new(subject, Authenticated::by_a_verified_credential()));
                Ok(())
            }
            Err(failure) => Err(self.stop(request, method, failure)),
        }
    }
}

impl Authenticate {
    /// What becomes of a request whose credential has not passed.
    fn stop(&self, request: &mut Request, method: &Method, failure: Failure) -> Stop {
        let (kind, reason, pause) = match failure {
            Failure::Wait(wait) => {
                request.memory.put(HasWaited);
                return Stop::Wait(wait);
            }
            Failure::Invalid(Invalid { reason, detail }) => {
                count_failure(request, method, reason);
                let mut denial = Denial::new(method.denial(), reason);
                denial.detail = detail;
                return self.challenged(denial, Some(method)).into();
            }
            Failure::KeysUnavailable(pause) => (DenialKind::KeysUnavailable, "keys_unavailable", pause),
            Failure::TooManyAttempts(pause) => (DenialKind::TooManyAttempts, "too_many_attempts", pause),
        };
        later(request, method, kind, reason, pause).into()
    }

    /// A challenge for each accepted method (RFC 9110 section 11.6.1).
    fn challenged(&self, denial: Denial, failed: Option<&Method>) -> Denial {
        self.methods.iter().fold(denial, |denial, method| {
            let failed = failed.is_some_and(|failed| std::ptr::eq(failed, method));
            denial.with_header("www-authenticate", method.challenge(failed))
        })
    }
}

/// A refusal that says when to try again.
fn later(request: &mut Request, method: &Method, kind: DenialKind, reason: &'static str, pause: Seconds) -> Denial {
    count_failure(request, method, reason);
    Denial::new(kind, reason).with_header("retry-after", pause.get().to_string())
}

/// Successes are counted with the request itself: one host call less on the way that most requests take.
fn count_failure(request: &mut Request, method: &Method, reason: &str) {
    let name = method.name();
    request.notes.push(Note::Count(
        format!("tollgate_auth_failures_total;method={name};reason={reason};").into(),
    ));
}
