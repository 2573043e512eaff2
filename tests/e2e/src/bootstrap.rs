//! Configurations for Envoy: a bare gateway around one plugin configuration, and the bundled one on other ports.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::case::{repository, with_keys};
use crate::echo::Echo;

/// How the plugin's configuration is handed to Envoy.
#[derive(Debug, Clone)]
pub enum Form {
    /// As YAML under a `google.protobuf.Struct`.
    Struct,
    /// As JSON text in a `StringValue`.
    Text,
    /// Any text, in a `StringValue`.
    Raw(String),
    /// By `config_discovery` from a file that can be replaced: [`Bare::discovery_file`] writes it.
    Discovered(String),
}

/// A gateway of one listener and one upstream. Envoy's own checks of paths and header names are off, so that the
/// plugin's are what is tested.
#[derive(Debug, Clone)]
pub struct Bare {
    /// The plugin's configuration.
    pub config: Value,
    /// How it is handed over.
    pub form: Form,
    /// The VM's environment.
    pub environment: BTreeMap<String, String>,
    /// Envoy routes `/by-name/NAME` that have this name.
    pub route_names: Vec<String>,
    /// Where requests go.
    pub upstream: SocketAddr,
    /// Further clusters, for the plugin's own calls.
    pub clusters: Vec<(&'static str, SocketAddr)>,
}

/// A configuration with one issuer, `main`, and these rules.
pub fn one_issuer(routes: Value) -> Value {
    json!({
        "version": 1,
        "jwt": {"issuers": [{
            "name": "main",
            "issuer": "https://issuer.example",
            "audiences": ["api"],
            "algorithms": ["ES256"],
            "jwks": {"inline": with_keys("$keys".into())},
        }]},
        "routes": routes,
    })
}

impl Bare {
    /// A gateway with this configuration in front of `upstream`, and nothing else to it.
    pub fn new(config: Value, upstream: &Echo) -> Self {
        Self {
            config,
            form: Form::Struct,
            environment: BTreeMap::new(),
            route_names: Vec::new(),
            upstream: upstream.address,
            clusters: Vec::new(),
        }
    }

    /// The bootstrap.
    pub fn bootstrap(&self) -> Value {
        let mut routes: Vec<Value> = self
            .route_names
            .iter()
            .map(|name| {
                let prefix = format!("/by-name/{name}");
                json!({"name": name, "match": {"path_separated_prefix": prefix}, "route": {"cluster": "upstream"}})
            })
            .collect();
        routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}));
        let mut bootstrap = json!({
            // Envoy wants a name where it watches files.
            "node": {"id": "gateway", "cluster": "gateway"},
            "admin": {"address": address(0)},
            "static_resources": {
                "listeners": [{
                    "name": "gateway",
                    "address": address(0),
                    "filter_chains": [{"filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                            "stat_prefix": "gateway",
                            "upgrade_configs": [{"upgrade_type": "websocket"}],
                            "http_protocol_options": {"enable_trailers": true},
                            "http2_protocol_options": {},
                            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
                            "http_filters": [self.filter(), {
                                "name": "envoy.filters.http.router",
                                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                            }],
                        },
                    }]}],
                }],
                "clusters": [{
                    "name": "upstream",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "use_downstream_protocol_config": {"http2_protocol_options": {}, "http_protocol_options": {"enable_trailers": true}},
                    }},
                    "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(self.upstream.port())}}]}]},
                }],
            },
        });
        let clusters = bootstrap["static_resources"]["clusters"]
            .as_array_mut()
            .expect("clusters");
        for (name, address) in &self.clusters {
            clusters.push(cluster(name, *address));
        }
        bootstrap
    }

    fn filter(&self) -> Value {
        match &self.form {
            Form::Discovered(path) => json!({
                "name": "tollgate",
                "config_discovery": {
                    "config_source": {"path_config_source": {"path": path}, "resource_api_version": "V3"},
                    "type_urls": [WASM],
                },
            }),
            form => json!({"name": "tollgate", "typed_config": self.wasm(form)}),
        }
    }

    fn wasm(&self, form: &Form) -> Value {
        let configuration = match form {
            Form::Text => json!({"@type": STRING, "value": self.config.to_string()}),
            Form::Raw(text) => json!({"@type": STRING, "value": text}),
            Form::Struct | Form::Discovered(_) => json!({"@type": STRUCT, "value": self.config}),
        };
        json!({
            "@type": WASM,
            "config": {
                "name": "tollgate",
                "failure_policy": "FAIL_RELOAD",
                "configuration": configuration,
                "vm_config": {
                    "vm_id": "tollgate",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": wasm_file()}},
                    "environment_variables": {"key_values": self.environment},
                },
            },
        })
    }

    /// The text of a file for `config_discovery`.
    pub fn discovery_file(&self) -> String {
        let mut resource = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": "tollgate",
            "typed_config": self.wasm(&self.form),
        });
        resource["typed_config"]["config"]["vm_config"]["environment_variables"] =
            json!({"key_values": self.environment});
        json!({"version_info": "1", "resources": [resource]}).to_string()
    }
}

/// `envoy/envoy.yaml` with ports that the system chooses, its clusters at `upstreams`, and the issuer's keys.
pub fn bundled(upstreams: &BTreeMap<&str, SocketAddr>) -> Value {
    let path = repository().join("envoy/envoy.yaml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bootstrap: Value =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bootstrap["admin"]["address"] = address(0);
    let resources = &mut bootstrap["static_resources"];
    for listener in resources["listeners"].as_array_mut().expect("listeners") {
        listener["address"] = address(0);
    }
    for cluster in resources["clusters"].as_array_mut().expect("clusters") {
        let name = cluster["name"].as_str().expect("a name").to_owned();
        let upstream = upstreams
            .get(name.as_str())
            .unwrap_or_else(|| panic!("no upstream is called {name}"));
        cluster["type"] = "STATIC".into();
        cluster["load_assignment"]["endpoints"] =
            json!([{"lb_endpoints": [{"endpoint": {"address": address(upstream.port())}}]}]);
    }
    visit(&mut bootstrap, &mut |member, value| match member {
        "filename" if value.as_str().is_some_and(|name| name.ends_with("tollgate.wasm")) => *value = wasm_file().into(),
        "inline" => *value = with_keys("$keys".into()),
        _ => {}
    });
    bootstrap
}

/// Calls `change` for every member of every object.
fn visit(value: &mut Value, change: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, change)),
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| {
            change(name, value);
            visit(value, change);
        }),
        _ => {}
    }
}

fn cluster(name: &str, upstream: SocketAddr) -> Value {
    json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream.port())}}]}]},
    })
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn wasm_file() -> String {
    repository().join("target/tollgate.wasm").display().to_string()
}

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
