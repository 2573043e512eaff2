//! What becomes of one credential.

use std::sync::Arc;

use crate::config::values::HeaderName;
use crate::message::identity::Subject;
use crate::seam::Wait;

/// A credential that passed every check.
#[derive(Debug)]
pub struct Verified {
    /// What it says of its holder.
    pub subject: Arc<Subject>,
    /// Whether upstreams may see it.
    pub forward: bool,
    /// A token's payload, for upstreams that want it, and the header that carries it.
    pub payload: Option<(HeaderName, Arc<str>)>,
}

/// Why a credential does not pass.
#[derive(Debug)]
pub enum Failure {
    /// It is not acceptable.
    Invalid(Invalid),
    /// It may be, once this is there.
    Wait(Wait),
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
