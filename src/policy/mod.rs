//! Policies, with one folder or file each. All are listed in [`REGISTRY`](crate::gateway::REGISTRY).

pub mod aggregate;
pub mod api_key;
pub mod authenticate;
pub mod authorize;
pub mod fallback;
#[cfg(feature = "graphql")]
pub mod graphql;
#[cfg(not(feature = "graphql"))]
#[path = "without_graphql.rs"]
pub mod graphql;
pub mod identity_headers;
pub mod jwt;
pub mod network;
pub mod parts;
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
use crate::seam::{Caller, Context, WaitKind};

pub use crate::message::request::{Answered, Stop};

/// A step that a request must pass. This is the one extension point.
///
/// A policy is a part of the plan: all workers share it, and it does not change. State of one worker is in a
/// [`Local`](crate::seam::Local), state of one request in [`Request::memory`].
pub trait Policy: Send + Sync {
    /// Changes the request, refuses it, or waits. A policy that has waited is called again.
    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop>;

    /// The kind of place that must be free before the policy runs, because it makes calls that cannot be taken back.
    fn needs_place(&self) -> Option<WaitKind> {
        None
    }

    /// Changes what access logs see of a request that any policy has refused.
    fn on_refusal(&self, _: &mut Request, _: &Context<'_>) {}

    /// What it answers from in place of an upstream.
    fn answers(&self) -> Answers {
        Answers::No
    }

    /// The name of its type.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// The callers by which it calls other services.
    fn callers(&self) -> Vec<Arc<dyn Caller>> {
        Vec::new()
    }
}

// Not a supertrait: what only `Debug` reaches would be in the plugin.
impl fmt::Debug for dyn Policy + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a policy answers from in place of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// It does not answer.
    No,
    /// From the request's headers.
    FromHeaders,
    /// From its body as well: the headers go on before.
    FromBody,
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
    /// The methods that it allows; empty for all.
    pub methods: &'a [String],
}

impl Rule<'_> {
    /// Whether it allows unsafe methods alone (RFC 9110 section 9.2.1).
    pub fn is_unsafe(&self) -> bool {
        let is_safe = |method: &String| ["GET", "HEAD", "OPTIONS"].contains(&method.as_str());
        !self.methods.is_empty() && !self.methods.iter().any(is_safe)
    }
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
