//! The plan: a configuration, checked and compiled once. A request keeps the plan that it began with.

use std::sync::Arc;

use crate::auth::credential::Source;
use crate::config::{ConfigError, Environment, Report};
use crate::gateway::route::{Index, METHOD_OVERRIDES, Matcher, MethodOverride};
use crate::gateway::{Config, Definitions, REGISTRY, RouteConfig, Settings, Stage};
use crate::message::managed_names::ManagedNames;
use crate::message::request::Received;
use crate::message::target::PathParameters;
use crate::policy::api_key::ApiKeys;
use crate::policy::jwt::Issuers;
use crate::policy::rate_limit::{KeyPart, Limits};
use crate::policy::{Access, Answers, Policy, Rule as RuleContext, aggregate, graphql};
use crate::seam::{Caller, Context};

/// A compiled configuration. It never changes, and all workers of a process may share it.
#[derive(Debug)]
pub struct Plan {
    /// Settings that are allowed, but probably mistakes.
    pub warnings: Vec<ConfigError>,
    /// The headers that only the gateway may set.
    pub managed: Arc<ManagedNames>,
    /// Where credentials are looked for, by whatever rule: a request that is refused loses what stands there.
    pub credentials: Arc<[Source]>,
    /// The headers that name another method than the request's own.
    pub method_overrides: ManagedNames,
    /// Whether any rule matches on Envoy's route name, which costs a host call.
    pub needs_route_name: bool,
    /// The parts that call other services.
    pub callers: Vec<Arc<dyn Caller>>,
    api_keys: Option<Arc<ApiKeys>>,
    limits: Arc<Limits>,
    rules: Vec<Rule>,
    index: Index,
    default: Option<Arc<Route>>,
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    route: Arc<Route>,
}

/// A compiled rule, or the compiled defaults.
#[derive(Debug)]
pub struct Route {
    /// The name in metrics.
    pub name: String,
    /// The name of the counter of allowed requests, built once.
    pub passed: Arc<str>,
    /// The policies, sorted by stage.
    pub policies: Vec<Box<dyn Policy>>,
    /// What to do with path parameters.
    pub path_parameters: PathParameters,
    /// What to do with headers that name another method.
    pub method_override: MethodOverride,
    /// Whether Envoy may select another route after changes.
    pub reroutes: bool,
}

/// The result of the search for a request's rule.
#[derive(Debug)]
pub enum Selection<'a> {
    /// The matching rule, or the defaults.
    Route(&'a Arc<Route>),
    /// The matching rule does not allow the method; with the value of `Allow`.
    MethodNotAllowed(&'a Arc<Route>, String),
    /// No rule matches, and there is no default.
    None,
}

impl Plan {
    /// Compiles a configuration. `Err` has all errors of meaning.
    pub fn compile(config: &Config, environment: &Environment) -> Result<Self, Vec<ConfigError>> {
        let mut report = Report::default();
        if config.version != VERSION {
            report.error_at(
                "version",
                format!("is {}; this is a plugin for version {VERSION}", config.version),
            );
        }
        let definitions = Definitions::compile(config, environment, &mut report);
        check_names(config, &definitions, &mut report);
        let (rules, index) = compile_rules(config, &definitions, &mut report);
        let default = report.within("defaults", |report| compile_default(config, &definitions, report));
        check_parts(config, &definitions, &mut report);
        if rules.is_empty() && default.is_none() {
            report.error("refuses every request: it has neither `routes` nor `defaults.auth`");
        }
        let needs_route_name = rules.iter().any(|rule| rule.matcher.needs_route_name());
        let warnings = report.finish()?;
        let published = definitions.jwt.iter().flat_map(Issuers::remote_keys);
        let published = published.map(|keys| Arc::clone(keys) as Arc<dyn Caller>);
        let called = !definitions.parts.is_empty();
        let services = definitions.api_keys.iter().flat_map(|keys| keys.callers());
        let routes = rules.iter().map(|rule| &rule.route).chain(&default);
        let policies = routes.flat_map(|route| &route.policies);
        Ok(Self {
            warnings,
            callers: published
                .chain(services)
                .chain(definitions.counting.map(|service| service as Arc<dyn Caller>))
                .chain(called.then(|| Arc::clone(&definitions.parts.services) as Arc<dyn Caller>))
                .chain(policies.flat_map(|policy| policy.callers()))
                .collect(),
            api_keys: definitions.api_keys,
            limits: definitions.limits,
            managed: Arc::clone(&definitions.identity.managed),
            credentials: definitions.sources,
            method_overrides: ManagedNames::of(&METHOD_OVERRIDES),
            needs_route_name,
            rules,
            index,
            default,
        })
    }

    /// The plan of a test's configuration; `Err` has all errors, each on a line.
    #[cfg(test)]
    pub(crate) fn of(config: &serde_json::Value, environment: &Environment) -> Result<Arc<Self>, String> {
        let plan = crate::gateway::decode(config.to_string().as_bytes())
            .map_err(|error| vec![error])
            .and_then(|config| Self::compile(&config, environment));
        plan.map(Arc::new).map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            errors.join("\n")
        })
    }

    /// Creates the data that workers share, before there is traffic. `seed` must be unpredictable.
    pub fn prepare(&self, seed: [u8; 16], cx: &Context<'_>) {
        self.limits.prepare(seed, cx);
        for caller in &self.callers {
            caller.prepare(cx);
        }
        if let Some(keys) = &self.api_keys {
            keys.prepare(cx.store());
        }
    }

    /// What each rule answers from in place of an upstream, in the order of the configuration.
    pub fn answers(&self) -> impl Iterator<Item = Answers> {
        self.rules.iter().map(|rule| {
            let mut answers = rule.route.policies.iter().map(|policy| policy.answers());
            answers.find(|answers| *answers != Answers::No).unwrap_or(Answers::No)
        })
    }

    /// Finds the first rule that matches a request.
    pub fn select(&self, request: &Received) -> Selection<'_> {
        match self.index.first(request).and_then(|place| self.rules.get(place)) {
            Some(rule) => match rule.matcher.check_method(request.method()) {
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
pub fn counter(route: &str, outcome: &str, code: &str) -> Arc<str> {
    format!("tollgate_requests_total;route={route};outcome={outcome};code={code};").into()
}

/// Checks names that must be defined elsewhere in the configuration, and names that exclude each other.
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
    let attributes = definitions.identity.attributes();
    for (path, attribute) in claims.chain(keys).chain(limits) {
        if !attributes.contains(attribute) {
            report.error_at(
                path,
                format!("nothing defines \"{attribute}\"; name its header in `identity.headers.attributes`"),
            );
        }
    }
}

/// Checks that every part is used.
fn check_parts(config: &Config, definitions: &Definitions, report: &mut Report) {
    let parts = &definitions.parts;
    let routes = config
        .routes
        .iter()
        .map(|route| Settings::new(Some(route), &config.defaults));
    let settings: Vec<_> = routes.chain([Settings::new(None, &config.defaults)]).collect();
    let aggregates = settings.iter().filter_map(|settings| settings.aggregate);
    let schemas = settings.iter().filter_map(|settings| settings.graphql);
    let used: Vec<_> = aggregates
        .flat_map(|aggregate| aggregate::parts_of(aggregate, parts))
        .chain(schemas.flat_map(|graphql| graphql::parts_of(graphql, parts)))
        .collect();
    for (place, part) in parts.iter().enumerate() {
        if !used.contains(&place) {
            report.error_at(
                format!("parts.{}", part.name),
                "is used by no `aggregate` and no `graphql`",
            );
        }
    }
}

/// The route of requests that no rule matches, if `defaults` has `auth`.
fn compile_default(config: &Config, definitions: &Definitions, report: &mut Report) -> Option<Arc<Route>> {
    let settings = Settings::new(None, &config.defaults);
    settings.auth?;
    let policies = compile_policies("default", &settings, &[], false, definitions, report);
    Some(Arc::new(Route {
        path_parameters: config.defaults.path_parameters,
        method_override: config.defaults.method_override,
        reroutes: settings.request.is_some_and(|request| request.reroute),
        ..Route::new("default".into(), policies)
    }))
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
            compile_rule(matcher, route, config, definitions, report)
        });
        rules.push(rule);
    }
    (rules, index)
}

