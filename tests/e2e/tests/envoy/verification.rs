//! Wycheproof's vectors through the host's `verify_signature`, by the same code that the plugin runs. Those of the
//! algorithms that the host cannot verify run natively only: that code is the same there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tollgate_e2e::bootstrap::{Bare, direct, listener, one_issuer, wasm_filter};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, build_extra};
use tollgate_e2e::raw::{self, request};

#[path = "../../../conformance/primitives.rs"]
mod primitives;

#[test]
fn the_host_accepts_what_it_must_and_nothing_else() {
    let plugin = build_extra("conformance-plugin").display().to_string();
    let config = one_issuer(json!([{"match": {"path_prefix": "/"}, "public": true}]));
    let mut bare = Bare::new(config, &Echo::start("upstream"));
    bare.listeners = vec![listener(
        "verification",
        vec![wasm_filter("conformance", &plugin, &json!({}))],
        vec![direct()],
    )];
    let envoy = Envoy::start(&bare.bootstrap());
    let address = envoy.listener(1);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (mut seen, mut accepted, mut by_host) = (0, 0, 0);
    let mut differences = Vec::new();
    for vector in primitives::all() {
        if !vector.algorithm.starts_with("RS") && !vector.algorithm.starts_with("ES") {
            continue;
        }
        let (key, message, signature) = (
            encode(vector.jwk.to_string().as_bytes()),
            encode(&vector.message),
            encode(&vector.signature),
        );
        let headers = [
            ("host", "a"),
            ("x-algorithm", vector.algorithm),
            ("x-key", key.as_str()),
            ("x-message", message.as_str()),
            ("x-signature", signature.as_str()),
        ];
        let answer = raw::send(address, &request("GET", "/", &headers, b""))
            .expect("an answer")
            .text();
        let (found, host) = (answer.starts_with("true"), answer.ends_with("true"));
        seen += 1;
        accepted += usize::from(found);
        by_host += usize::from(host);
        if found != vector.valid || (found && !host) {
            differences.push(format!(
                "{} ({}): accepted is {found}, by the host is {host}",
                vector.name, vector.algorithm
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {seen}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    println!("{seen} vectors, {accepted} accepted, {by_host} of all put to the host");
    assert!(accepted > 400 && by_host > accepted, "{accepted} {by_host}");
}
