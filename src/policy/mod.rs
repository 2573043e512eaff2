//! Policies, with one folder or file each. All are listed in [`REGISTRY`](crate::gateway::REGISTRY).

pub mod api_key;
pub mod authenticate;
pub mod authorize;
pub mod fallback;
pub mod identity_headers;
pub mod jwt;
pub mod network;
pub mod proof;
pub mod rate_limit;
pub mod transform;
pub mod validate;
pub mod verdict;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::auth::credential::Source;
use crate::message::managed_names::ManagedNames;
use crate::message::request::Request;
use crate::seam::{Caller, Context};

pub use crate::message::request::Stop;

/// A step that a request must pass. This is the one extension point.
///
/// A policy is a part of the plan: all workers share it, and it does not change. State of one worker is in a
/// [`Local`](crate::seam::Local), state of one request in [`Request::memory`].
pub trait Policy: fmt::Debug + Send + Sync {
    /// Changes the request, refuses it, or waits. A policy that has waited is called again.
    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop>;

    /// Changes what access logs see of a request that any policy has refused.
    fn on_refusal(&self, _: &mut Request, _: &Context<'_>) {}

    /// The callers by which it calls other services.
    fn callers(&self) -> Vec<Arc<dyn Caller>> {
        Vec::new()
    }
}

/// Facts about a rule, for compiling its policies.
#[derive(Debug)]
pub struct Rule<'a> {
    /// The rule's name in metrics.
    pub name: &'a str,
    /// Who may pass.
    pub access: Access,
    /// Whether it matches on Envoy's route name.
    pub matches_route_name: bool,
    /// Where its own credentials are looked for: nowhere where it is public.
    pub credentials: &'a [&'a Source],
    /// The headers that only the gateway may set.
    pub managed: &'a ManagedNames,
    /// The names of attributes that an identity may have.
    pub attributes: &'a BTreeSet<String>,
}

/// Who may pass a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody; credentials are not looked at.
    Public,
    /// Callers without a credential, and callers with a valid one.
    Optional,
    /// Callers with a valid credential.
    Authenticated,
}
