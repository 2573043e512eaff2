//! Envoy's configuration: the listener, and where spans go.

use super::kong::{Kong, Scope};
use super::node::ANYTHING;
use super::route::added;
use super::tree::{Tree, tree};
use super::upstream::Address;
use crate::finding::Findings;
use crate::yaml::Node;

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
        if plugin.scope != Scope::default() {
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
                    "consumer": "%FILTER_STATE(wasm.tollgate.tenant_id:PLAIN)%",
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
    let forwarded = [
        ("x-real-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ("x-forwarded-host", "%REQ(:AUTHORITY)%"),
        ("x-forwarded-port", "%DOWNSTREAM_LOCAL_PORT%"),
        ("x-forwarded-path", "%REQ(:PATH)%"),
    ];
    let host = tree! {
        "name": "kong",
        "domains": ["*"],
        "request_headers_to_add": forwarded.map(|(name, value)| added(name, value)),
        "routes": routes,
    };
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
