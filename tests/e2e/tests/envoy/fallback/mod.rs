//! Upstreams that fail, and what stands in for them.

mod failures;
mod last_good;
mod other_cluster;

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::echo::Mortal;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::raw::{Response, request};

/// The answer of the gateway's own.
fn answer() -> Value {
    json!({"answer": {"status": 200, "headers": {"cache-control": "no-store"}, "body": {"items": []}}})
}

/// A bootstrap of one public rule, whose route and cluster are changed.
fn bootstrap(upstream: &Mortal, rule: &Value, change: impl FnOnce(&mut Value, &mut Value)) -> Value {
    let mut rule = rule.clone();
    rule["match"] = json!({"path_prefix": "/"});
    if rule.get("auth").is_none() {
        rule["public"] = true.into();
    }
    let mut bootstrap = Bare::new(one_issuer(json!([rule])), &upstream.echo).bootstrap();
    let mut cluster = bootstrap["static_resources"]["clusters"][0].take();
    let connection = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    change(
        &mut connection["typed_config"]["route_config"]["virtual_hosts"][0]["routes"][0]["route"],
        &mut cluster,
    );
    bootstrap["static_resources"]["clusters"][0] = cluster;
    bootstrap
}

fn ask(envoy: &Envoy, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    envoy.send(&request(method, path, &[&[("host", "a")], headers].concat(), b""))
}

fn bearer(user: &str, tenant: &str) -> String {
    bearer_for(user, tenant, "read")
}

fn bearer_for(user: &str, tenant: &str, scope: &str) -> String {
    let claims = json!({"sub": user, "tenant_id": tenant, "scope": scope});
    let spec = TokenSpec {
        claims: claims.as_object().cloned().expect("an object"),
        ..TokenSpec::default()
    };
    format!("Bearer {}", Issuer::shared().token(&spec))
}

/// What stood in for the upstream, if anything did.
fn stood_in(response: &Response) -> Option<&str> {
    response.header("x-tollgate-fallback")
}

/// How often something stood in: failure, what it was, times.
fn counted(envoy: &Envoy) -> Vec<String> {
    let counters = envoy.stats("tollgate_fallbacks_total").into_iter();
    let mut counted: Vec<_> = counters
        .filter_map(|(name, times)| {
            let labels = name.split_once("failure=")?.1.replace(";served=", " ");
            Some(format!("{} {times}", labels.trim_end_matches(';')))
        })
        .collect();
    counted.sort();
    counted
}
