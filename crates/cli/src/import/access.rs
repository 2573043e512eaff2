//! What Kong asks of whom on which route.

use std::collections::BTreeSet;

use super::kong::{Consumer, Kong, Route, Service};
use super::node::text;
use super::plugin::Plugin;
use super::subjects::Effective;
use super::tree::{Tree, tree};
use crate::finding::Findings;
use crate::yaml::{Node, Place};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Anybody,
    Proven {
        jwt: bool,
        key: bool,
        is_optional: bool,
    },
    /// Nobody: Kong decides by what is not carried over.
    Closed,
}

/// What holds for all routes, because Tollgate says it once.
#[derive(Default)]
pub(super) struct Methods<'a> {
    /// Where tokens are asked for first.
    pub(super) jwt: Option<&'a Place>,
    /// Where keys are.
    pub(super) key: Option<&'a Place>,
    pub(super) token_sources: Vec<Tree>,
    pub(super) key_sources: Vec<Tree>,
    pub(super) secrets_are_base64: bool,
    /// Seconds that any token may still live.
    pub(super) longest: Option<u64>,
    pub(super) audiences: Vec<String>,
    /// Consumers about whom Kong decides by what is not carried over.
    pub(super) shut_out: BTreeSet<String>,
    /// The first plugin that decides so, be its consumers in the file or not.
    pub(super) restriction: Option<&'a Plugin<'a>>,
}

/// Plugins without which a request is answered all the same, to nobody's harm.
const HARMLESS: [&str; 16] = [
    "correlation-id",
    "cors",
    "datadog",
    "file-log",
    "http-log",
    "kafka-log",
    "loggly",
    "opentelemetry",
    "prometheus",
    "proxy-cache",
    "statsd",
    "syslog",
    "tcp-log",
    "udp-log",
    "zipkin",
    "upstream-timeout",
];

/// Plugins that are carried over.
const CARRIED: [&str; 6] = [
    "jwt",
    "key-auth",
    "opentelemetry",
    "rate-limiting",
    "rate-limiting-advanced",
    "request-transformer",
];

impl Access {
    /// Of a route with these plugins, unless a plugin may be about it whose subject is not in the file.
    pub(super) fn of_route(
        plugins: &Effective<'_, '_>,
        service: &Service<'_>,
        route: &Route<'_>,
        kong: &Kong<'_>,
    ) -> Self {
        let is_lost =
            |plugin: &Plugin<'_>| !HARMLESS.contains(&plugin.name) && kong.may_be_about(plugin, service, route);
        match kong.plugins.iter().any(is_lost) {
            true => Self::Closed,
            false => Self::of(plugins, kong),
        }
    }

    /// Of a route with these plugins.
    fn of(plugins: &Effective<'_, '_>, kong: &Kong<'_>) -> Self {
        let is_read = |(name, plugin): (&&str, &&Plugin<'_>)| {
            HARMLESS.contains(name) || CARRIED.contains(name) && !plugin.is_open
        };
        let is_open = plugins.iter().all(is_read);
        let (jwt, key) = (plugins.get("jwt"), plugins.get("key-auth"));
        let methods = || [jwt, key].into_iter().flatten();
        let is_optional = methods().all(|plugin| plugin.get("anonymous").is_some());
        let is_known = jwt.is_none_or(|plugin| plugin.text("key_claim_name").is_none_or(|name| name == "iss"));
        match (jwt.is_some(), key.is_some()) {
            _ if !is_open || !is_known => Self::Closed,
            (false, false) => Self::Anybody,
            _ if wants_both(plugins) => Self::Closed,
            (jwt, key) => Self::Proven {
                jwt,
                key,
                is_optional: is_optional && methods().all(|plugin| is_free(plugin, kong)),
            },
        }
    }

    /// As a rule says it; `None` where no rule is to be.
    pub(super) fn put(self, rule: &mut Tree, issuers: &[Tree]) -> Option<()> {
        match self {
            Self::Closed => return None,
            Self::Anybody => rule.put("public", true),
            Self::Proven { jwt, key, is_optional } => {
                let names = || {
                    issuers
                        .iter()
                        .filter_map(|issuer| issuer.get("name").cloned())
                        .collect::<Vec<_>>()
                };
                let jwt = jwt.then(|| tree! { "jwt": names() });
                let key = key.then(|| Tree::from("api_key"));
                let mut auth = tree! { "any": jwt.into_iter().chain(key).collect::<Vec<_>>() };
                auth.put_some("optional", is_optional.then_some(true));
                rule.put("auth", auth);
            }
        }
        Some(())
    }
}

