//! A gateway that was Kong's: what the real `tollgate import kong` makes of a file, run by Envoy.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bootstrap::wasm_file;
use crate::bundled::{place, visit};
use crate::case::repository;
use crate::envoy::{Envoy, Options};
use crate::key_service::tollgate;

/// The files that an import has made.
pub struct Imported {
    folder: TempDir,
    /// What it said.
    pub told: String,
    /// With what it ended.
    pub status: i32,
}

impl Imported {
    /// Imports a file, with further options.
    pub fn from_kong(file: &Path, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = tollgate(&[] as &[(&str, &str)]);
        command.args(["import", "kong"]).arg(file).args(options);
        let output = command
            .arg("--output")
            .arg(folder.path())
            .output()
            .expect("tollgate runs");
        Self {
            folder,
            told: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code().expect("a status"),
        }
    }

    /// Starts Envoy with them as they are, but for addresses and the places of files.
    pub fn start(&self, upstreams: &BTreeMap<&str, SocketAddr>) -> Envoy {
        let built = self.folder.path().join("built/tollgate.yaml");
        let mut policies = self.read("built/tollgate.yaml");
        visit(&mut policies, &mut |member, value| {
            if member == "filename" {
                assert_eq!(value, "tollgate.wasm");
                *value = wasm_file().into();
            }
        });
        fs::write(&built, policies.to_string()).expect("a file");
        let mut bootstrap = self.read("envoy.yaml");
        place(&mut bootstrap, upstreams);
        visit(&mut bootstrap, &mut |member, value| {
            if member == "path_config_source" {
                assert_eq!(
                    value,
                    &json!({"path": "built/tollgate.yaml", "watched_directory": {"path": "built"}})
                );
                *value = json!({"path": built, "watched_directory": {"path": built.parent()}});
            }
        });
        let secrets = fs::read_to_string(self.folder.path().join("secrets.env")).unwrap_or_default();
        let environment = secrets.lines().map(|line| line.split_once('=').expect("NAME=VALUE"));
        let environment = environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Envoy::start_with(
            &bootstrap,
            &Options {
                environment,
                ..Options::default()
            },
        )
    }

    /// What Limitador is to count, in the words of its library, which knows no `descriptors[0]`.
    pub fn limits(&self) -> Vec<Value> {
        let mut limits = self.read("limitador.yaml");
        for limit in limits.as_array_mut().expect("limits") {
            for member in ["conditions", "variables"] {
                for text in limit[member].as_array_mut().expect("a list") {
                    let theirs = text
                        .as_str()
                        .expect("a text")
                        .replace("descriptors[0]['", "")
                        .replacen("']", "", 1);
                    *text = theirs.into();
                }
            }
        }
        limits.as_array().expect("limits").clone()
    }

    fn read(&self, name: &str) -> Value {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// A file of `crates/cli/tests/import`.
pub fn example(name: &str) -> std::path::PathBuf {
    repository().join("crates/cli/tests/import").join(name)
}
