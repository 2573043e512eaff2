//! A method of authentication, as the stage sees it: where its credentials are, and what becomes of one.

use std::sync::Arc;

use super::MethodConfig;
use crate::auth::credential::Source;
use crate::config::Report;
use crate::denial::DenialKind;
use crate::message::request::Request;
use crate::policy::api_key::ApiKeys;
use crate::policy::jwt::{Accept, Issuers};
use crate::policy::verdict::{Failure, Verified};
use crate::seam::Context;

#[derive(Debug)]
pub(super) enum Method {
    Jwt(Accept),
    ApiKey(Arc<ApiKeys>),
}

impl Method {
    pub(super) fn compile(
        config: &MethodConfig,
        audiences: &[String],
        jwt: Option<&Issuers>,
        api_keys: Option<&Arc<ApiKeys>>,
        report: &mut Report,
    ) -> Option<Self> {
        match config {
            MethodConfig::Jwt(names) => match jwt {
                Some(issuers) => issuers.accept(names.as_deref(), audiences, report).map(Self::Jwt),
                None => {
                    report.error("needs a `jwt` section with at least one issuer");
                    None
                }
            },
            MethodConfig::ApiKey => {
                if api_keys.is_none() {
                    report.error("needs an `api_keys` section");
                }
                api_keys.cloned().map(Self::ApiKey)
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
        request: &mut Request,
        cx: &Context<'_>,
    ) -> Result<Verified, Failure> {
        match self {
            Self::Jwt(accept) => accept.verify(credential, source, request.may_wait, cx),
            Self::ApiKey(keys) => keys.verify(credential, request, cx),
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
