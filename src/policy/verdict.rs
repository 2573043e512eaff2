//! The result of verifying one credential.

use std::sync::Arc;

use crate::clock::Seconds;
use crate::config::values::HeaderName;
use crate::message::identity::Subject;
use crate::seam::Wait;

/// The result for a valid credential.
#[derive(Debug)]
pub struct Verified {
    /// The caller that it describes.
    pub subject: Arc<Subject>,
    /// Whether to forward it to upstreams.
    pub forward: bool,
    /// A header with a token's payload for upstreams.
    pub payload: Option<(HeaderName, Arc<str>)>,
}

/// Why a credential is not accepted, or not yet.
#[derive(Debug)]
pub enum Failure {
    /// It is invalid.
    Invalid(Invalid),
    /// The decision needs an awaited result.
    Wait(Wait),
    /// The keys that are needed to decide are unavailable; retry after this time.
    KeysUnavailable(Seconds),
    /// Too many invalid credentials came from this source; retry after this time.
    TooManyAttempts(Seconds),
}

/// Why a credential is invalid, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The reason, for the log and a metric.
    pub reason: &'static str,
    /// Details of the reason, for the log: `plan is an object`.
    pub detail: Option<Arc<str>>,
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
