//! Envoy's configuration: the listener with Kong's routes, in the order in which Kong tries them.

use std::cmp::Reverse;

use super::kong::{ANYTHING, Kong, META, Route, given, leave, list, number, text};
use super::tree::{Tree, tree};
use super::upstream::{Address, seconds};
use crate::finding::Findings;
use crate::yaml::Node;

/// One of Envoy's routes: a path of one of Kong's.
pub(super) struct Entry {
    rank: Rank,
    pub(super) tree: Tree,
}

/// Kong's order: what matches by more comes first, then regular expressions, then longer paths.
type Rank = (
    Reverse<usize>,
    Reverse<usize>,
    bool,
    Reverse<bool>,
    Reverse<u64>,
    Reverse<usize>,
    usize,
);

/// A service as a route of it sees it.
pub(super) struct Upstream<'a> {
    pub(super) cluster: &'a str,
    pub(super) address: &'a Address,
    pub(super) service: &'a Node,
    /// What every path becomes.
    pub(super) uri: Option<String>,
}

/// The routes of one of Kong's.
pub(super) fn entries(route: &Route<'_>, upstream: &Upstream<'_>, order: usize, findings: &mut Findings) -> Vec<Entry> {
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
    let conditions = ["snis", "sources", "destinations", "expression"];
    if conditions
        .iter()
        .any(|key| given(node, key).is_some_and(|value| value.text().is_some() || !value.items().is_empty()))
    {
        findings.error(
            &node.place,
            "matches by more than is carried over, and would match more without it: it is left out",
        );
        return Vec::new();
    }
    let protocols = given(node, "protocols").filter(|node| !node.items().is_empty());
    if let Some(protocols) = protocols.filter(|node| {
        !node
            .items()
            .iter()
            .any(|item| matches!(item.text(), Some("http" | "grpc")))
    }) {
        findings.error(
            &protocols.place,
            "the route is for TLS alone: this listener is plain; docs/TLS.md has one with certificates",
        );
    }
    let texts = |key| list(node, key).iter().filter_map(Node::text).collect::<Vec<_>>();
    let (hosts, methods, paths) = (texts("hosts"), texts("methods"), texts("paths"));
    let headers = given(node, "headers").map_or(&[][..], Node::members);
    let mut conditions = Vec::new();
    if !hosts.is_empty() {
        let any: Vec<_> = hosts.iter().map(|host| escape(host).replace("\\*", ".+")).collect();
        conditions.push(condition(":authority", &format!("(?i)({})(:[0-9]+)?", any.join("|"))));
    }
    if !methods.is_empty() {
        conditions.push(condition(
            ":method",
            &methods
                .iter()
                .map(|method| escape(method))
                .collect::<Vec<_>>()
                .join("|"),
        ));
    }
    for header in headers {
        let values: Vec<_> = header.value.items().iter().filter_map(Node::text).collect();
        let any = values.iter().map(|value| match value.strip_prefix("~*") {
            Some(pattern) => format!(".*{pattern}.*"),
            None => escape(value),
        });
        conditions.push(condition(
            &header.key.to_ascii_lowercase(),
            &format!("(?i)({})", any.collect::<Vec<_>>().join("|")),
        ));
    }
    let criteria = [
        !hosts.is_empty(),
        !methods.is_empty(),
        !headers.is_empty(),
        !paths.is_empty(),
    ];
    let criteria = criteria.into_iter().filter(|is_there| *is_there).count();
    let priority = number(node, "regex_priority").unwrap_or(0);
    let paths = if paths.is_empty() { vec!["/"] } else { paths };
    let mut make = |path: &str| {
        let pattern = match path.strip_prefix('~') {
            None => None,
            Some(pattern) => match pattern_of(pattern) {
                Some(pattern) => Some(pattern),
                None => {
                    findings.error(
                        &node.place,
                        format!("the path {path} looks ahead or back, which Envoy's patterns cannot: it is left out"),
                    );
                    return None;
                }
            },
        };
        let mut matched = match &pattern {
            Some(pattern) => tree! { "safe_regex": tree! { "regex": whole(pattern) } },
            None => tree! { "prefix": path },
        };
        matched.put_full("headers", conditions.clone());
        let prefix = pattern.clone().unwrap_or_else(|| escape(path));
        let mut action = tree! { "cluster": upstream.cluster };
        action.put_some("regex_rewrite", rewrite(node, upstream, prefix.trim_end_matches('$')));
        if text(node, "preserve_host") != Some("true") {
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
        Some(Entry {
            rank: (
                Reverse(criteria),
                Reverse(headers.len()),
                hosts.iter().any(|host| host.contains('*')),
                Reverse(pattern.is_some()),
                Reverse(if pattern.is_some() { priority } else { 0 }),
                Reverse(path.len()),
                order,
            ),
            tree: tree! { "name": &route.name, "match": matched, "route": action },
        })
    };
    paths.into_iter().filter_map(&mut make).collect()
}

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
    let strips = text(route, "strip_path") != Some("false") && prefix != "/";
    let (pattern, substitution) = match &upstream.uri {
        Some(uri) => ("^.*$".to_owned(), format!("{base}{uri}")),
        None if strips && base.is_empty() => (format!("^{prefix}/?"), "/".into()),
        None if strips => (format!("^{prefix}"), base.clone()),
        None if base.is_empty() => return None,
        None => ("^/".into(), format!("{base}/")),
    };
    Some(tree! { "pattern": tree! { "regex": pattern }, "substitution": substitution.replace('\\', "\\\\") })
}