/// Whether a route asks for a token and a key: for both, unless either may be missing.
fn wants_both(plugins: &Effective<'_, '_>) -> bool {
    let methods = [plugins.get("jwt"), plugins.get("key-auth")];
    let may_miss = |plugin: &&Plugin<'_>| plugin.get("anonymous").is_some();
    methods.iter().all(Option::is_some) && !methods.into_iter().flatten().all(may_miss)
}

/// Whether nothing more is decided about those without a credential.
fn is_free(plugin: &Plugin<'_>, kong: &Kong<'_>) -> bool {
    let Some(anonymous) = plugin.text("anonymous") else {
        return true;
    };
    let mut consumers = kong.consumers.iter();
    let is_meant =
        |consumer: &&Consumer<'_>| consumer.name == anonymous || text(consumer.node, "id") == Some(anonymous);
    // Kong answers 500 where the consumer does not exist.
    let Some(consumer) = consumers.find(is_meant) else {
        return false;
    };
    let is_about = |plugin: &Plugin<'_>| match (&plugin.scope.consumer, &plugin.scope.group) {
        (None, None) => false,
        _ if plugin.is_lost => true,
        (Some(name), _) => *name == consumer.name,
        (None, Some(group)) => consumer.membership.may_be_in(group),
    };
    !kong.plugins.iter().any(is_about)
}

impl<'a> Methods<'a> {
    /// Reads every plugin, and says what is not as it was.
    pub(super) fn gather(kong: &'a Kong<'a>, audiences: &[String], findings: &mut Findings) -> Self {
        let mut methods = Self {
            audiences: audiences.to_vec(),
            longest: longest(kong, findings),
            ..Self::default()
        };
        for plugin in &kong.plugins {
            let known = CARRIED.contains(&plugin.name) || HARMLESS.contains(&plugin.name);
            if !known && !plugin.scope.is_everybodys() {
                methods.restriction.get_or_insert(plugin);
            }
            match (plugin.name, &plugin.scope.consumer, &plugin.scope.group) {
                ("rate-limiting-advanced", None, Some(_)) => {}
                (name, Some(consumer), _) => {
                    let consequence = if known {
                        "is about one consumer, and is not carried over; limits by consumer group are"
                    } else {
                        match plugin.is_lost {
                            // It may be about any of them.
                            true => methods.shut_out.extend(kong.consumers.iter().map(|consumer| consumer.name.clone())),
                            false => drop(methods.shut_out.insert(consumer.clone())),
                        }
                        "is about one consumer, and is not carried over: the consumer's credentials are left out"
                    };
                    findings.error(&plugin.node.place, format!("the plugin `{name}` {consequence}"));
                }
                (name, None, Some(group)) => {
                    let consequence = if known {
                        ""
                    } else {
                        let members = kong.consumers.iter().filter(|consumer| plugin.is_lost || consumer.membership.may_be_in(group));
                        methods.shut_out.extend(members.map(|consumer| consumer.name.clone()));
                        ": the credentials of its consumers are left out"
                    };
                    let message = format!("the plugin `{name}` is about one consumer group, and is not carried over{consequence}");
                    findings.error(&plugin.node.place, message);
                }
                ("jwt", ..) => methods.jwt(plugin, findings),
                ("key-auth", ..) => methods.key(plugin, findings),
                (name, ..) if CARRIED.contains(&name) => {}
                ("prometheus", ..) => {
                    findings.warning(&plugin.node.place, "Envoy's own figures stand in, at /stats/prometheus of its administration");
                }
                (name, ..) if known => findings.error(&plugin.node.place, format!("the plugin `{name}` is not carried over")),
                (name, ..) => findings.error(
                    &plugin.node.place,
                    format!("the plugin `{name}` is not carried over: its routes are closed (403 no_policy) until a rule says who may use them"),
                ),
            }
        }
        methods.say_both(kong, findings);
        methods
    }

