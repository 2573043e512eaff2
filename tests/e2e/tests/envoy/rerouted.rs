//! Envoy routes that match on what the gateway changes: nobody is shown what another route than the judged one answers.

use serde_json::json;
use tollgate_e2e::bootstrap::Bare;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::raw::request;

#[test]
fn a_response_to_a_request_whose_route_changes_with_it_is_withheld_and_counted() {
    let echo = Echo::start("upstream");
    let config = json!({"version": 1, "routes": [
        {"match": {"route": "forged"}, "public": true},
        {"match": {"route": "plain"}, "public": true},
    ]});
    let mut bare = Bare::new(config, &echo);
    let present = json!([{"name": "x-user-id", "present_match": true}]);
    bare.routes = Some(vec![
        json!({"name": "forged", "match": {"prefix": "/", "headers": present}, "route": {"cluster": "upstream"}}),
        json!({"name": "plain", "match": {"prefix": "/"}, "route": {"cluster": "upstream"}}),
    ]);
    let envoy = Envoy::start(&bare.bootstrap());
    let plain = envoy.send(&request("GET", "/", &[("host", "a")], b""));
    let forged = envoy.send(&request("GET", "/", &[("host", "a"), ("x-user-id", "root")], b""));
    assert_eq!((plain.status, forged.status), (200, 503), "{}", forged.text());
    assert_eq!(forged.json()["code"], "unavailable");
    let counter = "wasmcustom.tollgate_responses_refused_total;route=forged;reason=route_changed;";
    eventually("it is counted", || envoy.stat(counter) == 1);
    assert!(
        envoy
            .log()
            .contains("Envoy's route plain matches on something that the plugin changes: it took a request that was checked for route forged")
    );
    // What changes and is matched by no route costs nothing but a look.
    let stripped = envoy.send(&request("GET", "/", &[("host", "a"), ("x-user-plan", "gold")], b""));
    assert_eq!(stripped.status, 200);
    envoy.assert_no_vm_died();
}
