//! What can be done to a request and its response: one folder or file per policy. Every one is listed in
//! [`REGISTRY`](crate::gateway::REGISTRY).

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

use crate::message::managed_names::ManagedNames;
use crate::message::request::Request;
use crate::seam::{Caller, Context};

pub use crate::message::request::Stop;

/// One step that a request must pass. This is the one extension point.
///
/// A policy is a part of the plan: all workers share it, and it does not change. What a worker remembers of it is a
/// [`Local`](crate::seam::Local), what is remembered of one request is in [`Request::memory`].
pub trait Policy: fmt::Debug + Send + Sync {
    /// Looks at the request, decides what becomes of it, or refuses it. A policy that has waited is called again.
    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop>;

    /// Changes what access logs see of a request that is refused, by whichever policy.
    fn on_refusal(&self, _: &mut Request, _: &Context<'_>) {}

    /// What it calls other services by.
    fn callers(&self) -> Vec<Arc<dyn Caller>> {
        Vec::new()
    }
}

/// What every policy may know of the rule that it is made for.
#[derive(Debug)]
pub struct Rule<'a> {
    /// Its name in metrics.
    pub name: &'a str,
    /// Who passes it.
    pub access: Access,
    /// Whether it looks at Envoy's route name.
    pub matches_route_name: bool,
    /// The headers that only the gateway may set.
    pub managed: &'a ManagedNames,
    /// The names of attributes that an identity may have.
    pub attributes: &'a BTreeSet<String>,
}

/// Who passes a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody; nobody's credentials are looked at.
    Public,
    /// Anybody without a credential, and who proves who they are.
    Optional,
    /// Who proves who they are.
    Authenticated,
}
