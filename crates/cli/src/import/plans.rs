//! Limits of consumer groups: plans, in place of what everybody has.

use std::collections::{BTreeMap, BTreeSet};

use super::kong::Kong;
use super::limit::Window;
use super::limits::{COMMON, DEFAULTS, REDIS, UNLIMITED};
use super::plugin::{Plugin, Scope};
use crate::finding::Findings;
use crate::yaml::Node;

/// What consumer groups have in place of everybody's, by window.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) windows: BTreeMap<Window, BTreeMap<String, u64>>,
    names: BTreeSet<String>,
}

impl Groups {
    pub(super) fn gather(kong: &Kong<'_>, findings: &mut Findings) -> Self {
        let mut groups = Self::default();
        for plugin in kong
            .plugins
            .iter()
            .filter(|plugin| plugin.name == "rate-limiting-advanced")
        {
            let Scope {
                service,
                route,
                consumer: None,
                group: Some(group),
            } = &plugin.scope
            else {
                continue;
            };
            if service.is_some() || route.is_some() {
                findings.error(
                    &plugin.node.place,
                    "is about a group on one service or route alone, and is not carried over",
                );
                continue;
            }
            // Where and how they are counted is said by everybody's.
            plugin.leave(
                &[&REDIS[..], &COMMON, &["retry_after_jitter_max"]].concat(),
                &DEFAULTS,
                findings,
            );
            groups.names.insert(group.clone());
            for (window, limit) in windows(plugin, findings) {
                groups.windows.entry(window).or_default().insert(group.clone(), limit);
            }
        }
        groups
    }

    /// A group's own limits are in place of everybody's: what it says nothing about is not limited.
    pub(super) fn plans(&self, window: Window) -> BTreeMap<String, u64> {
        let own = self.windows.get(&window);
        let limit = |group: &String| own.and_then(|own| own.get(group)).copied().unwrap_or(UNLIMITED);
        self.names.iter().map(|group| (group.clone(), limit(group))).collect()
    }
}

/// `limit` and `window_size`, side by side.
pub(super) fn windows(plugin: &Plugin<'_>, findings: &mut Findings) -> BTreeMap<Window, u64> {
    let (limits, sizes) = (plugin.list("limit"), plugin.list("window_size"));
    if limits.is_empty() || limits.len() != sizes.len() {
        findings.error(
            &plugin.node.place,
            "has not as many `limit` as `window_size`, and is left out",
        );
        return BTreeMap::new();
    }
    let number = |node: &Node| node.text().and_then(|text| text.parse::<u64>().ok());
    let mut found = BTreeMap::new();
    for (limit, size) in limits.iter().zip(sizes) {
        match (number(limit), number(size).filter(|&seconds| seconds > 0)) {
            (Some(limit), Some(seconds)) => {
                found.insert(Window { seconds }, limit);
            }
            _ => findings.error(
                &limit.place,
                "is no whole number of requests in whole seconds, and is left out",
            ),
        }
    }
    found
}
