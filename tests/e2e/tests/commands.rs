//! `tollgate schema` and `tollgate check` on everything that the plugin takes, and on what it does not.

use std::fs;

use jsonschema::Validator;
use serde_json::{Value, json};
use tollgate_e2e::bootstrap::one_issuer;
use tollgate_e2e::case::{CaseFile, repository};
use tollgate_e2e::key_service::tollgate;
use tollgate_e2e::policies::Policies;

/// The schema of a kind of file, in a validator that is not ours.
fn schema(of: &[&str]) -> (Value, Validator) {
    let mut command = tollgate(&[] as &[(&str, &str)]);
    let output = command.arg("schema").args(of).output().expect("tollgate runs");
    assert!(output.status.success());
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let validator = jsonschema::options().build(&schema).expect("a schema");
    (schema, validator)
}

fn errors(validator: &Validator, value: &Value) -> Vec<String> {
    let errors = validator.iter_errors(value);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn yaml(path: &str) -> Value {
    let text = fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_schema_takes_what_the_plugin_takes() {
    let (document, validator) = schema(&[]);
    assert_eq!(document["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(document["title"], "Tollgate's configuration");
    let policies = Policies::bundled();
    policies.build().expect("the bundled policies are good");
    let mut built = policies.built();
    let mut configurations = vec![(
        "the bundled gateway".to_owned(),
        Policies::configuration(&mut built).clone(),
    )];
    let files = CaseFile::all().into_iter();
    configurations.extend(files.map(|(path, file)| (path.display().to_string(), file.config)));
    for (name, configuration) in configurations {
        assert_eq!(errors(&validator, &configuration), Vec::<String>::new(), "{name}");
    }
    let (_, base) = schema(&["base"]);
    assert_eq!(
        errors(&base, &yaml("envoy/policies/gateway.yaml")),
        Vec::<String>::new()
    );
    let (_, team) = schema(&["team"]);
    for name in ["users", "orders", "products"] {
        assert_eq!(
            errors(&team, &yaml(&format!("envoy/policies/{name}.yaml"))),
            Vec::<String>::new(),
            "{name}"
        );
    }
}

#[test]
fn the_schema_refuses_what_the_plugin_refuses() {
    let (_, validator) = schema(&[]);
    let good = one_issuer(json!([{"match": {"path": "/"}, "auth": {"any": ["jwt"]}}]));
    assert_eq!(errors(&validator, &good), Vec::<String>::new());
    for (pointer, bad) in [
        ("/version", json!("one")),
        ("/version", Value::Null),
        ("/routes", json!({})),
        ("/routes/0/match", json!(null)),
        ("/routes/0/match", json!({"pth": "/"})),
        ("/routes/0/auth", json!({"any": ["basic"]})),
        ("/routes/0/auth", json!(null)),
        ("/jwt/issuers/0/algorithms", json!(["none"])),
        ("/jwt/issuers/0/leeway", json!(60)),
        ("/jwt/issuers/0/leeway", json!("1 minute")),
        ("/jwt/issuers/0/jwks", json!({"url": "https://issuer.example"})),
        ("/quota_headers", json!("off")),
        (
            "/rate_limits",
            json!([{"name": "a", "key": ["iq"], "limit": 1, "window": "1s"}]),
        ),
        (
            "/rate_limits",
            json!([{"name": "a", "key": ["ip"], "limit": -1, "window": "1s"}]),
        ),
        ("/routes/0/rate_limits", json!([{"limt": "a"}])),
        ("/rotes", json!([])),
    ] {
        let mut changed = good.clone();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let place = changed.pointer_mut(parent).expect("a place");
        match key.parse::<usize>() {
            Ok(index) => place[index] = bad.clone(),
            Err(_) => place[key] = bad.clone(),
        }
        assert!(
            !errors(&validator, &changed).is_empty(),
            "{pointer}: {bad} is taken by the schema"
        );
        let refused = tollgate::config::decode(changed.to_string().as_bytes());
        assert!(refused.is_err(), "{pointer}: {bad} is taken by the plugin");
    }
}

#[test]
fn what_the_cases_show_is_good() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, file) in CaseFile::all() {
        let copy = folder.path().join(path.file_name().expect("a name"));
        fs::write(&copy, file.config.to_string()).expect("a file");
        let mut command = tollgate(&[] as &[(&str, &str)]);
        let output = command.arg("check").arg(&copy).output().expect("tollgate runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
