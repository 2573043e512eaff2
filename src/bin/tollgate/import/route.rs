//! Envoy's routes: each path of Kong's routes, in the order in which Kong tries them.

use std::cmp::Reverse;

use super::kong::Route;
use super::node::{ANYTHING, META, given, has_placeholder, is, leave, list, number};
use super::tree::{Tree, tree};
use super::upstream::{Address, seconds};
use crate::finding::Findings;
use crate::yaml::{Member, Node};

/// One of Envoy's routes: a path of one of Kong's.
pub(super) struct Entry {
    rank: Rank,
    pub(super) tree: Tree,
}

/// Kong's order: what matches by more comes first, then plain hosts, then wildcards, then more headers, then regular expressions by their
/// priority, then longer paths.
type Rank = (
    Reverse<usize>,
    u8,
    Reverse<usize>,
    Reverse<bool>,
    Reverse<u64>,
    Reverse<usize>,
    usize,
);

/// The entries of a route.
pub(super) struct Made {
    pub(super) entries: Vec<Entry>,
    /// Whether they answer 403, for not all is known of what the route takes, or of where it leads.
    pub(super) is_closed: bool,
}

/// A service as a route of it sees it.
pub(super) struct Upstream<'a> {
    pub(super) cluster: &'a str,
    pub(super) address: &'a Address,
    pub(super) service: &'a Node,
    /// What every path becomes.
    pub(super) uri: Option<String>,
}

