//! What stands in a decK file: services with their routes, plugins with what they are about, consumers and their groups.

use std::collections::BTreeMap;

use crate::finding::Findings;
use crate::yaml::{Content, Node, Style};

/// A decK file, read.
pub(super) struct Kong<'a> {
    pub(super) services: Vec<Service<'a>>,
    pub(super) consumers: Vec<Consumer<'a>>,
    pub(super) upstreams: Vec<&'a Node>,
    pub(super) plugins: Vec<Plugin<'a>>,
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
    /// Of the consumer groups, the first in which it is.
    pub(super) group: Option<String>,
}

pub(super) struct Plugin<'a> {
    pub(super) node: &'a Node,
    pub(super) name: &'a str,
    pub(super) scope: Scope,
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
        leave(
            document,
            &[
                "services",
                "routes",
                "plugins",
                "consumers",
                "consumer_groups",
                "upstreams",
            ],
            META,
            findings,
        );
        let mut kong = Self {
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
        Some(kong)
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
        match services.find(|service| wanted.is_some() && text(service.node, "name") == wanted) {
            Some(service) => service.routes.push(route),
            None => findings.error(&node.place, "belongs to no service of this file, and is left out"),
        }
    }

    fn consumer(&mut self, node: &'a Node, document: &'a Node) {
        let Some(name) = text(node, "username").or(text(node, "custom_id")) else {
            return;
        };
        let own = list(node, "groups")
            .iter()
            .find_map(|group| group.text().or(text(group, "name")));
        let of_a_group = || {
            let groups = list(document, "consumer_groups").iter();
            let mut groups = groups.filter(|group| {
                let members = list(group, "consumers").iter();
                members
                    .into_iter()
                    .any(|member| member.text().or(text(member, "username")) == Some(name))
            });
            groups.find_map(|group| text(group, "name"))
        };
        let scope = Scope {
            consumer: Some(name.to_owned()),
            ..Scope::default()
        };
        self.take_plugins(node, &scope);
        self.consumers.push(Consumer {
            node,
            name: name.to_owned(),
            group: own.or_else(of_a_group).map(plain),
        });
    }

    fn take_plugins(&mut self, holder: &'a Node, scope: &Scope) {
        for node in list(holder, "plugins").iter().filter(|plugin| !is_off(plugin)) {
            let named = |key| reference(node, key).map(str::to_owned);
            self.plugins.push(Plugin {
                node,
                name: text(node, "name").unwrap_or_default(),
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

    /// A switch, with Kong's default.
    pub(super) fn is(&self, key: &str, default: bool) -> bool {
        self.text(key).map_or(default, |text| text == "true")
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

/// Letters, digits, `-` and `_`.
pub(super) fn plain(name: &str) -> String {
    let kept = name.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => character,
        _ => '-',
    });
    kept.collect()
}

/// A member that says something: decK writes `null` where nothing is meant.
pub(super) fn given<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get(key).filter(|value| !is_nothing(value))
}

pub(super) fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    given(node, key)?.text()
}

pub(super) fn number(node: &Node, key: &str) -> Option<u64> {
    text(node, key)?.parse().ok()
}

pub(super) fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).map_or(&[], Node::items)
}

/// Says of every member that is not carried over that it is not; what says nothing, or Kong's default, needs no word.
pub(super) fn leave(node: &Node, carried: &[&str], defaults: &[(&str, &str)], findings: &mut Findings) {
    for member in node.members() {
        let key = member.key.as_str();
        let is_default = |(name, default): &(&str, &str)| {
            *name == key && (default == &ANYTHING || member.value.text() == Some(default))
        };
        let is_empty = match &member.value.content {
            Content::Scalar(..) => is_nothing(&member.value),
            Content::List(items) => items.is_empty(),
            Content::Map(members) => members.is_empty(),
        };
        if !carried.contains(&key) && !is_empty && !defaults.iter().any(is_default) {
            findings.error(&member.place, "is not carried over");
        }
    }
}

/// As a default: whatever it is.
pub(super) const ANYTHING: &str = "*";

/// What entities of Kong have that means nothing here.
pub(super) const META: &[(&str, &str)] = &[
    ("_format_version", ANYTHING),
    ("_info", ANYTHING),
    ("_konnect", ANYTHING),
    ("_transform", ANYTHING),
    ("_workspace", ANYTHING),
    ("created_at", ANYTHING),
    ("id", ANYTHING),
    ("instance_name", ANYTHING),
    ("name", ANYTHING),
    ("protocols", ANYTHING),
    ("tags", ANYTHING),
    ("updated_at", ANYTHING),
];

fn is_nothing(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar(text, Style::Plain) if matches!(text.as_str(), "" | "~" | "null"))
}

fn is_off(node: &Node) -> bool {
    text(node, "enabled") == Some("false")
}

/// `service: NAME` or `service: { name: NAME }`.
fn reference<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let value = given(node, key)?;
    value.text().or(text(value, "name")).or(text(value, "username"))
}
