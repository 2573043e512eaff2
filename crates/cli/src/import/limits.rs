//! How much: rate limits, each window one of Tollgate's limits.

use std::collections::{BTreeMap, BTreeSet};

use super::kong::Kong;
use super::limit::{Limit, Rate, Window};
use super::names::Names;
use super::node::{META, given, is_placeholder, leave, plain};
use super::plans::{Groups, windows};
use super::plugin::{Plugin, Scope};
use crate::finding::Findings;
use crate::yaml::Node;

/// The limits of a decK file.
#[derive(Default)]
pub(super) struct Limits {
    pub(super) all: Vec<Limit>,
    /// The store of those that Kong counts in Redis, `HOST:PORT`.
    pub(super) redis: Option<String>,
    /// Whether every plugin hides what is left.
    pub(super) are_hidden: bool,
    /// For routes without `rate-limiting-advanced` of their own.
    groups: Vec<String>,
    names: Names,
}

const WINDOWS: [(&str, u64); 6] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3600),
    ("day", 86_400),
    ("month", 30 * 86_400),
    ("year", 365 * 86_400),
];

/// As good as none, where Kong has a limit for some groups alone.
pub(super) const UNLIMITED: u64 = 1_000_000_000;

/// Where a plugin counts.
pub(super) const REDIS: [&str; 6] = [
    "policy",
    "strategy",
    "redis",
    "redis_host",
    "redis_port",
    "fault_tolerant",
];
/// What it counts, and how.
pub(super) const COMMON: [&str; 8] = [
    "limit_by",
    "identifier",
    "header_name",
    "hide_client_headers",
    "limit",
    "window_size",
    "window_type",
    "namespace",
];
/// What changes nothing here.
pub(super) const DEFAULTS: [(&str, &str); 15] = [
    ("consumer_groups", "*"),
    ("dictionary_name", "*"),
    ("disable_penalty", "false"),
    ("enforce_consumer_groups", "*"),
    ("error_code", "429"),
    ("error_message", "API rate limit exceeded"),
    ("lock_dictionary_name", "*"),
    ("redis_database", "0"),
    ("redis_server_name", "*"),
    ("redis_ssl", "false"),
    ("redis_ssl_verify", "false"),
    ("redis_timeout", "*"),
    ("retry_after_jitter_max", "0"),
    ("sync_rate", "*"),
    ("path", "*"),
];

impl Limits {
    pub(super) fn gather(kong: &Kong<'_>, findings: &mut Findings) -> Self {
        let mut limits = Self {
            are_hidden: true,
            ..Self::default()
        };
        let groups = Groups::gather(kong, findings);
        for (index, plugin) in kong.plugins.iter().enumerate() {
            let is_everybodys = plugin.scope.consumer.is_none() && plugin.scope.group.is_none();
            match plugin.name {
                "rate-limiting" if is_everybodys => limits.simple(plugin, index, findings),
                "rate-limiting-advanced" if is_everybodys => limits.advanced(plugin, index, &groups, findings),
                _ => {}
            }
        }
        limits.of_groups(&groups);
        limits.are_hidden &= !limits.all.is_empty();
        limits
    }

    /// `rate-limiting`.
    fn simple(&mut self, plugin: &Plugin<'_>, index: usize, findings: &mut Findings) {
        let windows = WINDOWS.map(|(name, _)| name);
        plugin.leave(&[&windows[..], &REDIS, &COMMON].concat(), &DEFAULTS, findings);
        let Some(pattern) = self.pattern(plugin, "fixed_window", findings) else {
            return;
        };
        for (name, seconds) in WINDOWS {
            let Some(node) = plugin.get(name) else { continue };
            let Some(limit) = plugin.number(name) else {
                // Of a placeholder that has been said, and its routes are closed.
                if !is_placeholder(node) {
                    findings.error(&node.place, "is no whole number of requests, and is left out");
                }
                continue;
            };
            if seconds > 86_400 {
                findings.warning(
                    &node.place,
                    format!("is a window of {} days, not of the calendar", seconds / 86_400),
                );
            }
            let rate = Rate {
                limit,
                window: Window { seconds },
                ..pattern.clone()
            };
            let wanted = format!("{}-{name}", about(&plugin.scope));
            self.add(&wanted, index, rate, BTreeMap::new());
        }
    }

    /// `rate-limiting-advanced`.
    fn advanced(&mut self, plugin: &Plugin<'_>, index: usize, groups: &Groups, findings: &mut Findings) {
        plugin.leave(
            &[&REDIS[..], &COMMON, &["retry_after_jitter_max"]].concat(),
            &DEFAULTS,
            findings,
        );
        let is_fixed = plugin.text("window_type") == Some("fixed");
        let algorithm = if is_fixed { "fixed_window" } else { "sliding_window" };
        let Some(pattern) = self.pattern(plugin, algorithm, findings) else {
            return;
        };
        let own = windows(plugin, findings);
        let namespace = plugin.text("namespace").map(plain);
        let all: BTreeSet<_> = own.keys().chain(groups.windows.keys()).copied().collect();
        let is_one = all.len() == 1;
        for window in all {
            let rate = Rate {
                limit: own.get(&window).copied().unwrap_or(UNLIMITED),
                window,
                namespace: namespace.clone(),
                ..pattern.clone()
            };
            let base = namespace
                .clone()
                .unwrap_or_else(|| format!("{}-advanced", about(&plugin.scope)));
            let wanted = if is_one {
                base
            } else {
                format!("{base}-{}s", window.seconds)
            };
            self.add(&wanted, index, rate, groups.plans(window));
        }
    }

