//! A configuration beside the Envoy configuration that it works in.

use tollgate::gateway::Config;
use tollgate::gateway::route::MatchConfig;

use super::answers;
use super::changes::Changes;
use super::configuration::{Configuration, Sound};
use super::listener;
use super::shape;
use crate::finding::Findings;
use crate::yaml::{Node, Place};

/// Envoy's routes and clusters around a Tollgate filter.
pub(crate) struct Surroundings<'a> {
    bootstrap: &'a Node,
    connection_manager: &'a Node,
}

impl<'a> Surroundings<'a> {
    /// Every connection manager of a bootstrap, with its HTTP filters.
    pub(crate) fn all(bootstrap: &'a Node) -> Vec<(Self, &'a [Node])> {
        let mut managers = Vec::new();
        bootstrap.visit(&mut |node| {
            if node.is_message(CONNECTION_MANAGER) {
                managers.push(node);
            }
        });
        let with_filters = managers.into_iter().map(|connection_manager| {
            let filters = connection_manager.field("http_filters").map_or(&[][..], Node::items);
            let surroundings = Self {
                bootstrap,
                connection_manager,
            };
            (surroundings, filters)
        });
        with_filters.collect()
    }

    /// Says what does not fit together. `behind` are the filters behind the plugin.
    pub(crate) fn check(&self, configuration: &Configuration, sound: &Sound, behind: &[Node], findings: &mut Findings) {
        self.check_clusters(configuration, findings);
        listener::check(self.connection_manager, findings);
        let Some(routes) = routes_of(self.connection_manager) else {
            return;
        };
        // A configuration may serve several listeners.
        let managers = Self::all(self.bootstrap).into_iter();
        let all: Option<Vec<_>> = managers.map(|(other, _)| routes_of(other.connection_manager)).collect();
        if let Some(all) = all {
            check_rules(configuration, &all.concat(), findings);
        }
        check_covered(&sound.config, &routes, findings);
        answers::check(sound, self.connection_manager, &routes, behind, findings);
        let changes = Changes::of(sound);
        for route in routes {
            check_matchers(route, "headers", |name| changes.of_header(name), findings);
            check_matchers(route, "query_parameters", |name| changes.of_parameter(name), findings);
            check_cluster_headers(route, &changes, findings);
        }
    }

    fn check_clusters(&self, configuration: &Configuration, findings: &mut Findings) {
        if self.bootstrap.fields(&["dynamic_resources", "cds_config"]).is_some() {
            return;
        }
        let clusters = self
            .bootstrap
            .fields(&["static_resources", "clusters"])
            .map_or(&[][..], Node::items);
        let names: Vec<_> = clusters.iter().filter_map(|cluster| cluster.text_of("name")).collect();
        for cluster in configuration.clusters() {
            let name = cluster.text().unwrap_or_default();
            if !names.contains(&name) {
                let message = format!(
                    "{} has no cluster `{name}`{}",
                    self.bootstrap.place.file,
                    there_is(name, &names)
                );
                findings.error(&cluster.place, message);
            }
        }
    }
}

/// Envoy's routes; `None` where they come from elsewhere.
fn routes_of(connection_manager: &Node) -> Option<Vec<&Node>> {
    let hosts = connection_manager.fields(&["route_config", "virtual_hosts"])?.items();
    let routes = hosts.iter().filter_map(|host| host.field("routes"));
    Some(routes.flat_map(Node::items).collect())
}

/// A route must not match on what changes after it was chosen.
fn check_matchers<'a>(route: &Node, field: &str, change: impl Fn(&str) -> Option<&'a str>, findings: &mut Findings) {
    let matchers = route.fields(&["match", field]).map_or(&[][..], Node::items);
    for name in matchers.iter().filter_map(|matcher| matcher.get("name")) {
        let written = name.text().unwrap_or_default();
        if let Some(by) = change(written) {
            findings.error(&name.place, chosen_again(written, by));
        }
    }
}

