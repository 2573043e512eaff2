//! What stands in a decK file: services with their routes, plugins with what they are about, consumers and their groups.

use std::collections::BTreeMap;

use super::node::{
    META, given, has_placeholder, is_id, is_off, is_placeholder, is_true, leave, list, number, plain, reference, text,
};
use crate::finding::Findings;
use crate::yaml::{Member, Node};

/// A decK file, read.
pub(super) struct Kong<'a> {
    pub(super) services: Vec<Service<'a>>,
    pub(super) consumers: Vec<Consumer<'a>>,
    pub(super) upstreams: Vec<&'a Node>,
    pub(super) plugins: Vec<Plugin<'a>>,
    /// Whether paths are regular expressions without saying so, as before Kong 3.
    pub(super) is_old: bool,
}

pub(super) struct Service<'a> {
    pub(super) node: &'a Node,
    pub(super) name: String,
    pub(super) routes: Vec<Route<'a>>,
}

pub(super) struct Route<'a> {
    pub(super) node: &'a Node,
    pub(super) name: String,
}

pub(super) struct Consumer<'a> {
    pub(super) node: &'a Node,
    pub(super) name: String,
    /// The consumer groups in which it is; the first one's limits are its own.
    pub(super) groups: Vec<String>,
}

pub(super) struct Plugin<'a> {
    pub(super) node: &'a Node,
    pub(super) name: &'a str,
    pub(super) scope: Scope,
    /// Whether it is about something that is not in this file by the name or the id that it gives.
    is_lost: bool,
    /// Whether something of it is a placeholder.
    pub(super) is_open: bool,
}

/// What a plugin is about; nothing for all requests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) service: Option<String>,
    pub(super) route: Option<String>,
    pub(super) consumer: Option<String>,
    pub(super) group: Option<String>,
}

/// The plugins of one route by name: of several of one name, the one that is the most about it.
pub(super) type Effective<'k, 'a> = BTreeMap<&'a str, &'k Plugin<'a>>;

impl<'a> Kong<'a> {
    pub(super) fn read(document: &'a Node, findings: &mut Findings) -> Option<Self> {
        if given(document, "_format_version").is_none() || given(document, "services").is_none() {
            findings.error(
                &document.place,
                "is no declarative configuration of Kong: `_format_version` or `services` is missing",
            );
            return None;
        }
        let is_own = |member: &&Member| member.key.starts_with("x-");
        let mut own: Vec<_> = document
            .members()
            .iter()
            .filter(is_own)
            .map(|member| member.key.as_str())
            .collect();
        own.extend([
            "services",
            "routes",
            "plugins",
            "consumers",
            "consumer_groups",
            "upstreams",
        ]);
        leave(document, &own, META, findings);
        document.visit(&mut |node| {
            if is_placeholder(node) {
                findings.error(
                    &node.place,
                    "is a placeholder, which is filled in elsewhere: put the value here. No credential is made of it, and what it guards is closed",
                );
            }
        });
        let version =
            text(document, "_format_version").and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        let mut kong = Self {
            is_old: version.is_some_and(|version| version < 3),
            services: Vec::new(),
            consumers: Vec::new(),
            upstreams: list(document, "upstreams").iter().collect(),
            plugins: Vec::new(),
        };
        let mut names = EntityNames::default();
        for node in list(document, "services") {
            kong.service(node, &mut names, findings);
        }
        for node in list(document, "routes") {
            kong.lonely_route(node, &mut names, findings);
        }
        for node in list(document, "consumer_groups") {
            let scope = Scope {
                group: text(node, "name").map(plain),
                ..Scope::default()
            };
            leave(node, &["plugins", "consumers"], META, findings);
            kong.take_plugins(node, &scope);
        }
        for node in list(document, "consumers") {
            kong.consumer(node, document);
        }
        kong.take_plugins(document, &Scope::default());
        kong.resolve(document, findings);
        Some(kong)
    }

