//! The policy files of `envoy/policies` in a folder of their own, and what the real `tollgate build` makes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bootstrap::is_native;
use crate::bundled::{localize, visit};
use crate::case::repository;
use crate::key_service::tollgate;

/// Policy files, and the file that Envoy watches. Clones are the same files.
#[derive(Clone)]
pub struct Policies(Arc<TempDir>);

impl Policies {
    /// The bundled ones, with the keys of the tests' issuer. Nothing is built yet.
    pub fn bundled() -> Self {
        let policies = Self(Arc::new(tempfile::tempdir().expect("a temporary folder")));
        fs::create_dir_all(policies.output().parent().expect("a folder")).expect("a folder");
        for entry in fs::read_dir(repository().join("envoy/policies")).expect("the policies") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mut document: Value =
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            localize(&mut document);
            // All requests of the tests are from one address.
            if let Some(limit) = document.pointer_mut("/policy/rate_limits/0/limit") {
                *limit = 1_000_000_000.into();
            }
            policies.write(
                path.file_stem().and_then(|stem| stem.to_str()).expect("a name"),
                &document,
            );
        }
        policies
    }

    /// Changes the file of this name, as somebody with an editor would.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.file(name)).expect("a policy file");
        let mut document = serde_json::from_str(&text).expect("JSON");
        change(&mut document);
        self.write(name, &document);
    }

    /// Runs `tollgate build`; what it says where it refuses.
    pub fn build(&self) -> Result<(), String> {
        self.build_to(&self.output())
    }

    /// The same with another place for the result.
    pub fn build_to(&self, output: &Path) -> Result<(), String> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.0.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        let mut command = tollgate(&[] as &[(&str, &str)]);
        command.arg("build").args(files).arg("--output").arg(output);
        if is_native() {
            command.arg("--native");
        }
        let output = command.output().expect("tollgate runs");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The file that Envoy watches.
    pub fn output(&self) -> PathBuf {
        self.0.path().join("built/tollgate.yaml")
    }

    /// What Envoy watches now.
    pub fn built(&self) -> Value {
        let text = fs::read_to_string(self.output()).expect("a built file");
        serde_saphyr::from_str(&text).expect("YAML")
    }

    /// Changes the plugin's configuration in it.
    pub fn configure(built: &mut Value, change: impl FnOnce(&mut Value)) {
        let filter = &mut built["resources"][0]["typed_config"];
        let value = match is_native() {
            true => &mut filter["filter_config"]["value"],
            false => &mut filter["config"]["configuration"]["value"],
        };
        let text = value.as_str().expect("a text");
        let mut configuration = serde_json::from_str(text).expect("JSON");
        change(&mut configuration);
        *value = configuration.to_string().into();
    }

    /// Replaces what Envoy watches, past `tollgate build`.
    pub fn replace(&self, built: &Value) {
        let new = self.output().with_extension("new");
        fs::write(&new, built.to_string()).expect("a file");
        fs::rename(&new, self.output()).expect("the same folder");
    }

    /// Has Envoy watch the file here.
    pub(crate) fn load_into(&self, bootstrap: &mut Value) {
        let output = self.output();
        let folder = output.parent().map(Path::to_owned);
        visit(bootstrap, &mut |member, value| {
            if member == "path_config_source" && value["path"] == "target/policies/tollgate.yaml" {
                *value = json!({"path": output, "watched_directory": {"path": folder}});
            }
        });
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.yaml"))
    }

    fn write(&self, name: &str, document: &Value) {
        fs::write(self.file(name), document.to_string()).expect("a file");
    }
}
