//! Every document of `envoy/istio` is what Istio's own types take, with nothing that they do not know.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use istio_api_rs::extensions::v1alpha1::wasm_plugin::WasmPlugin;
use istio_api_rs::networking::v1::destination_rule::DestinationRule;
use istio_api_rs::networking::v1::gateway::Gateway;
use istio_api_rs::networking::v1::service_entry::ServiceEntry;
use istio_api_rs::networking::v1::virtual_service::VirtualService;
use istio_api_rs::security::v1::authorization_policy::AuthorizationPolicy;
use istio_api_rs::security::v1::peer_authentication::PeerAuthentication;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[test]
fn every_document_is_of_istios_types() {
    let mut kinds = BTreeMap::new();
    for (file, document) in documents() {
        let kind = document["kind"].as_str().expect("a kind").to_owned();
        let fits = match (document["apiVersion"].as_str().expect("a version"), kind.as_str()) {
            ("extensions.istio.io/v1alpha1", "WasmPlugin") => fits::<WasmPlugin>(&document),
            ("networking.istio.io/v1", "DestinationRule") => fits::<DestinationRule>(&document),
            ("networking.istio.io/v1", "Gateway") => fits::<Gateway>(&document),
            ("networking.istio.io/v1", "ServiceEntry") => fits::<ServiceEntry>(&document),
            ("networking.istio.io/v1", "VirtualService") => fits::<VirtualService>(&document),
            ("security.istio.io/v1", "AuthorizationPolicy") => fits::<AuthorizationPolicy>(&document),
            ("security.istio.io/v1", "PeerAuthentication") => fits::<PeerAuthentication>(&document),
            other => panic!("{file}: no type for {other:?}"),
        };
        fits.unwrap_or_else(|error| panic!("{file}: {kind}: {error}"));
        *kinds.entry(kind).or_insert(0) += 1;
    }
    for needed in [
        "WasmPlugin",
        "Gateway",
        "VirtualService",
        "PeerAuthentication",
        "DestinationRule",
    ] {
        assert!(kinds.contains_key(needed), "{needed}: {kinds:?}");
    }
}

#[test]
fn what_istio_does_not_know_is_found() {
    let plugin = || {
        documents()
            .into_iter()
            .find(|(_, document)| document["kind"] == "WasmPlugin")
    };
    let (_, mut document) = plugin().expect("a plugin");
    document["spec"]["failPolicy"] = "FAIL_RELOAD".into();
    assert_eq!(fits::<WasmPlugin>(&document), Err("spec.failPolicy is unknown".into()));
    let (_, mut document) = plugin().expect("a plugin");
    document["spec"]["failStrategy"] = "FAIL_SOMEHOW".into();
    assert!(fits::<WasmPlugin>(&document).is_err());
}

/// Reads and writes it: what is lost on the way is unknown.
fn fits<T: DeserializeOwned + Serialize>(document: &Value) -> Result<(), String> {
    let read: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let written = serde_json::to_value(read).map_err(|error| error.to_string())?;
    match lost(document, &written, String::new()) {
        Some(path) => Err(format!("{path} is unknown")),
        None => Ok(()),
    }
}

fn lost(before: &Value, after: &Value, path: String) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, value)| {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match after.get(key) {
                Some(after) => lost(value, after, path),
                None => Some(path),
            }
        }),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let mut pairs = before.iter().zip(after).enumerate();
            pairs.find_map(|(index, (before, after))| lost(before, after, format!("{path}[{index}]")))
        }
        _ if before == after => None,
        _ => Some(path),
    }
}

fn documents() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/istio");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).expect("the files") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a text");
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        found.extend(
            documents
                .into_iter()
                .map(|document| (path.display().to_string(), document)),
        );
    }
    found
}