    fn jwt(&mut self, plugin: &'a Plugin<'a>, findings: &mut Findings) {
        let carried = [
            "header_names",
            "cookie_names",
            "uri_param_names",
            "secret_is_base64",
            "maximum_expiration",
            "anonymous",
        ];
        let defaults = [
            ("key_claim_name", "iss"),
            ("run_on_preflight", "true"),
            ("realm", "*"),
            ("claims_to_verify", "*"),
        ];
        plugin.leave(&carried, &defaults, findings);
        if plugin.text("key_claim_name").is_some_and(|name| name != "iss") {
            findings.error(
                &plugin.node.place,
                "finds credentials by another claim than `iss`: its routes are closed (403 no_policy) until a rule says who may use them",
            );
        }
        self.jwt.get_or_insert(&plugin.node.place);
        for name in plugin.list("header_names").iter().filter_map(Node::text) {
            add(
                &mut self.token_sources,
                tree! { "header": tree! { "name": name.to_ascii_lowercase(), "scheme": "Bearer" } },
            );
        }
        if !plugin.list("cookie_names").is_empty() || !plugin.list("uri_param_names").is_empty() {
            add(
                &mut self.token_sources,
                tree! { "header": tree! { "name": "authorization", "scheme": "Bearer" } },
            );
        }
        for name in plugin.list("cookie_names").iter().filter_map(Node::text) {
            add(&mut self.token_sources, tree! { "cookie": name });
        }
        for name in plugin.list("uri_param_names").iter().filter_map(Node::text) {
            add(&mut self.token_sources, tree! { "query": name });
        }
        if plugin.get("uri_param_names").is_none() {
            findings.warning(
                &plugin.node.place,
                "tokens in a URL's `jwt`, Kong's default, are not accepted: they end up in logs",
            );
        }
        findings.warning(
            &plugin.node.place,
            "tokens need `exp`, and one of the issuer's audiences in `aud`, which Kong does not ask for",
        );
        self.secrets_are_base64 |= plugin.is("secret_is_base64", false);
    }

    fn key(&mut self, plugin: &'a Plugin<'a>, findings: &mut Findings) {
        let carried = [
            "key_names",
            "key_in_header",
            "key_in_query",
            "hide_credentials",
            "anonymous",
        ];
        let defaults = [("key_in_body", "false"), ("run_on_preflight", "true"), ("realm", "*")];
        plugin.leave(&carried, &defaults, findings);
        self.key.get_or_insert(&plugin.node.place);
        let names: Vec<&str> = plugin.list("key_names").iter().filter_map(Node::text).collect();
        for name in if names.is_empty() { vec!["apikey"] } else { names } {
            if plugin.is("key_in_header", true) {
                add(
                    &mut self.key_sources,
                    tree! { "header": tree! { "name": name.to_ascii_lowercase() } },
                );
            }
            if plugin.is("key_in_query", true) {
                add(&mut self.key_sources, tree! { "query": name });
            }
        }
        if !plugin.is("hide_credentials", false) {
            findings.warning(
                &plugin.node.place,
                "services do not see the key, as with Kong's `hide_credentials`",
            );
        }
    }

    /// Where Kong wants both a token and a key.
    fn say_both(&self, kong: &Kong<'_>, findings: &mut Findings) {
        for service in &kong.services {
            for route in &service.routes {
                if wants_both(&kong.effective(service, route)) {
                    findings.error(
                        &route.node.place,
                        "wants a token and a key, where Tollgate takes exactly one credential: the route is closed (403 no_policy) until a \
                         rule says which",
                    );
                }
            }
        }
    }
}

/// How long tokens may still live, in seconds: an issuer has one bound for all routes, and it is the smallest of the file.
fn longest(kong: &Kong<'_>, findings: &mut Findings) -> Option<u64> {
    let bounds = kong
        .plugins
        .iter()
        .filter(|plugin| plugin.name == "jwt")
        .filter(|plugin| plugin.scope.is_everybodys());
    let bounds = bounds.map(|plugin| {
        // A fraction of a second is cut off.
        let whole = || {
            plugin
                .text("maximum_expiration")?
                .split_once('.')?
                .0
                .parse::<u64>()
                .ok()
        };
        let seconds = plugin.number("maximum_expiration");
        let seconds = seconds.or_else(|| Some(whole()?.max(1)));
        (&plugin.node.place, seconds.filter(|&seconds| seconds > 0))
    });
    let bounds: Vec<(&Place, Option<u64>)> = bounds.collect();
    let least = bounds.iter().filter_map(|(_, bound)| *bound).min()?;
    for (place, _) in bounds.iter().filter(|(_, bound)| *bound != Some(least)) {
        findings.warning(
            place,
            format!("tokens may live {least} seconds at most here too: that is the shortest `maximum_expiration`, and there is one for all routes"),
        );
    }
    Some(least)
}

fn add(sources: &mut Vec<Tree>, source: Tree) {
    if !sources.contains(&source) {
        sources.push(source);
    }
}