fn compile_rule(
    matcher: Matcher,
    route: &RouteConfig,
    config: &Config,
    definitions: &Definitions,
    report: &mut Report,
) -> Rule {
    let defaults = &config.defaults;
    let name = label(&route.name.clone().unwrap_or_else(|| matcher.to_string()));
    let mut settings = Settings::new(Some(route), defaults);
    if route.public {
        if route.auth.is_some() || route.require.is_some() {
            report.error("is `public`, so it has neither `auth` nor `require`");
        }
        (settings.auth, settings.require) = (None, None);
    } else if settings.auth.is_none() {
        report.error("says neither `auth` nor `public: true`, and `defaults` has no `auth`");
    }
    let methods = route.r#match.methods.as_deref().unwrap_or_default();
    let policies = compile_policies(
        &name,
        &settings,
        methods,
        matcher.needs_route_name(),
        definitions,
        report,
    );
    Rule {
        matcher,
        route: Arc::new(Route {
            path_parameters: route.path_parameters.unwrap_or(defaults.path_parameters),
            method_override: route.method_override.unwrap_or(defaults.method_override),
            reroutes: settings.request.is_some_and(|request| request.reroute),
            ..Route::new(name, policies)
        }),
    }
}

fn compile_policies(
    name: &str,
    settings: &Settings<'_>,
    methods: &[String],
    matches_route_name: bool,
    definitions: &Definitions,
    report: &mut Report,
) -> Vec<Box<dyn Policy>> {
    let rule = RuleContext {
        name,
        access: match settings.auth {
            None => Access::Public,
            Some(auth) if auth.optional => Access::Optional,
            Some(_) => Access::Authenticated,
        },
        matches_route_name,
        credentials: &definitions.sources_of(settings.auth),
        managed: &definitions.identity.managed,
        attributes: definitions.identity.attributes(),
        methods,
    };
    let mut staged: Vec<(Stage, Box<dyn Policy>)> = REGISTRY
        .iter()
        .filter_map(|registration| {
            let policy = (registration.compile)(settings, definitions, &rule, report)?;
            Some((registration.stage, policy))
        })
        .collect();
    staged.sort_by_key(|(stage, _)| *stage);
    staged.into_iter().map(|(_, policy)| policy).collect()
}

/// The label value for a name: separators of metric names are replaced.
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

// Threads can share plans.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Plan>();
};

#[cfg(test)]
mod tests;