/// The entries of a route, one for each of its paths; `None` for one that takes no HTTP requests. Without an upstream, and where the route matches by
/// more than can be carried over, they answer 403: its requests must not fall to a wider route.
pub(super) fn entries(
    route: &Route<'_>,
    upstream: Option<&Upstream<'_>>,
    is_old: bool,
    order: usize,
    findings: &mut Findings,
) -> Option<Made> {
    let node = route.node;
    let carried = [
        "paths",
        "hosts",
        "methods",
        "headers",
        "strip_path",
        "preserve_host",
        "plugins",
        "service",
        "regex_priority",
    ];
    let defaults = [
        ("https_redirect_status_code", "426"),
        ("path_handling", ANYTHING),
        ("request_buffering", "true"),
        ("response_buffering", "true"),
    ];
    leave(node, &carried, &[META, &defaults].concat(), findings);
    let protocols: Vec<_> = list(node, "protocols").iter().filter_map(Node::text).collect();
    if !protocols.is_empty() && protocols.iter().all(|protocol| STREAMS.contains(protocol)) {
        findings.error(&node.place, "takes no HTTP requests, and is left out");
        return None;
    }
    if !protocols.is_empty() && !protocols.iter().any(|protocol| matches!(*protocol, "http" | "grpc")) {
        findings.error(
            &given(node, "protocols").unwrap_or(node).place,
            "the route is for TLS alone: this listener is plain; docs/TLS.md has one with certificates",
        );
    }
    let is_there =
        |key: &&&str| given(node, key).is_some_and(|value| value.text().is_some() || !value.items().is_empty());
    let further = ["snis", "sources", "destinations"].iter().filter(is_there).count();
    let has_expression = given(node, "expression").is_some();
    if further > 0 || has_expression {
        findings.error(
            &node.place,
            "matches by more than is carried over: what it may take answers 403 until that is said otherwise",
        );
    }
    let mut is_closed = further > 0 || has_expression || upstream.is_none();
    // Of what is a placeholder, anything may come.
    let mut texts = |key| {
        let nodes = list(node, key);
        let is_unknown = nodes.iter().any(has_placeholder);
        is_closed |= is_unknown;
        let texts = nodes.iter().filter_map(Node::text).filter(|_| !is_unknown);
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let (hosts, methods, paths) = (texts("hosts"), texts("methods"), texts("paths"));
    let headers = given(node, "headers").filter(|headers| !has_placeholder(headers));
    is_closed |= headers.is_none() && given(node, "headers").is_some();
    let headers = headers.map_or(&[][..], Node::members);
    let mut matched = Matched {
        conditions: conditions(&hosts, &methods, headers),
        criteria: 0,
        hosts: match hosts.iter().any(|host| host.contains('*')) {
            _ if hosts.is_empty() => 2,
            true => 1,
            false => 0,
        },
        headers: headers.len(),
        priority: number(node, "regex_priority").unwrap_or(0),
        order,
    };
    let criteria = [
        !hosts.is_empty(),
        !methods.is_empty(),
        !headers.is_empty(),
        !paths.is_empty(),
    ];
    matched.criteria = criteria
        .into_iter()
        .filter(|is_there| *is_there)
        .count()
        .saturating_add(further);
    if has_expression {
        // It may be about any request.
        matched.criteria = usize::MAX;
    }
    let paths = if paths.is_empty() { vec!["/".to_owned()] } else { paths };
    let paths: Vec<_> = paths.iter().map(|path| Path::read(path, is_old)).collect();
    for path in paths.iter().filter(|path| path.looks) {
        let message = format!(
            "the path {} looks ahead or back, which Envoy's patterns cannot: what it may take answers 403",
            path.written
        );
        findings.error(&node.place, message);
    }
    let open = upstream.filter(|_| !is_closed);
    let entries = paths.iter().map(|path| {
        let action = open
            .filter(|_| !path.looks)
            .map(|upstream| action(node, upstream, path));
        Entry {
            rank: matched.rank(path),
            tree: path.route(&route.name, &matched, action),
        }
    });
    Some(Made {
        entries: entries.collect(),
        is_closed,
    })
}

/// What a route matches by, besides its path.
struct Matched {
    conditions: Vec<Tree>,
    criteria: usize,
    /// 0 for plain hosts, 1 for wildcards, 2 for none.
    hosts: u8,
    headers: usize,
    priority: u64,
    order: usize,
}

impl Matched {
    fn rank(&self, path: &Path) -> Rank {
        let is_pattern = path.pattern.is_some() || path.looks;
        (
            Reverse(self.criteria),
            self.hosts,
            Reverse(self.headers),
            Reverse(is_pattern),
            Reverse(if is_pattern { self.priority } else { 0 }),
            Reverse(path.written.len()),
            self.order,
        )
    }
}

/// A path of a route.
struct Path {
    written: String,
    /// What every path begins with that it takes.
    prefix: String,
    /// A regular expression; `None` for a prefix, and where Envoy cannot have it.
    pattern: Option<String>,
    looks: bool,
}

impl Path {
    /// Before Kong 3, a path with anything but the characters of plain ones is a regular expression, as Kong's own migration has it.
    fn read(path: &str, is_old: bool) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/%".contains(&byte);
        let written = match is_old && !path.bytes().all(is_plain) {
            true => format!("~{path}"),
            false => path.to_owned(),
        };
        let Some(pattern) = written.strip_prefix('~') else {
            return Self {
                prefix: written.clone(),
                pattern: None,
                looks: false,
                written,
            };
        };
        let carried = pattern_of(pattern);
        Self {
            prefix: beginning(pattern),
            looks: carried.is_none(),
            pattern: carried,
            written,
        }
    }

    /// As Envoy has it: to a cluster, or 403.
    fn route(&self, name: &str, matched: &Matched, action: Option<Tree>) -> Tree {
        let mut tree = match &self.pattern {
            Some(pattern) => tree! { "safe_regex": tree! { "regex": whole(pattern) } },
            None => tree! { "prefix": &self.prefix },
        };
        tree.put_full("headers", matched.conditions.clone());
        let mut route = tree! { "name": name, "match": tree };
        match action {
            Some(action) => {
                let (prefix, action) = match action {
                    Tree::Map(mut members) if members.last().is_some_and(|(name, _)| name == PREFIX) => {
                        let prefix = members.pop().map(|(_, prefix)| prefix);
                        (prefix, Tree::Map(members))
                    }
                    action => (None, action),
                };
                route.put("route", action);
                match prefix {
                    Some(prefix) => route.put("request_headers_to_add", [added(PREFIX, prefix)]),
                    None => route.put("request_headers_to_remove", [PREFIX]),
                }
            }
            None => route.put("direct_response", tree! { "status": 403_u64 }),
        }
        route
    }
}

/// What a pattern begins with that is plain.
fn beginning(pattern: &str) -> String {
    let pattern = pattern.trim_start_matches('^');
    let end = pattern.find(|character: char| "\\.[](){}?*+|$^".contains(character));
    let is_optional = |end: usize| pattern.get(end..).is_some_and(|rest| rest.starts_with(['?', '*', '{']));
    let plain = match end {
        None => pattern,
        // Anything may stand in its place.
        Some(_) if pattern.contains('|') => "/",
        Some(end) => {
            let plain = pattern.get(..end).unwrap_or_default();
            let last = plain.char_indices().last().map_or(0, |(last, _)| last);
            if is_optional(end) {
                plain.get(..last).unwrap_or_default()
            } else {
                plain
            }
        }
    };
    if plain.starts_with('/') {
        plain.to_owned()
    } else {
        "/".to_owned()
    }
}

