use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::http::headers::Headers;
use crate::message::managed_names::ManagedNames;
use crate::seam::simulated::Simulated;

/// The policy, with all errors and warnings.
fn compiled(config: Value) -> (Option<Box<dyn Policy>>, Vec<String>) {
    let config: NetworkConfig = serde_json::from_value(config).unwrap();
    let mut report = Report::default();
    let policy = compile(&config, &mut report);
    let said = match report.finish() {
        Ok(warnings) => warnings,
        Err(errors) => errors,
    };
    (policy, said.iter().map(ToString::to_string).collect())
}

/// The reason of the refusal of a request from this address.
fn refused(config: Value, address: Option<&str>) -> Option<&'static str> {
    let (policy, said) = compiled(config);
    assert_eq!(said, Vec::<String>::new());
    let host = Simulated::default();
    host.address
        .set(address.map(|address| address.parse::<IpAddr>().unwrap()));
    let headers: Headers = [(":method", "GET"), (":authority", "h"), (":path", "/")]
        .into_iter()
        .collect();
    let mut request = Request::simulated(headers, ManagedNames::default());
    match policy.unwrap().on_request(&mut request, &host.cx()) {
        Ok(()) => None,
        Err(Stop::Deny(denial)) => {
            assert_eq!(denial.kind.refusal().code, "network_refused");
            Some(denial.reason)
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn deny_counts_before_allow() {
    let both = || json!({"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.1.0.0/16", "2001:db8:1::/48"]});
    for (address, expected) in [
        ("10.2.3.4", None),
        ("10.1.3.4", Some("network_denied")),
        ("11.0.0.1", Some("network_not_allowed")),
        ("::ffff:10.2.3.4", None),
        ("::ffff:10.1.3.4", Some("network_denied")),
        ("2001:db8::1", None),
        ("2001:db8:1::1", Some("network_denied")),
        ("2001:db9::1", Some("network_not_allowed")),
    ] {
        assert_eq!(refused(both(), Some(address)), expected, "{address}");
    }
    let deny = || json!({"deny": ["192.0.2.0/24"]});
    assert_eq!(refused(deny(), Some("192.0.2.255")), Some("network_denied"));
    assert_eq!(refused(deny(), Some("192.0.3.0")), None);
    assert_eq!(refused(deny(), Some("2001:db8::1")), None);
}

#[test]
fn who_has_no_address_is_of_no_network() {
    assert_eq!(
        refused(json!({"allow": ["0.0.0.0/0", "::/0"]}), None),
        Some("network_unknown")
    );
    assert_eq!(refused(json!({"deny": ["192.0.2.1"]}), None), Some("network_unknown"));
}

#[test]
fn what_is_hardly_meant_is_said() {
    for (config, expected) in [
        (json!({"allow": []}), "network.allow: is empty"),
        (
            json!({"deny": ["10.1.2.3/8"]}),
            "network.deny[0]: 10.1.2.3/8 has host bits; it means 10.0.0.0/8",
        ),
        (
            json!({"allow": ["10.0.0.0/8", "10.1.0.0/16"]}),
            "network.allow[1]: 10.1.0.0/16 is within 10.0.0.0/8 of allow[0] already",
        ),
        (
            json!({"deny": ["10.1.0.0/16", "10.1.0.0/16"]}),
            "network.deny[1]: 10.1.0.0/16 is within 10.1.0.0/16 of deny[0] already",
        ),
        (
            json!({"allow": ["10.1.0.0/16"], "deny": ["10.0.0.0/8"]}),
            "network.allow[0]: 10.1.0.0/16 is within 10.0.0.0/8 of `deny`",
        ),
    ] {
        let (_, said) = compiled(config.clone());
        let [message] = said.as_slice() else {
            panic!("{config}: {said:?}");
        };
        assert!(message.starts_with(expected), "{message}");
    }
    assert!(compiled(json!({})).0.is_none(), "it says nothing");
}