/// Kong's regular expressions begin where the path does, and need not go to its end. Envoy's look neither ahead nor back.
fn pattern_of(pattern: &str) -> Option<String> {
    let looks = ["(?=", "(?!", "(?<=", "(?<!"];
    let can = !looks.iter().any(|look| pattern.contains(look));
    can.then(|| pattern.trim_start_matches('^').replace("(?<", "(?P<"))
}

fn whole(pattern: &str) -> String {
    match pattern.strip_suffix('$') {
        Some(pattern) => pattern.to_owned(),
        None => format!("{pattern}.*"),
    }
}

fn escape(text: &str) -> String {
    regex_lite::escape(text)
}

/// Where spans go, by the plugin `opentelemetry`.
pub(super) fn tracing(kong: &Kong<'_>, findings: &mut Findings) -> Option<(Tree, Address)> {
    let mut made = None;
    for plugin in kong.plugins.iter().filter(|plugin| plugin.name == "opentelemetry") {
        let carried = ["endpoint", "traces_endpoint", "resource_attributes", "sampling_rate"];
        let defaults = [
            ("batch_span_count", ANYTHING),
            ("batch_flush_delay", ANYTHING),
            ("propagation", ANYTHING),
            ("header_type", "w3c"),
            ("connect_timeout", ANYTHING),
            ("send_timeout", ANYTHING),
            ("read_timeout", ANYTHING),
            ("queue", ANYTHING),
            ("http_response_header_for_traceid", ""),
        ];
        plugin.leave(&carried, &defaults, findings);
        let endpoint = plugin.text("traces_endpoint").or(plugin.text("endpoint"));
        let Some((endpoint, address)) = endpoint.and_then(|endpoint| Some((endpoint, Address::parse(endpoint)?)))
        else {
            findings.error(
                &plugin.node.place,
                "has no `endpoint` such as http://otel-collector:4318/v1/traces, and is left out",
            );
            continue;
        };
        if plugin.scope != super::kong::Scope::default() {
            findings.warning(
                &plugin.node.place,
                "every request is traced, not only those of this service or route",
            );
        }
        if made.is_some() {
            findings.error(
                &plugin.node.place,
                "is a second one; spans go where the first sends them",
            );
            continue;
        }
        let attributes = plugin.get("resource_attributes").map_or(&[][..], Node::members);
        let named = attributes.iter().find(|attribute| attribute.key == "service.name");
        for other in attributes.iter().filter(|attribute| attribute.key != "service.name") {
            findings.error(
                &other.place,
                "is not carried over: set it in OTEL_RESOURCE_ATTRIBUTES, which Envoy's resource detectors read",
            );
        }
        let rate = plugin
            .text("sampling_rate")
            .and_then(|rate| rate.parse::<f64>().ok())
            .unwrap_or(1.0);
        let percent = (rate * 100.0).clamp(0.0, 100.0).round();
        let service = named.and_then(|attribute| attribute.value.text()).unwrap_or("kong");
        let tracing = tree! {
            "random_sampling": tree! { "value": Tree::Scalar(percent.into()) },
            "provider": tree! {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": tree! {
                    "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                    "service_name": service,
                    "http_service": tree! { "http_uri": tree! { "uri": endpoint, "cluster": COLLECTOR, "timeout": "1s" } },
                },
            },
        };
        made = Some((tracing, address));
    }
    made
}

