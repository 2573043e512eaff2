//! Where requests go: Kong's services and upstreams become Envoy's clusters.

use super::kong::Service;
use super::node::{ANYTHING, META, given, has_placeholder, leave, list, number, text};
use super::tree::{Tree, tree};
use crate::finding::Findings;
use crate::yaml::Node;

/// A service's address, as Kong has it in one `url` or in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) protocol: String,
    pub(super) host: String,
    pub(super) port: u64,
    /// Without a slash at its end.
    pub(super) path: String,
}

impl Address {
    pub(super) fn of(service: &Node) -> Option<Self> {
        if let Some(url) = text(service, "url") {
            return Self::parse(url);
        }
        let protocol = text(service, "protocol").unwrap_or("http").to_owned();
        Some(Self {
            host: text(service, "host")?.to_owned(),
            port: number(service, "port").unwrap_or_else(|| default_port(&protocol)),
            path: text(service, "path")
                .unwrap_or_default()
                .trim_end_matches('/')
                .to_owned(),
            protocol,
        })
    }

    /// `PROTOCOL://HOST:PORT/PATH`.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (protocol, rest) = url.split_once("://")?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at)?,
            None => (rest, ""),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, default_port(protocol)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = path
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned();
        (!host.is_empty()).then(|| Self {
            protocol: protocol.to_owned(),
            host,
            port,
            path,
        })
    }

    /// What a request's `Host` becomes.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(&self.protocol) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.protocol.as_str(), "https" | "grpcs")
    }

    fn is_http2(&self) -> bool {
        matches!(self.protocol.as_str(), "grpc" | "grpcs")
    }
}

fn default_port(protocol: &str) -> u64 {
    match protocol {
        "https" | "grpcs" => 443,
        TARGET => 8000,
        _ => 80,
    }
}

/// Stands for a protocol in the address of a target, which has a default port of its own.
const TARGET: &str = "target";

/// A service's cluster; `None` where it cannot be one, which has been said.
pub(super) fn cluster(service: &Service<'_>, upstreams: &[&Node], findings: &mut Findings) -> Option<(Tree, Address)> {
    let node = service.node;
    let carried = [
        "url",
        "protocol",
        "host",
        "port",
        "path",
        "routes",
        "plugins",
        "retries",
        "connect_timeout",
        "read_timeout",
    ];
    let defaults = [("enabled", "true"), ("tls_verify", "true"), ("write_timeout", ANYTHING)];
    leave(node, &carried, &[META, &defaults].concat(), findings);
    let parts = ["url", "protocol", "host", "port", "path"];
    if parts.iter().any(|part| given(node, part).is_some_and(has_placeholder)) {
        findings.error(&node.place, "has no address yet: its routes answer 403");
        return None;
    }
    let Some(address) = Address::of(node) else {
        findings.error(
            &node.place,
            "has neither a `host` nor a `url` such as http://users:8080, and has no cluster: its routes answer 403",
        );
        return None;
    };
    if !matches!(address.protocol.as_str(), "http" | "https" | "grpc" | "grpcs") {
        findings.error(
            &node.place,
            format!(
                "speaks {}, and has no cluster: there is http, https, grpc, grpcs",
                address.protocol
            ),
        );
        return None;
    }
    let upstream = upstreams
        .iter()
        .find(|upstream| text(upstream, "name") == Some(address.host.as_str()));
    let (hosts, policy) = match upstream {
        Some(upstream) => targets(upstream, findings),
        None => (vec![(address.host.clone(), address.port, None)], "ROUND_ROBIN"),
    };
    let connect = number(node, "connect_timeout").unwrap_or(60_000);
    Some((
        make(
            &service.name,
            connect,
            &hosts,
            policy,
            &address,
            upstream.and_then(|upstream| check(upstream)),
        ),
        address,
    ))
}

/// A cluster of one host.
pub(super) fn single(name: &str, address: &Address, is_http2: bool) -> Tree {
    let mut address = address.clone();
    if is_http2 {
        address.protocol = "grpc".into();
    }
    make(
        name,
        1000,
        &[(address.host.clone(), address.port, None)],
        "ROUND_ROBIN",
        &address,
        None,
    )
}

/// Host, port, weight.
type Host = (String, u64, Option<u64>);

