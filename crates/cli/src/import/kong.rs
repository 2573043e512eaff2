//! What stands in a decK file: services with their routes, consumers with their groups, and the plugins of all of them.

use super::members::{self, Membership};
use super::names::EntityNames;
use super::node::{META, given, is_off, is_placeholder, leave, list, reference, text};
use super::plugin::{Plugin, Scope};
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
    pub(super) membership: Membership,
}

impl<'a> Kong<'a> {
    pub(super) fn read(document: &'a Node, findings: &mut Findings) -> Option<Self> {
        if given(document, "_format_version").is_none() || given(document, "services").is_none() {
            findings.error(
                &document.place,
                "is no declarative configuration of Kong: `_format_version` or `services` is missing",
            );
            return None;
        }
        leave_kinds(document, findings);
        say_placeholders(document, findings);
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
            kong.group(node, findings);
        }
        let memberships = Membership::all(document, findings);
        for (node, membership) in list(document, "consumers").iter().zip(memberships) {
            kong.consumer(node, membership);
        }
        kong.take_plugins(document, &Scope::default());
        kong.resolve(document, findings);
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
        let is_meant = |service: &&mut Service<'_>| {
            wanted.is_some() && [text(service.node, "name"), text(service.node, "id")].contains(&wanted)
        };
        match services.find(is_meant) {
            Some(service) => service.routes.push(route),
            None => findings.error(&node.place, "belongs to no service of this file, and is left out"),
        }
    }

    fn group(&mut self, node: &'a Node, findings: &mut Findings) {
        let scope = Scope {
            group: Some(members::name(node)),
            ..Scope::default()
        };
        leave(
            node,
            &["plugins", GROUP_PLUGINS, "consumers", members::JOINED],
            META,
            findings,
        );
        self.take_plugins(node, &scope);
    }

    fn consumer(&mut self, node: &'a Node, membership: Membership) {
        let Some(name) = text(node, "username").or(text(node, "custom_id")) else {
            return;
        };
        let scope = Scope {
            consumer: Some(name.to_owned()),
            ..Scope::default()
        };
        self.take_plugins(node, &scope);
        self.consumers.push(Consumer {
            node,
            name: name.to_owned(),
            membership,
        });
    }

    fn take_plugins(&mut self, holder: &'a Node, scope: &Scope) {
        let nodes = list(holder, "plugins").iter().chain(list(holder, GROUP_PLUGINS));
        self.plugins
            .extend(nodes.filter(|node| !is_off(node)).map(|node| Plugin::of(node, scope)));
    }
}

/// What Kong's own format calls the plugins of consumer groups.
const GROUP_PLUGINS: &str = "consumer_group_plugins";

/// Says which kinds of entities are not carried over.
fn leave_kinds(document: &Node, findings: &mut Findings) {
    let is_own = |member: &&Member| member.key.starts_with("x-");
    let mut carried: Vec<_> = document
        .members()
        .iter()
        .filter(is_own)
        .map(|member| member.key.as_str())
        .collect();
    carried.extend([
        "services",
        "routes",
        "plugins",
        "consumers",
        "consumer_groups",
        members::JOINED,
        GROUP_PLUGINS,
        "upstreams",
    ]);
    leave(document, &carried, META, findings);
}

fn say_placeholders(document: &Node, findings: &mut Findings) {
    document.visit(&mut |node| {
        if is_placeholder(node) {
            findings.error(
                &node.place,
                "is a placeholder, which is filled in elsewhere: put the value here. No credential is made of it, and what it guards is closed",
            );
        }
    });
}
