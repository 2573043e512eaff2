//! What can be done to a request: one file per policy, one line per policy in [`REGISTRY`].

pub mod api_key;
pub mod authenticate;
pub mod authorize;
pub mod fallback;
pub mod identity_headers;
pub mod jwt;
pub mod proof;
pub mod rate_limit;
pub mod transform;
pub mod validate;

use std::fmt;
use std::rc::Rc;

use crate::config::Report;
use crate::credential::Source;
use crate::denial::Denial;
use crate::remote::{Awaited, Remote};
use crate::request::Request;
use crate::world::World;

use api_key::ApiKeys;
use authenticate::AuthConfig;
use authorize::RequireConfig;
use fallback::FallbackConfig;
use identity_headers::IdentityHeaders;
use jwt::Issuers;
use proof::Proof;
use rate_limit::{LimitRef, Limits};
use transform::{RequestConfig, ResponseConfig};
use validate::ValidateConfig;

/// One step that a request must pass. This is the one extension point.
pub trait Policy: fmt::Debug {
    /// Looks at the request, adds effects to it, or refuses it.
    fn on_request(&self, request: &mut Request<'_>, world: &dyn World) -> Result<(), Stop>;

    /// What it calls other services by.
    fn remotes(&self) -> Vec<Rc<dyn Remote>> {
        Vec::new()
    }
}

/// Why a request does not go on.
#[derive(Debug)]
pub enum Stop {
    /// It is refused.
    Deny(Denial),
    /// What would decide is on its way: the request is held, and looked at again when it is there.
    Wait(Box<dyn Awaited>),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

/// When a policy runs. The plan sorts by it, so no configuration can authorize before it has authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Limits that need no identity: by address, route or header.
    LimitSource,
    /// Credentials become an identity.
    Authenticate,
    /// Scopes and roles of the identity.
    Authorize,
    /// Limits that need the identity: by user, tenant, key, plan or claim.
    LimitIdentity,
    /// The request's headers, parameters and body.
    Validate,
    /// Identity headers for the upstream.
    Forward,
    /// Changes of the request, and later of its response.
    Transform,
    /// The proof over what the request has become.
    Prove,
    /// What stands in where the upstream fails.
    Fallback,
}

/// How a policy enters the plan of a route.
pub struct Registration {
    /// When it runs.
    pub stage: Stage,
    /// Makes the policy for one route; `None` where the route does not have it.
    pub compile: fn(&RouteContext<'_>, &mut Report) -> Option<Box<dyn Policy>>,
}

/// What one route says, with the defaults filled in, and what it may refer to.
#[derive(Debug)]
pub struct RouteContext<'a> {
    /// Its name in metrics.
    pub name: &'a str,
    /// How callers prove who they are; `None` on a public route.
    pub auth: Option<&'a AuthConfig>,
    /// What an identity must have.
    pub require: Option<&'a RequireConfig>,
    /// The limits that a request must be within.
    pub rate_limits: &'a [LimitRef],
    /// What a request must look like.
    pub validate: Option<&'a ValidateConfig>,
    /// What changes of the request.
    pub request: Option<&'a RequestConfig>,
    /// What changes of the response.
    pub response: Option<&'a ResponseConfig>,
    /// What stands in for an upstream that fails.
    pub fallback: Option<&'a FallbackConfig>,
    /// Whether the rule looks at Envoy's route name.
    pub matches_route_name: bool,
    /// What the configuration defines once for all routes.
    pub definitions: &'a Definitions,
}

/// What the configuration defines once for all routes.
#[derive(Debug)]
pub struct Definitions {
    /// The headers that only the gateway may set.
    pub identity: Rc<IdentityHeaders>,
    /// Proofs for upstreams; `None` without `identity.proof`.
    pub proof: Option<Rc<Proof>>,
    /// Token issuers; `None` without a `jwt` section.
    pub jwt: Option<Issuers>,
    /// API keys; `None` without an `api_keys` section.
    pub api_keys: Option<Rc<ApiKeys>>,
    /// Rate limits.
    pub limits: Rc<Limits>,
}

impl Definitions {
    /// Where credentials are looked for, on whatever route.
    pub fn sources(&self) -> Rc<[Source]> {
        let tokens = self.jwt.iter().flat_map(Issuers::sources).map(|(_, source)| source);
        let keys = self.api_keys.iter().flat_map(|keys| keys.sources());
        tokens.chain(keys).cloned().collect()
    }
}

/// Every policy there is.
pub const REGISTRY: &[Registration] = &[
    rate_limit::BEFORE,
    authenticate::REGISTRATION,
    authorize::REGISTRATION,
    rate_limit::AFTER,
    validate::REGISTRATION,
    identity_headers::REGISTRATION,
    transform::REGISTRATION,
    proof::REGISTRATION,
    fallback::REGISTRATION,
];