/// A host may end with the dot of the root domain.
fn conditions(hosts: &[String], methods: &[String], headers: &[Member]) -> Vec<Tree> {
    let mut conditions = Vec::new();
    if !hosts.is_empty() {
        let any: Vec<_> = hosts.iter().map(|host| escape(host).replace("\\*", ".+")).collect();
        conditions.push(condition(
            ":authority",
            &format!("(?i)({})\\.?(:[0-9]+)?", any.join("|")),
        ));
    }
    if !methods.is_empty() {
        let any: Vec<_> = methods.iter().map(|method| escape(method)).collect();
        conditions.push(condition(":method", &any.join("|")));
    }
    for header in headers {
        let values: Vec<_> = header.value.items().iter().filter_map(Node::text).collect();
        let any = values.iter().map(|value| match value.strip_prefix("~*") {
            Some(pattern) if pattern.starts_with('^') && !pattern.contains('|') => format!("{}.*", grouped(pattern)),
            Some(pattern) => format!(".*(?:{pattern}).*"),
            None => escape(value),
        });
        // Of several lines of the header, which Envoy joins, one is enough.
        conditions.push(condition(
            &header.key.to_ascii_lowercase(),
            &format!("(?i)(.*, *)?({})( *,.*)?", any.collect::<Vec<_>>().join("|")),
        ));
    }
    conditions
}

/// Where an entry leads, and at the end what services are told of the prefix that is taken away.
fn action(node: &Node, upstream: &Upstream<'_>, path: &Path) -> Tree {
    let prefix = match &path.pattern {
        Some(pattern) => grouped(pattern),
        None => escape(&path.written),
    };
    let mut action = tree! { "cluster": upstream.cluster };
    action.put_some("regex_rewrite", rewrite(node, upstream, &prefix));
    if !is(node, "preserve_host", false) {
        action.put("host_rewrite_literal", upstream.address.authority());
    }
    action.put(
        "timeout",
        seconds(number(upstream.service, "read_timeout").unwrap_or(60_000)),
    );
    let retries = number(upstream.service, "retries").unwrap_or(5);
    if retries > 0 {
        action.put(
            "retry_policy",
            tree! { "retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": retries },
        );
    }
    if is(node, "strip_path", true) && path.pattern.is_none() && path.written != "/" {
        // Envoy has commands between signs of percent.
        action.put(PREFIX, path.written.replace('%', "%%"));
    }
    action
}

/// A header that Kong sets whatever the client has sent.
pub(super) fn added(name: &str, value: impl Into<Tree>) -> Tree {
    tree! {
        "header": Tree::Map(vec![("key".into(), name.into()), ("value".into(), value.into())]),
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
}

const PREFIX: &str = "x-forwarded-prefix";

/// Protocols of routes that take no HTTP requests.
const STREAMS: [&str; 4] = ["tcp", "tls", "tls_passthrough", "udp"];

/// Into Kong's order.
pub(super) fn sort(entries: &mut [Entry]) {
    entries.sort_by_key(|entry| entry.rank);
}

fn condition(name: &str, regex: &str) -> Tree {
    tree! { "name": name, "string_match": tree! { "safe_regex": tree! { "regex": regex } } }
}

/// The path that the service sees: without what the route has matched, behind the service's own.
fn rewrite(route: &Node, upstream: &Upstream<'_>, prefix: &str) -> Option<Tree> {
    let base = &upstream.address.path;
    let strips = is(route, "strip_path", true) && prefix != "/";
    let (pattern, substitution) = match &upstream.uri {
        Some(uri) => ("^.*$".to_owned(), format!("{base}{uri}")),
        None if strips && base.is_empty() => (format!("^{prefix}/?"), "/".into()),
        None if strips => (format!("^{prefix}"), base.clone()),
        None if base.is_empty() => return None,
        None => ("^/".into(), format!("{base}/")),
    };
    Some(tree! { "pattern": tree! { "regex": pattern }, "substitution": substitution.replace('\\', "\\\\") })
}

/// Kong's regular expressions begin where the path does. Envoy's look neither ahead nor back.
fn pattern_of(pattern: &str) -> Option<String> {
    let looks = ["(?=", "(?!", "(?<=", "(?<!"];
    let can = !looks.iter().any(|look| pattern.contains(look));
    can.then(|| pattern.replace("(?<", "(?P<"))
}

/// A pattern for what begins with this one. `$` has its meaning within.
fn whole(pattern: &str) -> String {
    format!("{}.*", grouped(pattern))
}

/// A pattern that another may stand before or behind.
fn grouped(pattern: &str) -> String {
    match pattern.contains('|') {
        true => format!("(?:{pattern})"),
        false => pattern.trim_start_matches('^').to_owned(),
    }
}

fn escape(text: &str) -> String {
    regex_lite::escape(text)
}