fn targets(upstream: &Node, findings: &mut Findings) -> (Vec<Host>, &'static str) {
    let defaults = [
        ("slots", ANYTHING),
        ("hash_on", "none"),
        ("hash_fallback", "none"),
        ("use_srv_name", "false"),
        ("hash_on_cookie_path", "/"),
    ];
    leave(
        upstream,
        &["targets", "algorithm", "healthchecks"],
        &[META, &defaults].concat(),
        findings,
    );
    if let Some(checks) = given(upstream, "healthchecks") {
        leave(
            checks,
            &["active"],
            &[("passive", ANYTHING), ("threshold", ANYTHING)],
            findings,
        );
    }
    let policy = match text(upstream, "algorithm") {
        None | Some("round-robin") => "ROUND_ROBIN",
        Some("least-connections") => "LEAST_REQUEST",
        Some(other) => {
            let place = given(upstream, "algorithm").map_or(&upstream.place, |node| &node.place);
            findings.error(place, format!("{other} is not carried over; requests go round"));
            "ROUND_ROBIN"
        }
    };
    let mut hosts = Vec::new();
    for target in list(upstream, "targets") {
        match text(target, "target").and_then(|target| Address::parse(&format!("{TARGET}://{target}"))) {
            Some(address) => {
                let weight = number(target, "weight");
                if weight != Some(0) {
                    hosts.push((address.host, address.port, weight));
                }
            }
            None => findings.error(&target.place, "has no `target` such as users:8080, and is left out"),
        }
    }
    (hosts, policy)
}

/// Active health checks over HTTP, where Kong has them on.
fn check(upstream: &Node) -> Option<Tree> {
    let active = given(given(upstream, "healthchecks")?, "active")?;
    // 0 is off.
    let number = |part: &str, key: &str| number(given(active, part)?, key).filter(|&number| number > 0);
    let healthy = number("healthy", "interval");
    let unhealthy = number("unhealthy", "interval");
    let interval = healthy.or(unhealthy)?;
    Some(tree! {
        "timeout": format!("{}s", text(active, "timeout").unwrap_or("1")),
        "interval": format!("{interval}s"),
        "unhealthy_interval": format!("{}s", unhealthy.unwrap_or(interval)),
        "unhealthy_threshold": number("unhealthy", "http_failures").unwrap_or(5),
        "healthy_threshold": number("healthy", "successes").unwrap_or(2),
        "http_health_check": tree! { "path": text(active, "http_path").unwrap_or("/") },
    })
}

fn make(name: &str, connect: u64, hosts: &[Host], policy: &str, address: &Address, check: Option<Tree>) -> Tree {
    let endpoints: Vec<_> = hosts
        .iter()
        .map(|(host, port, weight)| {
            let socket = tree! { "address": host, "port_value": *port };
            let mut endpoint = tree! { "endpoint": tree! { "address": tree! { "socket_address": socket } } };
            endpoint.put_some("load_balancing_weight", *weight);
            endpoint
        })
        .collect();
    let mut cluster = tree! {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": seconds(connect),
        "lb_policy": policy,
    };
    cluster.put_full("health_checks", check.into_iter().collect::<Vec<_>>());
    if address.is_http2() {
        let http2 = tree! { "http2_protocol_options": tree! {} };
        cluster.put(
            "typed_extension_protocol_options",
            tree! { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": tree! {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": http2,
            } },
        );
    }
    if address.is_tls() {
        cluster.put("transport_socket", tls(&address.host));
    }
    cluster.put(
        "load_assignment",
        tree! { "cluster_name": name, "endpoints": [tree! { "lb_endpoints": endpoints }] },
    );
    cluster
}

/// A certificate of a public authority, for this very name.
fn tls(host: &str) -> Tree {
    tree! {
        "name": "envoy.transport_sockets.tls",
        "typed_config": tree! {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host,
            "common_tls_context": tree! { "validation_context": tree! {
                "trusted_ca": tree! { "filename": "/etc/ssl/certs/ca-certificates.crt" },
                "match_typed_subject_alt_names": [tree! { "san_type": "DNS", "matcher": tree! { "exact": host } }],
            } },
        },
    }
}

/// A duration as protobuf's JSON has it.
pub(super) fn seconds(millis: u64) -> String {
    let (whole, rest) = (millis / 1000, millis % 1000);
    if rest == 0 {
        format!("{whole}s")
    } else {
        format!("{whole}.{rest:03}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |url: &str| {
            Address::parse(url).map(|address| {
                (
                    address.host.clone(),
                    address.port,
                    address.path.clone(),
                    address.authority(),
                )
            })
        };
        assert_eq!(
            read("http://users:8080"),
            Some(("users".into(), 8080, String::new(), "users:8080".into()))
        );
        assert_eq!(
            read("https://users/v1/"),
            Some(("users".into(), 443, "/v1".into(), "users".into()))
        );
        assert_eq!(
            read("http://[::1]:81/a?b"),
            Some(("::1".into(), 81, "/a".into(), "[::1]:81".into()))
        );
        for refused in ["users:8080", "http://", "http://users:no", "http://:80"] {
            assert_eq!(read(refused), None, "{refused}");
        }
        assert_eq!((seconds(60_000), seconds(250)), ("60s".into(), "0.250s".into()));
    }
}
