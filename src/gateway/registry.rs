//! The registry of all policies, and the definitions that they are compiled from.

use std::sync::Arc;

use super::{Config, Settings};
use crate::auth::credential::Source;
use crate::config::{Environment, Report};
use crate::denial::Refusal;
use crate::policy::api_key::ApiKeys;
use crate::policy::authenticate::{AuthConfig, MethodConfig};
use crate::policy::identity_headers::IdentityHeaders;
use crate::policy::jwt::Issuers;
use crate::policy::parts::{Parts, Sending};
use crate::policy::proof::Proof;
use crate::policy::rate_limit::{Limits, RateLimitService};
use crate::policy::{
    Policy, Rule, aggregate, authenticate, authorize, fallback, graphql, identity_headers, network, parts, proof,
    rate_limit, transform, validate,
};

/// When a policy runs. The plan sorts by stage, so no configuration can authorize before it authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Checks the client's network.
    Admit,
    /// Counts limits that need no identity: by address, route or header.
    LimitSource,
    /// Turns credentials into an identity.
    Authenticate,
    /// Checks scopes and roles of the identity.
    Authorize,
    /// Counts limits that need the identity: by user, tenant, key, plan or claim.
    LimitIdentity,
    /// Validates the request's headers, parameters and body.
    Validate,
    /// Sets identity headers for the upstream.
    Forward,
    /// Changes the request, and later its response.
    Transform,
    /// Signs the changed request with a proof.
    Prove,
    /// Replaces the response of a failed upstream.
    Fallback,
    /// Answers in place of an upstream.
    Answer,
}

/// The registration of a policy.
pub struct Registration {
    /// The stage at which it runs.
    pub stage: Stage,
    /// The refusals that only this policy makes.
    pub refusals: &'static [Refusal],
    /// Compiles the policy for one rule; `None` if the rule does not use it.
    pub compile: Compile,
}

/// Compiles a policy from a rule's settings and the configuration's definitions.
type Compile = fn(&Settings<'_>, &Definitions, &Rule<'_>, &mut Report) -> Option<Box<dyn Policy>>;

/// The parts of a configuration that all rules share.
#[derive(Debug)]
pub struct Definitions {
    /// The headers that only the gateway may set.
    pub identity: Arc<IdentityHeaders>,
    /// Proofs for upstreams; `None` without `identity.proof`.
    pub proof: Option<Arc<Proof>>,
    /// Token issuers; `None` without a `jwt` section.
    pub jwt: Option<Issuers>,
    /// API keys; `None` without an `api_keys` section.
    pub api_keys: Option<Arc<ApiKeys>>,
    /// Rate limits.
    pub limits: Arc<Limits>,
    /// The service that counts limits with `backend: rls`.
    pub counting: Option<Arc<RateLimitService>>,
    /// The credential sources of all rules.
    pub sources: Arc<[Source]>,
    /// The parts of aggregates.
    pub parts: Parts,
}

impl Definitions {
    /// Compiles everything in a configuration except the rules.
    pub(super) fn compile(config: &Config, environment: &Environment, report: &mut Report) -> Self {
        let payloads = || config.jwt.iter().flat_map(Issuers::payload_headers);
        let identity = Arc::new(IdentityHeaders::compile(&config.identity, payloads(), report));
        // What tells a service who the caller is.
        let told = || -> Vec<&str> {
            let payloads = payloads().map(|(_, name)| name.as_str());
            identity.names().chain(payloads).collect()
        };
        let proof = config.identity.proof.as_ref().map(|proof| {
            report.within("identity.proof", |report| {
                Arc::new(Proof::compile(proof, told().into_iter(), environment, report))
            })
        });
        let jwt = config.jwt.as_ref();
        let jwt = jwt.map(|jwt| report.within("jwt", |report| Issuers::compile(jwt, environment, report)));
        let api_keys = config.api_keys.as_ref().map(|keys| {
            report.within("api_keys", |report| {
                Arc::new(ApiKeys::compile(keys, environment, report))
            })
        });
        let counting = config.rate_limit_service.as_ref().map(|service| {
            report.within("rate_limit_service", |report| {
                Arc::new(RateLimitService::compile(service, report))
            })
        });
        let limits = report.within("rate_limits", |report| {
            Limits::compile(&config.rate_limits, counting.as_ref(), config.quota_headers, report)
        });
        let sending = Sending {
            caller: told().into_iter().map(str::to_owned).collect(),
            proof: proof.as_ref(),
            managed: &identity.managed,
            forwards_tokens: jwt.as_ref().is_some_and(Issuers::forward_tokens),
        };
        let parts = Parts::compile(&config.parts.0, config.part_limits, &sending, environment, report);
        let tokens = jwt.iter().flat_map(Issuers::sources).map(|(_, source)| source);
        let keys = api_keys.iter().flat_map(|keys| keys.sources());
        Self {
            sources: tokens.chain(keys).cloned().collect(),
            identity,
            proof,
            jwt,
            api_keys,
            limits: Arc::new(limits),
            counting,
            parts,
        }
    }