/// Nor must the header that names its cluster change.
fn check_cluster_headers(route: &Node, changes: &Changes<'_>, findings: &mut Findings) {
    let weighted = route
        .fields(&["route", "weighted_clusters", "clusters"])
        .map_or(&[][..], Node::items);
    let weighted = weighted.iter().filter_map(|cluster| cluster.field("cluster_header"));
    for header in route.fields(&["route", "cluster_header"]).into_iter().chain(weighted) {
        let name = header.text().unwrap_or_default();
        if let Some(by) = changes.of_header(name) {
            findings.error(&header.place, chosen_again(name, by));
        }
    }
}

fn chosen_again(name: &str, by: &str) -> String {
    format!(
        "Tollgate changes `{name}` ({by}), and Envoy then chooses the route again: what was decided for one route would be served by \
         another; match on something that stays"
    )
}

/// Says what does not fit together of a configuration and Istio's `VirtualService`s, of whose entries Envoy's routes are made.
pub(crate) fn check_services(
    services: &[&Node],
    configuration: &Configuration,
    sound: &Sound,
    findings: &mut Findings,
) {
    let entries: Vec<_> = services
        .iter()
        .flat_map(|service| service.select("spec.http[]"))
        .collect();
    check_rules(configuration, &entries, findings);
    check_covered(&sound.config, &entries, findings);
    let changes = Changes::of(sound);
    for matched in entries.iter().flat_map(|entry| entry.select("match[]")) {
        let headers = matched.get("headers").map_or(&[][..], Node::members).iter();
        let headers = headers.filter_map(|member| Some((member, changes.of_header(&member.key)?)));
        let parameters = matched.get("queryParams").map_or(&[][..], Node::members).iter();
        let parameters = parameters.filter_map(|member| Some((member, changes.of_parameter(&member.key)?)));
        for (member, by) in headers.chain(parameters) {
            findings.error(&member.place, chosen_again(&member.key, by));
        }
    }
}

/// Every rule's `match.route` is there.
fn check_rules(configuration: &Configuration, routes: &[&Node], findings: &mut Findings) {
    let names: Vec<_> = routes.iter().filter_map(|route| route.text_of("name")).collect();
    for rule in configuration.document.select("routes[].match.route") {
        let name = rule.text().unwrap_or_default();
        if !names.contains(&name) {
            let message = match routes.first() {
                Some(route) => format!("{} has no route `{name}`{}", route.place.file, there_is(name, &names)),
                None => format!("Envoy has no route `{name}`, nor any other"),
            };
            findings.error(&rule.place, message);
        }
    }
}

/// Every route has a rule, or the default.
fn check_covered(config: &Config, routes: &[&Node], findings: &mut Findings) {
    if config.defaults.auth.is_some() {
        return;
    }
    for route in routes {
        if !config.routes.iter().any(|rule| may_match(&rule.r#match, route)) {
            findings.warning(
                &route.place,
                "no rule matches this route and there is no `defaults.auth`, so all of its requests are refused (403 `no_policy`)",
            );
        }
    }
}

/// Whether some request of this Envoy route may match a rule.
fn may_match(rule: &MatchConfig, route: &Node) -> bool {
    if let Some(name) = &rule.route {
        return route.text_of("name") == Some(name);
    }
    let paths = ["path", "path_separated_prefix", "prefix"];
    let path = paths.iter().find_map(|key| route.fields(&["match", key])?.text());
    let own = rule.path.as_deref().or(rule.path_prefix.as_deref());
    match (own, path) {
        (Some(own), Some(path)) => own.starts_with(path) || path.starts_with(own),
        _ => true,
    }
}

/// What would be right.
fn there_is(name: &str, names: &[&str]) -> String {
    match (shape::closest(name, names.iter().copied()), names) {
        (Some(near), _) => format!("; did you mean `{near}`?"),
        (None, []) => String::new(),
        (None, names) => format!("; it has {}", names.join(", ")),
    }
}

/// Where a filter's configuration is to come from.
pub(crate) fn discovered(filter: &Node) -> Option<(&str, &Place)> {
    filter.field("config_discovery")?;
    Some((filter.text_of("name")?, &filter.place))
}

const CONNECTION_MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
