//! Configurations for Envoy: a bare gateway around one plugin configuration, and the bundled one on other ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// The same for what speaks HTTP/2.
    pub http2_clusters: Vec<(String, SocketAddr)>,
    /// Whether Envoy tells the plugin of bodies while it holds the headers.
    pub tells_of_held: bool,
    /// Filters between the plugin and the router.
    pub filters: Vec<Value>,
    /// Further listeners, to compare with: [`listener`] makes them.
    pub listeners: Vec<Value>,
    /// Envoy's routes; to the upstream where absent.
    pub routes: Option<Vec<Value>>,
    /// Names of Envoy's own environment that the VM sees.
    pub host_environment: Vec<String>,
    /// A file for an access log, and the format of its lines.
    pub access_log: Option<(PathBuf, &'static str)>,
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
            http2_clusters: Vec::new(),
            tells_of_held: false,
            filters: Vec::new(),
            listeners: Vec::new(),
            routes: None,
            host_environment: Vec::new(),
            access_log: None,
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
        routes.push(to_upstream());
        let routes = self.routes.clone().unwrap_or(routes);
        let filters = [self.filter()].into_iter().chain(self.filters.iter().cloned());
        let mut gateway = listener("gateway", filters.collect(), routes);
        if let Some((path, format)) = &self.access_log {
            gateway["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] = json!([{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": path,
                    "log_format": {"text_format_source": {"inline_string": format}},
                },
            }]);
        }
        let mut listeners = vec![gateway];
        listeners.extend(self.listeners.iter().cloned());
        let mut clusters = vec![self.upstream_cluster()];
        clusters.extend(self.clusters.iter().map(|(name, address)| cluster(name, *address)));
        clusters.extend(self.http2_clusters.iter().map(|(name, address)| {
            let explicit = json!({"explicit_http_config": {"http2_protocol_options": {}}});
            with_protocol(cluster(name, *address), &explicit)
        }));
        // Envoy wants a name where it watches files.
        let mut node = json!({"id": "gateway", "cluster": "gateway"});
        if is_native() && !self.environment.is_empty() {
            // A module has the process' own environment: it begins with this.
            node["metadata"] = json!({"environment": self.environment});
        }
        json!({
            "node": node,
            "admin": {"address": address(0)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        })
    }

    /// Speaks to the upstream as the client speaks to the gateway.
    fn upstream_cluster(&self) -> Value {
        let same = json!({
            "use_downstream_protocol_config": {"http2_protocol_options": {}, "http_protocol_options": {"enable_trailers": true}},
        });
        with_protocol(cluster("upstream", self.upstream), &same)
    }

    fn filter(&self) -> Value {
        match &self.form {
            Form::Discovered(path) => json!({
                "name": "tollgate",
                "config_discovery": {
                    "config_source": {"path_config_source": {"path": path}, "resource_api_version": "V3"},
                    "type_urls": [if is_native() { MODULE } else { WASM }],
                },
            }),
            form => json!({"name": "tollgate", "typed_config": self.plugin(form)}),
        }
    }

    fn plugin(&self, form: &Form) -> Value {
        match is_native() {
            true => json!({
                "@type": MODULE,
                "dynamic_module_config": {"name": "tollgate_native", "do_not_close": true},
                "filter_name": "tollgate",
                "filter_config": self.configuration(form),
            }),
            false => self.wasm(form),
        }
    }

    fn configuration(&self, form: &Form) -> Value {
        match form {
            Form::Text => json!({"@type": STRING, "value": self.config.to_string()}),
            Form::Raw(text) => json!({"@type": STRING, "value": text}),
            Form::Struct | Form::Discovered(_) => json!({"@type": STRUCT, "value": self.config}),
        }
    }

    fn wasm(&self, form: &Form) -> Value {
        json!({
            "@type": WASM,
            "config": {
                "name": "tollgate",
                "failure_policy": "FAIL_RELOAD",
                "allow_on_headers_stop_iteration": self.tells_of_held,
                "configuration": self.configuration(form),
                "vm_config": {
                    "vm_id": "tollgate",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": wasm_file()}},
                    "environment_variables": {"key_values": self.environment, "host_env_keys": self.host_environment},
                },
            },
        })
    }

    /// The text of a file for `config_discovery`.
    pub fn discovery_file(&self) -> String {
        let resource = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": "tollgate",
            "typed_config": self.plugin(&self.form),
        });
        json!({"version_info": "1", "resources": [resource]}).to_string()
    }
}

