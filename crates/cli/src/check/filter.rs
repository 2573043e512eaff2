//! Where Tollgate is configured: Envoy's Wasm filters and dynamic modules, wherever they stand in a document, and Istio's `WasmPlugin`.

use super::configuration::Configuration;
use crate::finding::Findings;
use crate::yaml::{Node, Reader};

/// A Tollgate filter.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) configuration: Configuration,
    host: Host,
}

/// What surrounds a configuration.
#[derive(Debug, Clone)]
enum Host {
    /// Envoy's `PluginConfig`.
    Envoy(Node),
    /// Istio's `spec`.
    Istio(Node),
    /// A dynamic module, whose environment is the process' own, or nothing is known of it.
    None,
}

impl Filter {
    /// Every one below this node. Other plugins are passed over.
    pub(crate) fn all(node: &Node, findings: &mut Findings) -> Vec<Self> {
        let (mut plugins, mut modules) = (Vec::new(), Vec::new());
        node.visit(&mut |node| {
            plugins.extend(plugin(node));
            modules.extend(node.is_message(MODULE).then_some(node));
        });
        let plugins = plugins.into_iter().filter(|plugin| is_tollgate(plugin));
        let mut all: Vec<_> = plugins
            .filter_map(|plugin| Self::of(plugin, "configuration", Host::Envoy(plugin.clone()), findings))
            .collect();
        let modules = modules.into_iter().filter(|module| is_tollgates_module(module));
        all.extend(modules.filter_map(|module| Self::of(module, "filter_config", Host::None, findings)));
        all
    }

    fn of(plugin: &Node, field: &str, host: Host, findings: &mut Findings) -> Option<Self> {
        let Some(any) = plugin.field(field) else {
            findings.error(&plugin.place, format!("has no `{field}`, which Tollgate needs"));
            return None;
        };
        let is_struct = any.is_message(STRUCT);
        let value = any.get("value").filter(|value| match value.text() {
            Some(_) => any.is_message(STRING),
            None => is_struct,
        });
        let Some(value) = value else {
            findings.error(
                &any.place,
                format!("must be YAML as the `value` of a `type.googleapis.com/{STRUCT}`, or JSON text as that of a `{STRING}`"),
            );
            return None;
        };
        Some(Self {
            configuration: Configuration::of(value, Reader::envoys(&value.place.file), findings)?,
            host,
        })
    }

    /// Envoy's `PluginConfig`, with a configuration from elsewhere.
    pub(crate) fn with(plugin: &Node, configuration: Configuration) -> Self {
        Self {
            configuration,
            host: Host::Envoy(plugin.clone()),
        }
    }

    /// A bare configuration.
    pub(crate) fn bare(document: &Node, findings: &mut Findings) -> Option<Self> {
        Some(Self {
            configuration: Configuration::of(document, Reader::envoys(&document.place.file), findings)?,
            host: Host::None,
        })
    }

    /// Istio's `WasmPlugin`; `None` where it is not Tollgate's.
    pub(crate) fn istio(document: &Node, findings: &mut Findings) -> Option<Self> {
        let spec = document.get("spec")?;
        let named = [
            document.fields(&["metadata", "name"]),
            spec.get("url"),
            spec.get("pluginName"),
        ];
        let is_named = named
            .into_iter()
            .flatten()
            .filter_map(Node::text)
            .any(|name| name.contains("tollgate"));
        let config = spec.get("pluginConfig");
        if !is_named && config.and_then(|config| config.get("version")).is_none() {
            return None;
        }
        let Some(config) = config else {
            findings.error(&spec.place, "has no `pluginConfig`, which Tollgate needs");
            return None;
        };
        Some(Self {
            configuration: Configuration::of(config, Reader::Kubernetes, findings)?,
            host: Host::Istio(spec.clone()),
        })
    }

    /// What is wrong around the configuration.
    pub(crate) fn check_host(&self, findings: &mut Findings) {
        match &self.host {
            Host::Envoy(plugin) => {
                check_failure_policy(plugin, findings);
                self.check_envoys_environment(plugin, findings);
            }
            Host::Istio(spec) => {
                if spec.text_of("failStrategy") == Some("FAIL_OPEN") {
                    let place = spec.get("failStrategy").map_or(&spec.place, |node| &node.place);
                    findings.error(place, format!("{OPEN}; say `failStrategy: FAIL_CLOSE`"));
                }
                if let Some(member) = spec.member("match") {
                    findings.warning(
                        &member.place,
                        "selects a part of the traffic, and the rest bypasses Tollgate; on a gateway, use `mode: CLIENT`",
                    );
                }
                let environment = spec.fields(&["vmConfig", "env"]).map_or(&[][..], Node::items);
                self.check_environment(
                    |name| environment.iter().find(|entry| entry.text_of("name") == Some(name)),
                    |entry| entry.text_of("valueFrom") != Some("HOST"),
                    "`spec.vmConfig.env`: `{ name: NAME, valueFrom: HOST }`",
                    findings,
                );
            }
            Host::None => {}
        }
    }

