//! A method of authentication, as the stage sees it: where its credentials are, and what becomes of one.

use std::rc::Rc;

use super::MethodConfig;
use crate::config::Report;
use crate::config::values::HeaderName;
use crate::credential::Source;
use crate::denial::DenialKind;
use crate::identity::Subject;
use crate::policy::RouteContext;
use crate::policy::api_key::ApiKeys;
use crate::policy::jwt::Accept;
use crate::remote::Awaited;
use crate::request::Request;
use crate::world::World;

#[derive(Debug)]
pub(super) enum Method {
    Jwt(Accept),
    ApiKey(Rc<ApiKeys>),
}

/// A credential that passed every check.
#[derive(Debug)]
pub struct Verified {
    /// What it says of its holder.
    pub subject: Rc<Subject>,
    /// Whether upstreams may see it.
    pub forward: bool,
    /// A token's payload, for upstreams that want it, and the header that carries it.
    pub payload: Option<(HeaderName, Rc<str>)>,
}

/// Why a credential does not pass.
#[derive(Debug)]
pub enum Failure {
    /// It is not acceptable.
    Invalid(Invalid),
    /// It may be, once this is there.
    Wait(Box<dyn Awaited>),
    /// What would decide cannot be had; worth another try in this many seconds.
    KeysUnavailable(u64),
    /// Too many credentials from there were not acceptable; worth another try in this many seconds.
    TooManyAttempts(u64),
}

/// Why a credential is not acceptable, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// For the log and a metric.
    pub reason: &'static str,
    /// What the reason is about, for the log: `plan is an object`.
    pub detail: Option<Rc<str>>,
}

impl From<&'static str> for Invalid {
    fn from(reason: &'static str) -> Self {
        Self { reason, detail: None }
    }
}

impl<T: Into<Invalid>> From<T> for Failure {
    fn from(invalid: T) -> Self {
        Self::Invalid(invalid.into())
    }
}

impl Method {
    pub(super) fn compile(
        config: &MethodConfig,
        audiences: &[String],
        route: &RouteContext<'_>,
        report: &mut Report,
    ) -> Option<Self> {
        match config {
            MethodConfig::Jwt(names) => match &route.definitions.jwt {
                Some(issuers) => issuers.accept(names.as_deref(), audiences, report).map(Self::Jwt),
                None => {
                    report.error("needs a `jwt` section with at least one issuer");
                    None
                }
            },
            MethodConfig::ApiKey => {
                if route.definitions.api_keys.is_none() {
                    report.error("needs an `api_keys` section");
                }
                route.definitions.api_keys.clone().map(Self::ApiKey)
            }
        }
    }

    /// For metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt",
            Self::ApiKey(_) => "api_key",
        }
    }

    pub(super) fn sources(&self) -> &[Source] {
        match self {
            Self::Jwt(accept) => accept.sources(),
            Self::ApiKey(keys) => keys.sources(),
        }
    }

    pub(super) fn verify(
        &self,
        credential: &[u8],
        source: &Source,
        request: &mut Request<'_>,
        world: &dyn World,
    ) -> Result<Verified, Failure> {
        match self {
            Self::Jwt(accept) => accept.verify(credential, source, request.may_wait, world),
            Self::ApiKey(keys) => keys.verify(credential, request, world),
        }
    }

    /// What the client is told of a credential that is not acceptable.
    pub(super) fn denial(&self) -> DenialKind {
        match self {
            Self::Jwt(_) => DenialKind::InvalidToken,
            Self::ApiKey(_) => DenialKind::InvalidApiKey,
        }
    }

    /// The value of `WWW-Authenticate`; `failed` where a credential of this method was sent and is not acceptable.
    pub(super) fn challenge(&self, failed: bool) -> String {
        match self {
            Self::Jwt(accept) => accept.challenge(failed.then_some("invalid_token")),
            Self::ApiKey(keys) => keys.challenge(),
        }
    }
}
