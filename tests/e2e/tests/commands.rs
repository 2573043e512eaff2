//! `tollgate schema` and `tollgate check` on everything that the plugin takes, and on what it does not; the image of `scripts/oci`.

use std::fs;
use std::path::Path;
use std::process::Command;

use jsonschema::Validator;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
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
    let mut bundled = Value::Null;
    Policies::configure(&mut built, |configuration| bundled = configuration.clone());
    let mut configurations = vec![("the bundled gateway".to_owned(), bundled)];
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
        let refused = tollgate::gateway::decode(changed.to_string().as_bytes());
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

/// A blob of an image layout by its descriptor, which says what it is the digest of.
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().expect("a digest");
    let name = digest.strip_prefix("sha256:").expect("an algorithm");
    let bytes = fs::read(layout.join("blobs/sha256").join(name)).expect("a blob");
    assert_eq!(hexadecimal(&bytes), name);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_image_for_istio_holds_the_plugin_and_is_the_same_every_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // What is in it does not matter here, and it need not be built.
    let plugin: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let file = folder.path().join("some.wasm");
    fs::write(&file, &plugin).expect("a file");
    let make = |name: &str| {
        let layout = folder.path().join(name);
        let mut command = Command::new(repository().join("scripts/oci"));
        let output = command.arg(&file).arg(&layout).arg("0.1.0").output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (
            layout,
            String::from_utf8(output.stdout).expect("text").trim().to_owned(),
        )
    };
    let (layout, digest) = make("one");
    assert_eq!(make("another").1, digest);
    let read = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("JSON") };
    assert_eq!(
        read(&fs::read(layout.join("oci-layout")).expect("a file"))["imageLayoutVersion"],
        "1.0.0"
    );
    let index = read(&fs::read(layout.join("index.json")).expect("an index"));
    assert_eq!(index["manifests"][0]["digest"], digest.as_str());
    let manifest = read(&blob(&layout, &index["manifests"][0]));
    // As Istio looks for it: an image whose last layer is a compressed archive with plugin.wasm.
    assert_eq!(manifest["annotations"]["module.wasm.image/variant"], "compat");
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!(
        (layers.len(), layers[0]["mediaType"].as_str()),
        (1, Some("application/vnd.oci.image.layer.v1.tar+gzip"))
    );
    let archive = folder.path().join("layer");
    fs::write(&archive, blob(&layout, &layers[0])).expect("a file");
    let unpacked = Command::new("tar")
        .arg("-xzOf")
        .arg(&archive)
        .arg("plugin.wasm")
        .output()
        .expect("tar runs");
    assert!(unpacked.stdout == plugin, "the plugin is in it, whole");
    let plain = Command::new("gzip")
        .arg("-cd")
        .stdin(fs::File::open(&archive).expect("a file"))
        .output()
        .expect("gzip runs");
    let config = read(&blob(&layout, &manifest["config"]));
    assert_eq!(
        config["rootfs"]["diff_ids"],
        json!([format!("sha256:{}", hexadecimal(&plain.stdout))])
    );
    let again = Command::new(repository().join("scripts/oci"))
        .arg(&file)
        .arg(&layout)
        .arg("0.1.0")
        .output()
        .expect("it runs");
    assert!(!again.status.success(), "nothing that is there is replaced");
}
