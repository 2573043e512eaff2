//! Restrictions on the networks that requests may come from. They are checked first, by the client address that the
//! host trusts.

use serde::Deserialize;

use super::{Policy, Stop};
use crate::config::network::Network;
use crate::config::{Report, values};
use crate::denial::{Denial, DenialKind, Refusal};
use crate::message::request::Request;
use crate::seam::Context;

/// The networks that requests may come from; `deny` takes precedence over `allow`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct NetworkConfig {
    /// Allowed networks, such as `10.0.0.0/8` and `2001:db8::/32`, or addresses. Default: all.
    #[serde(deserialize_with = "values::present")]
    pub allow: Option<Vec<Network>>,
    /// Denied networks.
    pub deny: Vec<Network>,
}

/// The refusal by this policy.
pub const REFUSED: Refusal = Refusal {
    status: 403,
    title: "Forbidden",
    code: "network_refused",
    grpc_status: 7,
};

#[derive(Debug)]
struct Networks(NetworkConfig);

/// Compiles the policy of a rule with `network`.
pub fn compile(config: &NetworkConfig, report: &mut Report) -> Option<Box<dyn Policy>> {
    let NetworkConfig { allow, deny } = config;
    report.within("network", |report| {
        if allow.as_ref().is_some_and(Vec::is_empty) {
            report.error_at(
                "allow",
                "is empty, so no request would pass; name a network, or leave it out",
            );
        }
        for (key, networks) in [("allow", allow.as_deref().unwrap_or_default()), ("deny", deny)] {
            for (index, network) in networks.iter().enumerate() {
                check(key, index, networks, network, report);
            }
        }
        for (index, network) in allow.iter().flatten().enumerate() {
            if let Some(denied) = deny.iter().find(|denied| denied.covers(network)) {
                report.warn_at(
                    format!("allow[{index}]"),
                    format!(
                        "{} is within {} of `deny`: its requests are refused",
                        network.0, denied.0
                    ),
                );
            }
        }
    });
    let is_empty = allow.is_none() && deny.is_empty();
    (!is_empty).then(|| Box::new(Networks(config.clone())) as Box<dyn Policy>)
}

/// Warns about probable mistakes: host bits in a network, and a network within another one.
fn check(key: &str, index: usize, networks: &[Network], network: &Network, report: &mut Report) {
    let place = format!("{key}[{index}]");
    if network.0.trunc() != network.0 {
        report.warn_at(
            &place,
            format!("{} has host bits; it means {}", network.0, network.0.trunc()),
        );
    }
    let others = networks.iter().enumerate().filter(|(other, _)| *other != index);
    let mut wider = others.filter(|(other, wide)| wide.covers(network) && (!network.covers(wide) || *other < index));
    if let Some((other, wide)) = wider.next() {
        report.warn_at(
            &place,
            format!("{} is within {} of {key}[{other}] already", network.0, wide.0),
        );
    }
}

impl Policy for Networks {
    fn on_request(&self, request: &mut Request, cx: &Context<'_>) -> Result<(), Stop> {
        let Self(NetworkConfig { allow, deny }) = self;
        let has = |networks: &[Network], address| networks.iter().any(|network| network.contains(address));
        let reason = match (request.client_address(cx.host), allow) {
            // A client without an address is in no network.
            (None, _) => "network_unknown",
            (Some(address), _) if has(deny, address) => "network_denied",
            (Some(address), Some(allow)) if !has(allow, address) => "network_not_allowed",
            (Some(_), _) => return Ok(()),
        };
        Err(Denial::new(DenialKind::Own(&REFUSED), reason).into())
    }
}

#[cfg(test)]
mod tests;
