//! Envoy's routes: each path of Kong's routes, in the order in which Kong tries them.

use std::cmp::Reverse;

use super::kong::Route;
use super::node::{ANYTHING, META, given, has_placeholder, is, leave, list, number};
use super::path::{Path, escape, grouped, whole};
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
    say_what_is_left(node, findings);
    if !takes_http(node, findings) {
        return None;
    }
    let further = further_criteria(node, findings);
    let (matched, is_known) = Matched::read(node, further, order);
    let is_closed = further > 0 || !is_known || upstream.is_none();
    let paths = texts(node, "paths").filter(|paths| !paths.is_empty());
    let paths = paths.unwrap_or_else(|| vec!["/".to_owned()]);
    let paths: Vec<_> = paths.iter().map(|path| Path::read(path, is_old)).collect();
    for path in paths.iter().filter(|path| path.looks) {
        let message = format!(
            "the path {} looks ahead or back, which Envoy's patterns cannot: what it may take answers 403",
            path.written
        );
        findings.error(&node.place, message);
    }
    let open = upstream.filter(|_| !is_closed);
    let is_for_tls = is_for_tls(node, findings);
    let mut entries = Vec::new();
    for path in &paths {
        let answer = match open.filter(|_| !path.looks) {
            Some(upstream) => Answer::Upstream(action(node, upstream, path), stripped(node, path)),
            None => Answer::Status(403),
        };
        let mut add = |conditions, answer| {
            let (rank, tree) = (matched.rank(path), path.route(&route.name, conditions, answer));
            entries.push(Entry { rank, tree });
        };
        let conditions = matched.conditions.clone();
        if is_for_tls && matches!(answer, Answer::Upstream(..)) {
            // Envoy says so of a connection; a client cannot.
            let with_tls = [conditions.clone(), vec![condition("x-forwarded-proto", "https")]].concat();
            add(with_tls, answer);
            add(conditions, Answer::Status(426));
        } else {
            add(conditions, answer);
        }
    }
    Some(Made { entries, is_closed })
}

fn say_what_is_left(node: &Node, findings: &mut Findings) {
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
}

fn takes_http(node: &Node, findings: &mut Findings) -> bool {
    let protocols: Vec<_> = list(node, "protocols").iter().filter_map(Node::text).collect();
    if !protocols.is_empty() && protocols.iter().all(|protocol| STREAMS.contains(protocol)) {
        findings.error(&node.place, "takes no HTTP requests, and is left out");
        return false;
    }
    true
}

/// Whether a route takes no requests in plain text, which Kong answers with 426.
fn is_for_tls(node: &Node, findings: &mut Findings) -> bool {
    let protocols: Vec<_> = list(node, "protocols").iter().filter_map(Node::text).collect();
    let is_for_tls = !protocols.is_empty()
        && !protocols
            .iter()
            .any(|protocol| matches!(*protocol, "http" | "grpc" | "ws"));
    if is_for_tls {
        findings.error(
            &given(node, "protocols").unwrap_or(node).place,
            "the route is for TLS alone, and answers 426 in plain text: this listener is plain; docs/TLS.md has one with certificates",
        );
    }
    is_for_tls
}

/// How many criteria a route has that are not carried over; an expression may be about any request, and comes before all.
fn further_criteria(node: &Node, findings: &mut Findings) -> usize {
    let is_there =
        |key: &&&str| given(node, key).is_some_and(|value| value.text().is_some() || !value.items().is_empty());
    let further = match given(node, "expression") {
        Some(_) => usize::MAX,
        None => ["snis", "sources", "destinations"].iter().filter(is_there).count(),
    };
    if further > 0 {
        findings.error(
            &node.place,
            "matches by more than is carried over: what it may take answers 403 until that is said otherwise",
        );
    }
    further
}

/// The texts of a list; `None` where one is a placeholder, of which anything may come.
fn texts(node: &Node, key: &str) -> Option<Vec<String>> {
    let nodes = list(node, key);
    let is_known = !nodes.iter().any(has_placeholder);
    is_known.then(|| nodes.iter().filter_map(Node::text).map(str::to_owned).collect())
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
    /// Of a route, and whether all of it is known.
    fn read(node: &Node, further: usize, order: usize) -> (Self, bool) {
        let lists = ["hosts", "methods", "paths"].map(|key| texts(node, key));
        let given_headers = given(node, "headers");
        let headers = given_headers.filter(|headers| !has_placeholder(headers));
        let is_known = lists.iter().all(Option::is_some) && headers.is_some() == given_headers.is_some();
        let [hosts, methods, paths] = lists.map(Option::unwrap_or_default);
        let headers = headers.map_or(&[][..], Node::members);
        let criteria = [
            hosts.is_empty(),
            methods.is_empty(),
            headers.is_empty(),
            paths.is_empty(),
        ];
        let matched = Self {
            conditions: conditions(&hosts, &methods, headers),
            criteria: further.saturating_add(criteria.iter().filter(|is_empty| !**is_empty).count()),
            hosts: match hosts.iter().any(|host| host.contains('*')) {
                _ if hosts.is_empty() => 2,
                true => 1,
                false => 0,
            },
            headers: headers.len(),
            priority: number(node, "regex_priority").unwrap_or(0),
            order,
        };
        (matched, is_known)
    }

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

/// What becomes of the requests of a route.
enum Answer {
    /// Where they go, and the prefix that is taken away, of which services are told.
    Upstream(Tree, Option<String>),
    Status(u64),
}

impl Path {
    /// As Envoy has it.
    fn route(&self, name: &str, conditions: Vec<Tree>, answer: Answer) -> Tree {
        let mut tree = match &self.pattern {
            Some(pattern) => tree! { "safe_regex": tree! { "regex": whole(pattern) } },
            None => tree! { "prefix": &self.prefix },
        };
        tree.put_full("headers", conditions);
        let mut route = tree! { "name": name, "match": tree };
        match answer {
            Answer::Upstream(action, prefix) => {
                route.put("route", action);
                match prefix {
                    // Envoy has commands between signs of percent.
                    Some(prefix) => route.put("request_headers_to_add", [added(PREFIX, prefix.replace('%', "%%"))]),
                    None => route.put("request_headers_to_remove", [PREFIX]),
                }
            }
            Answer::Status(status) => route.put("direct_response", tree! { "status": status }),
        }
        route
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

/// Where an entry leads.
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
    action
}

/// The prefix of a path that is taken away.
fn stripped(node: &Node, path: &Path) -> Option<String> {
    let is_stripped = is(node, "strip_path", true) && path.pattern.is_none() && path.written != "/";
    is_stripped.then(|| path.written.clone())
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