    fn check_envoys_environment(&self, plugin: &Node, findings: &mut Findings) {
        let environment = plugin.fields(&["vm_config", "environment_variables"]);
        let host_keys = environment
            .and_then(|node| node.field("host_env_keys"))
            .map_or(&[][..], Node::items);
        let values = environment
            .and_then(|node| node.field("key_values"))
            .map_or(&[][..], Node::members);
        for member in values {
            if host_keys.iter().any(|key| key.text() == Some(&member.key)) {
                findings.error(
                    &member.place,
                    "is among the `host_env_keys` too, so Envoy does not start; keep it there alone",
                );
            }
        }
        let written = |name: &str| {
            values
                .iter()
                .find(|member| member.key == name)
                .map(|member| &member.value)
        };
        self.check_environment(
            |name| {
                host_keys
                    .iter()
                    .find(|key| key.text() == Some(name))
                    .or_else(|| written(name))
            },
            |node| values.iter().any(|member| std::ptr::eq(&member.value, *node)),
            "`vm_config.environment_variables.host_env_keys`",
            findings,
        );
    }

    /// Every variable that is needed is there, and none is written down.
    fn check_environment<'a>(
        &self,
        find: impl Fn(&str) -> Option<&'a Node>,
        is_written: impl Fn(&&'a Node) -> bool,
        right: &str,
        findings: &mut Findings,
    ) {
        for variable in self.configuration.variables() {
            let name = variable.text().unwrap_or_default();
            match find(name) {
                None => findings.error(
                    &variable.place,
                    format!("the VM does not get the variable `{name}`; name it in {right}"),
                ),
                Some(node) if is_written(&node) => findings.warning(
                    &node.place,
                    format!("the secret `{name}` is written here, and shows in Envoy's /config_dump; take it from the environment, by {right}"),
                ),
                Some(_) => {}
            }
        }
    }
}

/// The `PluginConfig` of a Wasm filter, where this is one.
fn plugin(node: &Node) -> Option<&Node> {
    if node.is_message(WASM) {
        return node.field("config");
    }
    let is_typed_struct = TYPED_STRUCTS.iter().any(|name| node.is_message(name));
    let type_url = node.field("type_url").and_then(Node::text).unwrap_or_default();
    (is_typed_struct && type_url.ends_with(WASM)).then(|| node.fields(&["value", "config"]))?
}

fn is_tollgate(plugin: &Node) -> bool {
    let file = plugin.fields(&["vm_config", "code", "local", "filename"]);
    let names = [plugin.get("name"), plugin.field("root_id"), file];
    let is_named = names
        .into_iter()
        .flatten()
        .filter_map(Node::text)
        .any(|name| name.contains("tollgate"));
    let value = plugin.fields(&["configuration", "value"]);
    is_named || value.is_some_and(|value| value.get("version").is_some() && value.get("routes").is_some())
}

fn is_tollgates_module(module: &Node) -> bool {
    let names = [
        module.fields(&["dynamic_module_config", "name"]),
        module.field("filter_name"),
    ];
    let mut names = names.into_iter().flatten().filter_map(Node::text);
    names.any(|name| name.contains("tollgate"))
}

fn check_failure_policy(plugin: &Node, findings: &mut Findings) {
    let place = |name: &str| {
        plugin
            .field(name)
            .map_or_else(|| plugin.place.clone(), |node| node.place.clone())
    };
    let policy = plugin.field("failure_policy").and_then(Node::text);
    let is_open = plugin.field("fail_open").map(|node| node.to_json(Reader::Envoy)) == Some(true.into());
    if is_open {
        findings.error(
            &place("fail_open"),
            format!("{OPEN}; say `failure_policy: FAIL_RELOAD`"),
        );
    }
    match policy {
        Some("FAIL_OPEN") => findings.error(
            &place("failure_policy"),
            format!("{OPEN}; say `failure_policy: FAIL_RELOAD`"),
        ),
        Some("FAIL_RELOAD") => {}
        _ => {
            findings.warning(
                &place("failure_policy"),
                "a worker whose VM has died refuses every request until Envoy is restarted; `failure_policy: FAIL_RELOAD` \
                 makes a new VM",
            );
        }
    }
}

const OPEN: &str = "lets every request pass, with any identity it claims, once a VM has died";
const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
const MODULE: &str = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
const STRUCT: &str = "google.protobuf.Struct";
const STRING: &str = "google.protobuf.StringValue";
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];
