//! Where spans go: the plugin `opentelemetry` becomes Envoy's tracer.

use super::kong::Kong;
use super::node::ANYTHING;
use super::plugin::{Plugin, Scope};
use super::tree::{Tree, tree};
use super::upstream::Address;
use crate::finding::Findings;
use crate::yaml::Node;

/// The cluster that spans go to.
pub(super) const COLLECTOR: &str = "otel-collector";

/// Envoy's tracer with the collector's address, of the first plugin that has one.
pub(super) fn tracing(kong: &Kong<'_>, findings: &mut Findings) -> Option<(Tree, Address)> {
    let mut made = None;
    for plugin in kong.plugins.iter().filter(|plugin| plugin.name == "opentelemetry") {
        leave(plugin, findings);
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
        made = Some((tracer(plugin, endpoint, findings), address));
    }
    made
}

/// Says what of it is not carried over.
fn leave(plugin: &Plugin<'_>, findings: &mut Findings) {
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
}

/// As a connection manager's `tracing` has it.
fn tracer(plugin: &Plugin<'_>, endpoint: &str, findings: &mut Findings) -> Tree {
    let attributes = plugin.get("resource_attributes").map_or(&[][..], Node::members);
    let named = attributes.iter().find(|attribute| attribute.key == "service.name");
    for other in attributes.iter().filter(|attribute| attribute.key != "service.name") {
        findings.error(
            &other.place,
            "is not carried over: set it in OTEL_RESOURCE_ATTRIBUTES, which Envoy's resource detectors read",
        );
    }
    let service = named.and_then(|attribute| attribute.value.text()).unwrap_or("kong");
    let rate = plugin
        .text("sampling_rate")
        .and_then(|rate| rate.parse::<f64>().ok())
        .unwrap_or(1.0);
    let percent = (rate * 100.0).clamp(0.0, 100.0).round();
    tree! {
        "random_sampling": tree! { "value": Tree::Scalar(percent.into()) },
        "provider": tree! {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": tree! {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": service,
                "http_service": tree! { "http_uri": tree! { "uri": endpoint, "cluster": COLLECTOR, "timeout": "1s" } },
            },
        },
    }
}