    /// Groups have limits, and those who are in none do not.
    fn of_groups(&mut self, groups: &Groups) {
        for &window in groups.windows.keys() {
            if self
                .all
                .iter()
                .any(|limit| !limit.plans.is_empty() && limit.rate.window == window)
            {
                continue;
            }
            let rate = Rate {
                key: "tenant".into(),
                algorithm: "sliding_window",
                limit: UNLIMITED,
                window,
                is_shared: false,
                is_closed_on_fault: false,
                jitter: None,
                namespace: None,
            };
            let name = self.add(
                &format!("consumer-groups-{}s", window.seconds),
                usize::MAX,
                rate,
                groups.plans(window),
            );
            self.groups.push(name);
        }
    }

    /// What the windows of a plugin have in common.
    fn pattern(&mut self, plugin: &Plugin<'_>, algorithm: &'static str, findings: &mut Findings) -> Option<Rate> {
        let key = key(plugin, findings)?;
        let store = plugin.get("policy").or(plugin.get("strategy"));
        let is_shared = store.and_then(Node::text) == Some("redis");
        if is_shared {
            self.count_in_redis(plugin, findings);
        } else if let Some(node) = store.filter(|node| node.text() == Some("cluster")) {
            findings.warning(&node.place, "each gateway counts for itself; `redis` is carried over");
        }
        self.are_hidden &= plugin.is("hide_client_headers", false);
        Some(Rate {
            key,
            algorithm,
            limit: 0,
            window: Window { seconds: 0 },
            is_shared,
            is_closed_on_fault: is_shared && !plugin.is("fault_tolerant", true),
            jitter: plugin.number("retry_after_jitter_max").filter(|&seconds| seconds > 0),
            namespace: None,
        })
    }

    /// Remembers where Kong counts: all limits are counted in one Redis.
    fn count_in_redis(&mut self, plugin: &Plugin<'_>, findings: &mut Findings) {
        let redis = plugin.get("redis");
        let of = |old: &str, new: &str| plugin.text(old).or_else(|| given(redis?, new)?.text());
        let (host, port) = (
            of("redis_host", "host").unwrap_or("redis"),
            of("redis_port", "port").unwrap_or("6379"),
        );
        let address = format!("{host}:{port}");
        match &self.redis {
            Some(other) if *other != address => findings.error(
                &plugin.node.place,
                format!("counts in another Redis, {address}, than the first, {other}; all limits are counted in that"),
            ),
            _ => self.redis = Some(address),
        }
        if let Some(redis) = redis {
            let defaults = [
                ("timeout", "*"),
                ("database", "0"),
                ("ssl", "false"),
                ("ssl_verify", "false"),
            ];
            let pool = [
                ("connect_timeout", "*"),
                ("read_timeout", "*"),
                ("send_timeout", "*"),
                ("keepalive_pool_size", "*"),
            ];
            leave(redis, &["host", "port"], &[META, &defaults, &pool].concat(), findings);
        }
    }

    fn add(&mut self, wanted: &str, plugin: usize, rate: Rate, plans: BTreeMap<String, u64>) -> String {
        let same = |limit: &&mut Limit| rate.namespace.is_some() && limit.rate == rate && limit.plans == plans;
        if let Some(limit) = self.all.iter_mut().find(same) {
            limit.plugins.push(plugin);
            return limit.name.clone();
        }
        let name = self.names.one_of_its_own(&plain(wanted));
        self.all.push(Limit {
            name: name.clone(),
            plugins: vec![plugin],
            plans,
            rate,
        });
        name
    }

    /// The names of the limits of a route.
    pub(super) fn of(&self, plugins: &[usize], is_proven: bool) -> Vec<String> {
        let own = self
            .all
            .iter()
            .filter(|limit| limit.plugins.iter().any(|plugin| plugins.contains(plugin)));
        let mut names: Vec<String> = own.map(|limit| limit.name.clone()).collect();
        if is_proven
            && !self
                .all
                .iter()
                .any(|limit| names.contains(&limit.name) && !limit.plans.is_empty())
        {
            names.extend(self.groups.iter().cloned());
        }
        names
    }

    pub(super) fn is_shared(&self) -> bool {
        self.all.iter().any(|limit| limit.rate.is_shared)
    }
}

/// By what a plugin counts, as `rate_limits` has it; `None` where that is not carried over.
fn key(plugin: &Plugin<'_>, findings: &mut Findings) -> Option<String> {
    let by = plugin.get("limit_by").or(plugin.get("identifier"));
    let key = match by.and_then(Node::text).unwrap_or("consumer") {
        "consumer" => "tenant".to_owned(),
        "credential" => "user".into(),
        "ip" => "ip".into(),
        "service" => "route".into(),
        "consumer-group" => "plan".into(),
        "header" if plugin.text("header_name").is_some() => {
            format!(
                "header:{}",
                plugin.text("header_name").unwrap_or_default().to_ascii_lowercase()
            )
        }
        other => {
            let place = by.map_or(&plugin.node.place, |node| &node.place);
            findings.error(
                place,
                format!("a limit by `{other}` is not carried over, and missing until you add one; there is consumer, credential, ip, service, header"),
            );
            return None;
        }
    };
    if let Some(node) = by.filter(|_| key == "route") {
        findings.warning(&node.place, "each route of the service is counted by itself");
    }
    Some(key)
}

fn about(scope: &Scope) -> String {
    scope
        .route
        .clone()
        .or(scope.service.clone())
        .unwrap_or_else(|| "global".into())
}
