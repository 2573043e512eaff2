//! Envoy's configuration: the listener, its connection manager, and what that does with requests.

use super::route::added;
use super::tree::{Tree, tree};

/// The whole file. `removed` are the headers that only the gateway may set.
pub(super) fn bootstrap(routes: Vec<Tree>, clusters: Vec<Tree>, tracing: Option<Tree>, removed: &[&str]) -> Tree {
    let manager = connection_manager(routes, tracing, removed);
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

/// With what `tollgate check` asks of one.
fn connection_manager(routes: Vec<Tree>, tracing: Option<Tree>, removed: &[&str]) -> Tree {
    let mut manager = tree! {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "access_log": [access_log()],
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
    manager.put("early_header_mutation_extensions", [removal(removed)]);
    manager.put(
        "route_config",
        tree! { "name": "kong", "virtual_hosts": [virtual_host(routes)] },
    );
    manager.put("http_filters", [tollgate(), router()]);
    manager
}

/// A line of JSON for each request.
fn access_log() -> Tree {
    tree! {
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
    }
}

/// What takes headers out of requests before anything else sees them.
fn removal(removed: &[&str]) -> Tree {
    let mutations: Vec<_> = removed.iter().map(|name| tree! { "remove": *name }).collect();
    tree! {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": tree! {
            "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": mutations,
        },
    }
}

/// All routes, with the headers by which Kong tells services what was asked for.
fn virtual_host(routes: Vec<Tree>) -> Tree {
    let forwarded = [
        ("x-real-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ("x-forwarded-host", "%REQ(:AUTHORITY)%"),
        ("x-forwarded-port", "%DOWNSTREAM_LOCAL_PORT%"),
        ("x-forwarded-path", "%REQ(:PATH)%"),
    ];
    tree! {
        "name": "kong",
        "domains": ["*"],
        "request_headers_to_add": forwarded.map(|(name, value)| added(name, value)),
        "routes": routes,
    }
}

/// The filter, whose configuration is read again when its file changes.
fn tollgate() -> Tree {
    let folder = super::BUILT.rsplit_once('/').map_or(".", |(folder, _)| folder);
    tree! {
        "name": "tollgate",
        "config_discovery": tree! {
            "config_source": tree! {
                "resource_api_version": "V3",
                "path_config_source": tree! {
                    "path": super::BUILT,
                    "watched_directory": tree! { "path": folder },
                },
            },
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
        },
    }
}

fn router() -> Tree {
    tree! {
        "name": "envoy.filters.http.router",
        "typed_config": tree! { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    }
}
