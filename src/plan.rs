//! The plan: a configuration's meaning, checked and compiled once. A request keeps the plan that it began with.

use std::rc::Rc;

use crate::config::{Config, ConfigError, DefaultsConfig, Environment, Report, RouteConfig};
use crate::credential::Source;
use crate::policy::api_key::ApiKeys;
use crate::policy::identity_headers::{IdentityHeaders, ManagedNames};
use crate::policy::jwt::Issuers;
use crate::policy::proof::Proof;
use crate::policy::rate_limit::{KeyPart, Limits, QuotaHeaders, RateLimitService};
use crate::policy::transform::RequestConfig;
use crate::policy::{Definitions, Policy, REGISTRY, RouteContext, Stage};
use crate::remote::Remote;
use crate::request::Request;
use crate::route::{Index, METHOD_OVERRIDES, Matcher, MethodOverride};
use crate::store::Store;
use crate::target::PathParameters;

/// Everything that is decided before a request comes.
#[derive(Debug)]
pub struct Plan {
    /// What is allowed, but hardly what was meant.
    pub warnings: Vec<ConfigError>,
    /// The headers that only the gateway may set.
    pub identity: Rc<IdentityHeaders>,
    /// The headers that name another method than the request's own.
    pub method_overrides: ManagedNames,
    /// Whether any rule looks at Envoy's route name, which costs a host call.
    pub needs_route_name: bool,
    /// What calls other services.
    pub remotes: Vec<Rc<dyn Remote>>,
    /// How responses tell what is left.
    pub quota_headers: QuotaHeaders,
    api_keys: Option<Rc<ApiKeys>>,
    limits: Rc<Limits>,
    rules: Vec<Rule>,
    index: Index,
    default: Option<Rc<Route>>,
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    route: Rc<Route>,
}

/// What a request passes through.
#[derive(Debug)]
pub struct Route {
    /// Its name in metrics.
    pub name: String,
    /// The counter of requests that pass it, made once.
    pub passed: Rc<str>,
    /// By stage.
    pub policies: Vec<Box<dyn Policy>>,
    /// What becomes of path parameters.
    pub path_parameters: PathParameters,
    /// What becomes of headers that name another method.
    pub method_override: MethodOverride,
    /// Whether Envoy is meant to choose its route again.
    pub reroutes: bool,
}

