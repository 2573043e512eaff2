//! One plugin of a decK file: what it says, and what it is about.

use super::node::{META, given, has_placeholder, is_true, leave, number, reference, text};
use crate::finding::Findings;
use crate::yaml::Node;

pub(super) struct Plugin<'a> {
    pub(super) node: &'a Node,
    pub(super) name: &'a str,
    pub(super) scope: Scope,
    /// Whether it is about something that is not in this file by the name or the id that it gives.
    pub(super) is_lost: bool,
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

impl<'a> Plugin<'a> {
    /// What it does not name it is about by where it stands.
    pub(super) fn of(node: &'a Node, scope: &Scope) -> Self {
        let named = |key| reference(node, key).map(str::to_owned);
        Self {
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
        }
    }

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
    /// Whether it is about everybody: neither one consumer nor one consumer group.
    pub(super) fn is_everybodys(&self) -> bool {
        self.consumer.is_none() && self.group.is_none()
    }

    /// Of several plugins of one name, Kong runs the one that weighs most.
    pub(super) fn weight(&self) -> usize {
        match (&self.route, &self.service) {
            (Some(_), Some(_)) => 3,
            (Some(_), None) => 2,
            (None, Some(_)) => 1,
            (None, None) => 0,
        }
    }
}
