//! Tests of clients with more keys than a table has room for.

use super::*;

/// How many of a hundred other clients cannot use their whole limit of ten.
fn refused(gateway: &Gateway) -> usize {
    let clients = (1..=100).filter(|number| {
        gateway.from(&format!("198.51.{number}.7"));
        (0..10).any(|_| gateway.send("GET", "/open", &[("x-client", "own")]).status != 200)
    });
    clients.count()
}

#[test]
fn one_address_with_many_values_of_a_header_refuses_nobody_else() {
    for algorithm in ["sliding_window", "token_bucket", "fixed_window"] {
        let key = json!(["ip", "header:x-client"]);
        let limits = json!([limit("l", key, 10, json!({"algorithm": algorithm, "entries": 4096}))]);
        let gateway = Gateway::new(limits, json!(["l"]));
        for number in 0..20_000 {
            let value = number.to_string();
            gateway.from("192.0.2.1");
            gateway.send("GET", "/open", &[("x-client", &value)]);
        }
        assert_eq!(refused(&gateway), 0, "{algorithm}");
    }
}

#[test]
fn a_network_with_many_addresses_fills_its_share_alone() {
    // Each key reaches its limit, so that none may be evicted, and keys share entries.
    let gateway = Gateway::new(
        json!([limit("l", json!(["ip"]), 10, json!({"entries": 1024}))]),
        json!(["l"]),
    );
    let mut shared = 0;
    for network in 0..3600 {
        gateway.from(&format!("2001:db8:0:{network:x}::1"));
        for _ in 0..10 {
            let seen = gateway.send("GET", "/open", &[]);
            shared += seen
                .counters
                .iter()
                .filter(|name| name.starts_with("tollgate_rate_limit_shared_denials_total"))
                .count();
        }
    }
    assert!(shared > 1000, "{shared} refusals come from sharing");
    let refused = refused(&gateway);
    assert!(
        refused <= 25,
        "{refused} of 100: a sixteenth of the table, and what hangs over"
    );
}