pub(super) const COLLECTOR: &str = "otel-collector";

/// The whole file. `removed` are the headers that only the gateway may set.
pub(super) fn bootstrap(routes: Vec<Tree>, clusters: Vec<Tree>, tracing: Option<Tree>, removed: &[&str]) -> Tree {
    let mut manager = tree! {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "access_log": [tree! {
            "name": "envoy.access_loggers.stdout",
            "typed_config": tree! {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": tree! { "json_format": tree! {
                    "timestamp": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
                    "method": "%REQ(:METHOD)%",
                    "path": "%PATH(NQ:ORIG_OR_PATH)%",
                    "status": "%RESPONSE_CODE%",
                    "latency_ms": "%DURATION%",
                    "upstream": "%UPSTREAM_CLUSTER_RAW%",
                    "consumer": "%REQ(X-CONSUMER-USERNAME)%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "decision": "%RESPONSE_CODE_DETAILS%",
                    "client_ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                } },
            },
        }],
    };
    manager.put_some("tracing", tracing);
    for (key, value) in [
        ("use_remote_address", true),
        ("normalize_path", true),
        ("merge_slashes", true),
    ] {
        manager.put(key, value);
    }
    manager.put("path_with_escaped_slashes_action", "REJECT_REQUEST");
    manager.put(
        "common_http_protocol_options",
        tree! { "idle_timeout": "3600s", "max_headers_count": 100_u64, "headers_with_underscores_action": "REJECT_REQUEST" },
    );
    manager.put("request_headers_timeout", "10s");
    manager.put("stream_idle_timeout", "300s");
    let mutations: Vec<_> = removed.iter().map(|name| tree! { "remove": *name }).collect();
    manager.put("early_header_mutation_extensions", [tree! {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": tree! {
            "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": mutations,
        },
    }]);
    let host = tree! { "name": "kong", "domains": ["*"], "routes": routes };
    manager.put("route_config", tree! { "name": "kong", "virtual_hosts": [host] });
    manager.put("http_filters", [
        tree! {
            "name": "tollgate",
            "config_discovery": tree! {
                "config_source": tree! {
                    "resource_api_version": "V3",
                    "path_config_source": tree! {
                        "path": super::BUILT,
                        "watched_directory": tree! { "path": super::BUILT.rsplit_once('/').map_or(".", |(folder, _)| folder) },
                    },
                },
                "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
            },
        },
        tree! {
            "name": "envoy.filters.http.router",
            "typed_config": tree! { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        },
    ]);
    let chain = tree! { "filters": [tree! { "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }] };
    let listener = tree! {
        "name": "gateway",
        "address": socket("0.0.0.0", 8000),
        "per_connection_buffer_limit_bytes": 32_768_u64,
        "filter_chains": [chain],
    };
    tree! {
        "node": tree! { "id": "gateway", "cluster": "gateway" },
        "admin": tree! { "address": socket("127.0.0.1", 9901) },
        "static_resources": tree! { "listeners": [listener], "clusters": clusters },
    }
}

fn socket(address: &str, port: u64) -> Tree {
    tree! { "socket_address": tree! { "address": address, "port_value": port } }
}