    /// Where the credentials of a rule are looked for.
    pub(super) fn sources_of(&self, auth: Option<&AuthConfig>) -> Vec<&Source> {
        let methods = auth.iter().flat_map(|auth| &auth.any);
        let sources = methods.flat_map(|method| -> Vec<_> {
            match method {
                MethodConfig::Jwt(_) => {
                    let tokens = self.jwt.iter().flat_map(Issuers::sources);
                    tokens.map(|(_, source)| source).collect()
                }
                MethodConfig::ApiKey => self.api_keys.iter().flat_map(|keys| keys.sources()).collect(),
            }
        });
        sources.collect()
    }
}

/// Checks that a rule with an answer of its own says nothing about an upstream.
fn check_answer(own: &str, settings: &Settings<'_>, report: &mut Report) {
    let has_body = settings.response.is_some_and(|response| !response.body.is_empty());
    for (name, is_there) in [
        (
            "fallback",
            settings.fallback.is_some_and(|fallback| !fallback.is_empty()),
        ),
        ("request", settings.request.is_some_and(|request| !request.is_empty())),
        ("response.body", has_body),
    ] {
        if is_there {
            report.error_at(
                name,
                format!("is about an upstream, but the rule has `{own}`, which takes the place of one"),
            );
        }
    }
}

/// Every policy.
pub const REGISTRY: &[Registration] = &[
    Registration {
        stage: Stage::Admit,
        refusals: &[network::REFUSED],
        compile: |settings, _, _, report| network::compile(settings.network?, report),
    },
    Registration {
        stage: Stage::LimitSource,
        refusals: &[],
        compile: |settings, given, rule, report| {
            rate_limit::compile(settings.rate_limits?, &given.limits, true, rule, report)
        },
    },
    Registration {
        stage: Stage::Authenticate,
        refusals: &[],
        compile: |settings, given, _, report| {
            authenticate::compile(settings.auth?, given.jwt.as_ref(), given.api_keys.as_ref(), report)
        },
    },
    Registration {
        stage: Stage::Authorize,
        refusals: &[],
        compile: |settings, _, rule, report| authorize::compile(settings.require?, rule, report),
    },
    Registration {
        stage: Stage::LimitIdentity,
        refusals: &[],
        compile: |settings, given, rule, report| {
            rate_limit::compile(settings.rate_limits?, &given.limits, false, rule, report)
        },
    },
    Registration {
        stage: Stage::Validate,
        refusals: &[],
        compile: |settings, _, rule, report| validate::compile(settings.validate?, rule, report),
    },
    Registration {
        stage: Stage::Forward,
        refusals: &[],
        compile: |settings, given, _, _| settings.auth.map(|_| identity_headers::compile(&given.identity)),
    },
    Registration {
        stage: Stage::Transform,
        refusals: &[],
        compile: |settings, _, rule, report| transform::compile(settings.request, settings.response, rule, report),
    },
    Registration {
        stage: Stage::Prove,
        refusals: &[],
        compile: |_, given, _, _| given.proof.as_ref().map(proof::compile),
    },
    Registration {
        stage: Stage::Fallback,
        refusals: &[],
        compile: |settings, given, rule, report| fallback::compile(settings.fallback?, &given.sources, rule, report),
    },
    Registration {
        stage: Stage::Answer,
        refusals: parts::REFUSALS,
        compile: |settings, given, rule, report| {
            let aggregate = settings.aggregate?;
            check_answer("aggregate", settings, report);
            aggregate::compile(aggregate, &given.parts, rule, report)
        },
    },
    Registration {
        stage: Stage::Answer,
        refusals: graphql::REFUSALS,
        compile: |settings, given, rule, report| {
            let graphql = settings.graphql?;
            check_answer("graphql", settings, report);
            if settings.aggregate.is_some() {
                report.error("has both `aggregate` and `graphql`, and each is the whole answer");
            }
            graphql::compile(graphql, &given.parts, rule, report)
        },
    },
];
