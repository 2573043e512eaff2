//! Which plugins are about which routes: Kong's references by name or by id, followed.

use std::collections::BTreeMap;

use super::kong::{Kong, Route, Service};
use super::members;
use super::node::{is_id, list, text};
use super::plugin::{Plugin, Scope};
use crate::finding::Findings;
use crate::yaml::Node;

/// The plugins of one route by name: of several of one name, the one that is the most about it.
pub(super) type Effective<'k, 'a> = BTreeMap<&'a str, &'k Plugin<'a>>;

/// What a plugin may be about: each entity with the name that it has from here on.
struct Subjects<'a> {
    services: Vec<(&'a Node, String)>,
    routes: Vec<(&'a Node, String)>,
    consumers: Vec<(&'a Node, String)>,
    groups: Vec<(&'a Node, String)>,
}

impl<'a> Subjects<'a> {
    fn of(kong: &Kong<'a>, document: &'a Node) -> Self {
        let named = |node: &'a Node, name: &str| (node, text(node, "name").unwrap_or(name).to_owned());
        let services = kong.services.iter();
        let routes = services.clone().flat_map(|service| &service.routes);
        let consumers = kong.consumers.iter();
        let groups = list(document, "consumer_groups").iter();
        Self {
            services: services.map(|service| named(service.node, &service.name)).collect(),
            routes: routes.map(|route| named(route.node, &route.name)).collect(),
            consumers: consumers
                .map(|consumer| (consumer.node, consumer.name.clone()))
                .collect(),
            groups: groups.map(|group| (group, members::name(group))).collect(),
        }
    }

    /// Puts names in place of ids. What is not there is said, and the plugin is lost.
    fn resolve(&self, plugin: &mut Plugin<'_>, findings: &mut Findings) {
        for (kind, about, known) in [
            ("service", &mut plugin.scope.service, &self.services),
            ("route", &mut plugin.scope.route, &self.routes),
            ("consumer", &mut plugin.scope.consumer, &self.consumers),
            ("consumer group", &mut plugin.scope.group, &self.groups),
        ] {
            let Some(wanted) = about.as_deref() else { continue };
            let is_meant = |(node, name): &&(&Node, String)| {
                let keys = ["name", "id", "username", "custom_id"];
                name == wanted || keys.iter().any(|key| text(node, key) == Some(wanted))
            };
            match known.iter().find(is_meant) {
                Some((_, name)) => *about = Some(name.clone()),
                None => {
                    plugin.is_lost = true;
                    findings.error(
                        &plugin.node.place,
                        format!(
                            "is about the {kind} `{wanted}`, which is not in this file: whatever it may be about is closed"
                        ),
                    );
                }
            }
        }
    }
}

impl<'a> Kong<'a> {
    /// Plugins name what they are about by name or by id; from here on, by name.
    pub(super) fn resolve(&mut self, document: &'a Node, findings: &mut Findings) {
        let subjects = Subjects::of(self, document);
        for plugin in &mut self.plugins {
            subjects.resolve(plugin, findings);
        }
    }

    /// Whether a plugin whose subject is not in the file may be about this route: a name may be that of what has none, an id that of what has none.
    pub(super) fn may_be_about(&self, plugin: &Plugin<'_>, service: &Service<'_>, route: &Route<'_>) -> bool {
        let may_be = |wanted: &Option<String>, node: &Node, name: &str| {
            wanted.as_deref().is_none_or(|wanted| {
                let own = text(node, "name").unwrap_or(name);
                let key = if is_id(wanted) { "id" } else { "name" };
                wanted == own || text(node, "id") == Some(wanted) || text(node, key).is_none()
            })
        };
        let Scope {
            service: of_service,
            route: of_route,
            ..
        } = &plugin.scope;
        plugin.is_lost && may_be(of_service, service.node, &service.name) && may_be(of_route, route.node, &route.name)
    }

    /// What Kong runs for everybody on a route.
    pub(super) fn effective(&self, service: &Service<'_>, route: &Route<'_>) -> Effective<'_, 'a> {
        let mut found: Effective<'_, 'a> = BTreeMap::new();
        for plugin in &self.plugins {
            let Scope {
                service: wanted,
                route: wanted_route,
                ..
            } = &plugin.scope;
            let is_about = |wanted: &Option<String>, node: &Node, name: &str| {
                wanted
                    .as_deref()
                    .is_none_or(|wanted| wanted == text(node, "name").unwrap_or(name))
            };
            let applies =
                is_about(wanted, service.node, &service.name) && is_about(wanted_route, route.node, &route.name);
            if !plugin.scope.is_everybodys() || !applies {
                continue;
            }
            match found.get(plugin.name) {
                Some(other) if other.scope.weight() >= plugin.scope.weight() => {}
                _ => {
                    found.insert(plugin.name, plugin);
                }
            }
        }
        found
    }
}