    /// Plugins name what they are about by name or by id; from here on, by name.
    fn resolve(&mut self, document: &'a Node, findings: &mut Findings) {
        let mut plugins = std::mem::take(&mut self.plugins);
        for plugin in &mut plugins {
            let routes = || self.services.iter().flat_map(|service| &service.routes);
            let named = |node: &'a Node, name: &str| (node, text(node, "name").unwrap_or(name).to_owned());
            let services: Vec<_> = self
                .services
                .iter()
                .map(|service| named(service.node, &service.name))
                .collect();
            let routes: Vec<_> = routes().map(|route| named(route.node, &route.name)).collect();
            let consumers: Vec<_> = self
                .consumers
                .iter()
                .map(|consumer| (consumer.node, consumer.name.clone()))
                .collect();
            let groups = list(document, "consumer_groups").iter();
            let groups: Vec<_> = groups
                .map(|group| (group, text(group, "name").map(plain).unwrap_or_default()))
                .collect();
            for (kind, about, known) in [
                ("service", &mut plugin.scope.service, services),
                ("route", &mut plugin.scope.route, routes),
                ("consumer", &mut plugin.scope.consumer, consumers),
                ("consumer group", &mut plugin.scope.group, groups),
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
                            format!("is about the {kind} `{wanted}`, which is not in this file: whatever it may be about is closed"),
                        );
                    }
                }
            }
        }
        self.plugins = plugins;
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

    fn service(&mut self, node: &'a Node, names: &mut EntityNames, findings: &mut Findings) {
        if is_off(node) {
            findings.warning(&node.place, "is switched off in Kong, and left out");
            return;
        }
        let name = names
            .services
            .one_of_its_own(text(node, "name").or(text(node, "host")).unwrap_or("service"));
        let scope = Scope {
            service: Some(text(node, "name").unwrap_or(&name).to_owned()),
            ..Scope::default()
        };
        self.take_plugins(node, &scope);
        let routes = list(node, "routes").iter();
        let routes = routes.map(|route| self.route(route, &name, names)).collect();
        self.services.push(Service { node, name, routes });
    }

    fn route(&mut self, node: &'a Node, service: &str, names: &mut EntityNames) -> Route<'a> {
        let name = names
            .routes
            .one_of_its_own(text(node, "name").unwrap_or(&format!("{service}-route")));
        let scope = Scope {
            route: Some(text(node, "name").unwrap_or(&name).to_owned()),
            ..Scope::default()
        };
        self.take_plugins(node, &scope);
        Route { node, name }
    }

    /// A route outside its service names it.
    fn lonely_route(&mut self, node: &'a Node, names: &mut EntityNames, findings: &mut Findings) {
        let wanted = reference(node, "service");
        let route = self.route(node, wanted.unwrap_or_default(), names);
        let mut services = self.services.iter_mut();
        let is_meant = |service: &&mut Service<'_>| {
            wanted.is_some() && [text(service.node, "name"), text(service.node, "id")].contains(&wanted)
        };
        match services.find(is_meant) {
            Some(service) => service.routes.push(route),
            None => findings.error(&node.place, "belongs to no service of this file, and is left out"),
        }
    }

    fn consumer(&mut self, node: &'a Node, document: &'a Node) {
        let Some(name) = text(node, "username").or(text(node, "custom_id")) else {
            return;
        };
        let all = list(document, "consumer_groups");
        let own = list(node, "groups").iter().filter_map(|group| {
            let wanted = group.text().or(text(group, "name")).or(text(group, "id"))?;
            let by_id = all.iter().find(|group| text(group, "id") == Some(wanted));
            by_id.and_then(|group| text(group, "name")).or(Some(wanted))
        });
        let of_groups = all.iter().filter(|group| {
            let mut members = list(group, "consumers").iter();
            members.any(|member| member.text().or(text(member, "username")) == Some(name))
        });
        let mut groups: Vec<String> = Vec::new();
        for group in own.chain(of_groups.filter_map(|group| text(group, "name"))).map(plain) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let scope = Scope {
            consumer: Some(name.to_owned()),
            ..Scope::default()
        };
        self.take_plugins(node, &scope);
        self.consumers.push(Consumer {
            node,
            name: name.to_owned(),
            groups,
        });
    }

    fn take_plugins(&mut self, holder: &'a Node, scope: &Scope) {
        for node in list(holder, "plugins").iter().filter(|plugin| !is_off(plugin)) {
            let named = |key| reference(node, key).map(str::to_owned);
            self.plugins.push(Plugin {
                node,
                name: text(node, "name").unwrap_or_default(),
                is_lost: false,
                is_open: has_placeholder(node) || given(node, "_config").is_some(),
                scope: Scope {
                    service: scope.service.clone().or_else(|| named("service")),
                    route: scope.route.clone().or_else(|| named("route")),
                    consumer: scope.consumer.clone().or_else(|| named("consumer")),
                    group: scope.group.clone().or_else(|| named("consumer_group")),
                },
            });
        }
    }

    /// What Kong runs for everybody on a route.
    pub(super) fn effective(&self, service: &Service<'_>, route: &Route<'_>) -> Effective<'_, 'a> {
        let mut found: Effective<'_, 'a> = BTreeMap::new();
        for plugin in &self.plugins {
            let Scope {
                service: wanted,
                route: wanted_route,
                consumer,
                group,
            } = &plugin.scope;
            let is_about = |wanted: &Option<String>, node: &Node, name: &str| {
                wanted
                    .as_deref()
                    .is_none_or(|wanted| wanted == text(node, "name").unwrap_or(name))
            };
            let applies =
                is_about(wanted, service.node, &service.name) && is_about(wanted_route, route.node, &route.name);
            if consumer.is_some() || group.is_some() || !applies {
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

impl Plugin<'_> {
    /// A member of its configuration that says something.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        given(given(self.node, "config")?, key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    pub(super) fn list(&self, key: &str) -> &[Node] {
        self.get(key).map_or(&[], Node::items)
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        number(given(self.node, "config")?, key)
    }

    /// Whether it is about something that is not in the file.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// A switch, with Kong's default.
    pub(super) fn is(&self, key: &str, default: bool) -> bool {
        self.get(key).map_or(default, is_true)
    }

    /// Says what of its configuration is not carried over.
    pub(super) fn leave(&self, carried: &[&str], defaults: &[(&str, &str)], findings: &mut Findings) {
        leave(
            self.node,
            &[
                "config",
                "name",
                "enabled",
                "service",
                "route",
                "consumer",
                "consumer_group",
            ],
            META,
            findings,
        );
        if let Some(config) = given(self.node, "config") {
            leave(config, carried, defaults, findings);
        }
    }
}

impl Scope {
    fn weight(&self) -> usize {
        match (&self.route, &self.service) {
            (Some(_), Some(_)) => 3,
            (Some(_), None) => 2,
            (None, Some(_)) => 1,
            (None, None) => 0,
        }
    }
}

/// Services and routes, beside what is made besides.
struct EntityNames {
    services: Names,
    routes: Names,
}

impl Default for EntityNames {
    fn default() -> Self {
        let own = |names: &[&str]| Names(names.iter().map(ToString::to_string).collect());
        Self {
            services: own(&["gateway", super::files::LIMITER, super::gateway::COLLECTOR]),
            routes: own(&[super::files::READY, super::files::UNMATCHED]),
        }
    }
}

/// Names that Envoy, files and metrics take, each once.
#[derive(Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    pub(super) fn one_of_its_own(&mut self, wanted: &str) -> String {
        let plain = plain(wanted);
        let mut name = plain.clone();
        for number in 2_u32.. {
            if !self.0.contains(&name) {
                break;
            }
            name = format!("{plain}-{number}");
        }
        self.0.push(name.clone());
        name
    }
}