/// A listener on a port that the system chooses, with these filters before the router.
pub fn listener(name: &str, mut filters: Vec<Value>, routes: Vec<Value>) -> Value {
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }));
    json!({
        "name": name,
        "address": address(0),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "upgrade_configs": [{"upgrade_type": "websocket"}],
                "http_protocol_options": {"enable_trailers": true},
                "http2_protocol_options": {},
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
                "http_filters": filters,
            },
        }]}],
    })
}

/// The route of everything to the upstream.
pub fn to_upstream() -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream"}})
}

/// A route that Envoy answers by itself.
pub fn direct() -> Value {
    json!({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}})
}

/// Envoy's own filter for issuers, their audiences and their key sets; any of them is accepted.
pub fn jwt_authn(issuers: &[(&str, &[&str], Value)], cached: bool) -> Value {
    let mut providers = json!({});
    for (place, (issuer, audiences, keys)) in issuers.iter().enumerate() {
        let mut provider = json!({
            "issuer": issuer,
            "audiences": audiences,
            "local_jwks": {"inline_string": keys.to_string()},
            "claim_to_headers": [{"header_name": "x-user-id", "claim_name": "sub"}],
        });
        if cached {
            provider["jwt_cache_config"] = json!({"jwt_cache_size": 1000});
        }
        providers[format!("issuer-{place}")] = provider;
    }
    let any: Vec<Value> = (0..issuers.len())
        .map(|place| json!({"provider_name": format!("issuer-{place}")}))
        .collect();
    let requirement = if any.len() == 1 {
        any[0].clone()
    } else {
        json!({"requires_any": {"requirements": any}})
    };
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [{"match": {"prefix": "/"}, "requires": requirement}],
        },
    })
}

/// Envoy's own filter with a bucket that never empties.
pub fn local_ratelimit() -> Value {
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "local",
            "token_bucket": {"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "60s"},
            "filter_enabled": always,
            "filter_enforced": always,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        },
    })
}

/// Envoy's own filter with these plain keys.
pub fn api_key_auth(keys: &[&str]) -> Value {
    let credentials: Vec<Value> = keys
        .iter()
        .enumerate()
        .map(|(place, key)| json!({"key": key, "client": format!("client-{place}")}))
        .collect();
    json!({
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
            "credentials": credentials,
            "key_sources": [{"header": "x-api-key"}],
            "forwarding": {"header": "x-user-id", "hide_credentials": true},
        },
    })
}

/// Envoy's own filter that holds a request until all of it is there, its headers too.
pub fn buffer(max_request_bytes: u32) -> Value {
    json!({
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": max_request_bytes,
        },
    })
}

/// Any plugin, with a configuration as a `Struct`.
pub fn wasm_filter(name: &str, file: &str, config: &Value) -> Value {
    plugin_filter(name, file, &json!({"@type": STRUCT, "value": config}))
}

/// Any plugin, with a configuration as text.
pub fn text_filter(name: &str, file: &str, text: &str) -> Value {
    plugin_filter(name, file, &json!({"@type": STRING, "value": text}))
}

fn plugin_filter(name: &str, file: &str, configuration: &Value) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": WASM,
            "config": {
                "name": name,
                "configuration": configuration,
                "vm_config": {"vm_id": name, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": file}}},
            },
        },
    })
}

/// A plugin of the tests, `target/NAME.wasm`, with a configuration as text.
pub fn scripted_filter(name: &str, text: &str) -> Value {
    let file = repository().join(format!("target/{name}.wasm")).display().to_string();
    text_filter(name, &file, text)
}

fn cluster(name: &str, upstream: SocketAddr) -> Value {
    json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream.port())}}]}]},
    })
}

/// A cluster that is spoken to as these `HttpProtocolOptions` have it.
fn with_protocol(mut cluster: Value, options: &Value) -> Value {
    let mut options = options.clone();
    options["@type"] = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions".into();
    cluster["typed_extension_protocol_options"] =
        json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
    cluster
}

/// Loopback, as Envoy has it; port 0 for one that the system chooses.
pub fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

pub(crate) fn wasm_file() -> String {
    repository().join("target/tollgate.wasm").display().to_string()
}

/// Whether the gateway is the dynamic module (`TOLLGATE_SHELL=native`) in place of the Wasm plugin.
pub fn is_native() -> bool {
    std::env::var("TOLLGATE_SHELL").is_ok_and(|shell| shell == "native")
}

const MODULE: &str = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