/// Which route a request takes.
#[derive(Debug)]
pub enum Selection<'a> {
    /// This one.
    Route(&'a Rc<Route>),
    /// The rule for this request does not allow its method; the value of `Allow`.
    MethodNotAllowed(&'a Rc<Route>, String),
    /// No rule and no default.
    None,
}

impl Plan {
    /// Checks the meaning of a configuration; every error at once.
    pub fn compile(config: &Config, environment: &Environment) -> Result<Self, Vec<ConfigError>> {
        let mut report = Report::default();
        if config.version != VERSION {
            report.error_at(
                "version",
                format!("is {}; this is a plugin for version {VERSION}", config.version),
            );
        }
        let identity = Rc::new(IdentityHeaders::compile(
            &config.identity,
            config.jwt.iter().flat_map(Issuers::payload_headers),
            &mut report,
        ));
        let proof = config.identity.proof.as_ref().map(|proof| {
            report.within("identity.proof", |report| {
                let payloads = config.jwt.iter().flat_map(Issuers::payload_headers);
                let names = identity.names().chain(payloads.map(|(_, name)| name.as_str()));
                Rc::new(Proof::compile(proof, names, environment, report))
            })
        });
        let jwt = config
            .jwt
            .as_ref()
            .map(|jwt| report.within("jwt", |report| Issuers::compile(jwt, environment, report)));
        let api_keys = config.api_keys.as_ref().map(|keys| {
            report.within("api_keys", |report| {
                Rc::new(ApiKeys::compile(keys, environment, report))
            })
        });
        let counting = config.rate_limit_service.as_ref().map(|service| {
            report.within("rate_limit_service", |report| {
                Rc::new(RateLimitService::compile(service, report))
            })
        });
        let limits = report.within("rate_limits", |report| {
            Limits::compile(&config.rate_limits, counting.as_ref(), report)
        });
        let limits = Rc::new(limits);
        let definitions = Definitions {
            identity: Rc::clone(&identity),
            proof,
            jwt,
            api_keys,
            limits: Rc::clone(&limits),
        };
        check_names(config, &definitions, &mut report);
        let (rules, index) = compile_rules(config, &definitions, &mut report);
        let default = report.within("defaults", |report| {
            compile_default(&config.defaults, &definitions, report)
        });
        if rules.is_empty() && default.is_none() {
            report.error("refuses every request: it has neither `routes` nor `defaults.auth`");
        }
        let needs_route_name = rules.iter().any(|rule| rule.matcher.needs_route_name());
        let warnings = report.finish()?;
        let published = definitions.jwt.iter().flat_map(Issuers::remote_keys);
        let published = published.map(|keys| Rc::clone(keys) as Rc<dyn Remote>);
        let services = definitions.api_keys.iter().flat_map(|keys| keys.remotes());
        let routes = rules.iter().map(|rule| &rule.route).chain(&default);
        let policies = routes.flat_map(|route| &route.policies);
        Ok(Self {
            warnings,
            remotes: published
                .chain(services)
                .chain(counting.map(|service| service as Rc<dyn Remote>))
                .chain(policies.flat_map(|policy| policy.remotes()))
                .collect(),
            api_keys: definitions.api_keys,
            limits,
            quota_headers: config.quota_headers,
            identity,
            method_overrides: ManagedNames::of(&METHOD_OVERRIDES),
            needs_route_name,
            rules,
            index,
            default,
        })
    }

    /// Makes what the workers share, before there is traffic. `seed` is unpredictable.
    pub fn prepare(&self, seed: [u8; 16], store: &dyn Store) {
        self.limits.prepare(seed, store);
        for remote in &self.remotes {
            remote.prepare(store);
        }
        if let Some(keys) = &self.api_keys {
            keys.prepare(store);
        }
    }

    /// The first rule that matches decides.
    pub fn select(&self, request: &Request<'_>) -> Selection<'_> {
        match self.index.first(request).and_then(|place| self.rules.get(place)) {
            Some(rule) => match rule.matcher.check_method(request.method) {
                Ok(()) => Selection::Route(&rule.route),
                Err(allow) => Selection::MethodNotAllowed(&rule.route, allow),
            },
            None => self.default.as_ref().map_or(Selection::None, Selection::Route),
        }
    }
}

impl Route {
    fn new(name: String, policies: Vec<Box<dyn Policy>>) -> Self {
        let passed = counter(&name, "allowed", "ok");
        Self {
            name,
            passed,
            policies,
            path_parameters: PathParameters::default(),
            method_override: MethodOverride::default(),
            reroutes: false,
        }
    }
}

/// The name of the counter of requests with this outcome.
pub fn counter(route: &str, outcome: &str, code: &str) -> Rc<str> {
    format!("tollgate_requests_total;route={route};outcome={outcome};code={code};").into()
}

/// Names that must be defined elsewhere, and names that exclude each other.
fn check_names(config: &Config, definitions: &Definitions, report: &mut Report) {
    let tokens = definitions.jwt.iter().flat_map(Issuers::sources);
    let keys = definitions
        .api_keys
        .iter()
        .flat_map(|keys| keys.sources().iter().enumerate());
    let keys = keys.map(|(place, source)| (format!("api_keys.from[{place}]"), source));
    for (path, source) in tokens.chain(keys) {
        if let Source::Header { name, .. } = source
            && definitions.identity.managed.contains(name.as_str().as_bytes())
        {
            report.error_at(
                path,
                format!(
                    "`{}` is an identity header, which is removed from every request",
                    name.as_str()
                ),
            );
        }
    }
    let claims = config.jwt.iter().flat_map(Issuers::attributes);
    let keys = config.api_keys.iter().flat_map(|keys| keys.keys.iter().enumerate());
    let keys = keys.flat_map(|(index, key)| {
        let names = key.attributes.keys();
        names.map(move |name| (format!("api_keys.keys[{index}].attributes.{name}"), name.as_str()))
    });
    let limits = config.rate_limits.iter().enumerate().flat_map(|(index, limit)| {
        let parts = limit.key.iter().enumerate();
        parts.filter_map(move |(place, part)| match part {
            KeyPart::Claim(name) => Some((format!("rate_limits[{index}].key[{place}]"), name.as_str())),
            _ => None,
        })
    });
    for (path, attribute) in claims.chain(keys).chain(limits) {
        if !definitions.identity.has_attribute(attribute) {
            report.error_at(
                path,
                format!("nothing defines \"{attribute}\"; name its header in `identity.headers.attributes`"),
            );
        }
    }
}

fn compile_rules(config: &Config, definitions: &Definitions, report: &mut Report) -> (Vec<Rule>, Index) {
    let mut rules: Vec<Rule> = Vec::new();
    let mut index = Index::default();
    for (place, route) in config.routes.iter().enumerate() {
        let rule = report.within(format!("routes[{place}]"), |report| {
            let matcher = report.within("match", |report| Matcher::compile(&route.r#match, report));
            if let Some(earlier) = index.covering(&matcher) {
                report.error_at(
                    "match",
                    format!(
                        "is never reached: routes[{earlier}] takes all of its requests; put the narrower rule first"
                    ),
                );
            }
            index.add(place, &matcher);
            compile_rule(matcher, route, &config.defaults, definitions, report)
        });
        rules.push(rule);
    }
    (rules, index)
}

fn compile_rule(
    matcher: Matcher,
    route: &RouteConfig,
    defaults: &DefaultsConfig,
    definitions: &Definitions,
    report: &mut Report,
) -> Rule {
    let name = label(&route.name.clone().unwrap_or_else(|| matcher.to_string()));
    let (auth, require) = if route.public {
        if route.auth.is_some() || route.require.is_some() {
            report.error("is `public`, so it has neither `auth` nor `require`");
        }
        (None, None)
    } else {
        let auth = route.auth.as_ref().or(defaults.auth.as_ref());
        if auth.is_none() {
            report.error("says neither `auth` nor `public: true`, and `defaults` has no `auth`");
        }
        (auth, route.require.as_ref().or(defaults.require.as_ref()))
    };
    let policies = compile_policies(
        &RouteContext {
            name: &name,
            auth,
            require,
            rate_limits: route.rate_limits.as_ref().unwrap_or(&defaults.rate_limits),
            validate: route.validate.as_ref().or(defaults.validate.as_ref()),
            request: route.request.as_ref().or(defaults.request.as_ref()),
            response: route.response.as_ref().or(defaults.response.as_ref()),
            fallback: route.fallback.as_ref().or(defaults.fallback.as_ref()),
            matches_route_name: matcher.needs_route_name(),
            definitions,
        },
        report,
    );
    Rule {
        matcher,
        route: Rc::new(Route {
            path_parameters: route.path_parameters.unwrap_or(defaults.path_parameters),
            method_override: route.method_override.unwrap_or(defaults.method_override),
            reroutes: reroutes(route.request.as_ref().or(defaults.request.as_ref())),
            ..Route::new(name, policies)
        }),
    }
}

fn compile_default(defaults: &DefaultsConfig, definitions: &Definitions, report: &mut Report) -> Option<Rc<Route>> {
    let auth = defaults.auth.as_ref()?;
    let route = RouteContext {
        name: "default",
        auth: Some(auth),
        require: defaults.require.as_ref(),
        rate_limits: &defaults.rate_limits,
        validate: defaults.validate.as_ref(),
        request: defaults.request.as_ref(),
        response: defaults.response.as_ref(),
        fallback: defaults.fallback.as_ref(),
        matches_route_name: false,
        definitions,
    };
    let policies = compile_policies(&route, report);
    Some(Rc::new(Route {
        path_parameters: defaults.path_parameters,
        method_override: defaults.method_override,
        reroutes: reroutes(defaults.request.as_ref()),
        ..Route::new("default".into(), policies)
    }))
}

fn reroutes(request: Option<&RequestConfig>) -> bool {
    request.is_some_and(|request| request.reroute)
}

fn compile_policies(route: &RouteContext<'_>, report: &mut Report) -> Vec<Box<dyn Policy>> {
    let mut staged: Vec<(Stage, Box<dyn Policy>)> = REGISTRY
        .iter()
        .filter_map(|registration| (registration.compile)(route, report).map(|policy| (registration.stage, policy)))
        .collect();
    staged.sort_by_key(|(stage, _)| *stage);
    staged.into_iter().map(|(_, policy)| policy).collect()
}

/// A metric's label: the separators of the metric name stay out of it.
fn label(name: &str) -> String {
    name.chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || "-_./*".contains(character) {
                character
            } else {
                '_'
            }
        })
        .collect()
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests;
