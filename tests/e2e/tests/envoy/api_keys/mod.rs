//! API keys of a real key service, through an Envoy of four workers.

mod hostile;
mod lifecycle;
mod outage;

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_e2e::bootstrap::Bare;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, Options};
use tollgate_e2e::key_service::{KeyService, tollgate};
use tollgate_e2e::keys::{SECRET, config};
use tollgate_e2e::raw::{self, Response, request};

const WORKERS: u32 = 4;
const ADMIN: &str = "an-administration-token-of-the-tests";
const LOOKUP: &str = "a-lookup-token-that-the-tests-made-up";

/// A database and what speaks to it.
struct Keys {
    url: String,
    /// Of the secrets: name and value, the newest first.
    secrets: Vec<(&'static str, String)>,
    _folder: Option<TempDir>,
}

/// A key, as it was printed once.
struct Made {
    id: String,
    key: String,
}

impl Keys {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            url: format!("sqlite:{}", folder.path().join("keys.db").display()),
            secrets: vec![("v1", SECRET.1.to_owned())],
            _folder: Some(folder),
        }
    }

    fn at(url: String) -> Self {
        Self {
            url,
            secrets: vec![("v1", SECRET.1.to_owned())],
            _folder: None,
        }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let names: Vec<_> = self
            .secrets
            .iter()
            .map(|(name, _)| format!("{name}={}", variable(name)))
            .collect();
        let values = self.secrets.iter().map(|(name, value)| (variable(name), value.clone()));
        [
            ("TOLLGATE_KEYS_DATABASE".to_owned(), self.url.clone()),
            ("TOLLGATE_KEY_SECRETS".to_owned(), names.join(",")),
            ("TOLLGATE_KEYS_ADMIN_TOKEN".to_owned(), ADMIN.to_owned()),
            ("TOLLGATE_KEYS_LOOKUP_TOKEN".to_owned(), LOOKUP.to_owned()),
        ]
        .into_iter()
        .chain(values)
        .collect()
    }

    fn serve(&self, arguments: &[&str]) -> KeyService {
        KeyService::start(&self.environment(), arguments)
    }

    /// Runs `tollgate keys`; what it printed.
    fn run(&self, arguments: &[&str]) -> String {
        let output = tollgate(&self.environment())
            .arg("keys")
            .args(arguments)
            .output()
            .expect("tollgate runs");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    fn make(&self, arguments: &[&str]) -> Made {
        let printed = self.run(&[arguments, &["--json"]].concat());
        let printed: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Made {
            id: text(&printed["record"]["id"]),
            key: text(&printed["key"]),
        }
    }

    fn create(&self, more: &[&str]) -> Made {
        self.make(&[&["create", "--user", "u1"], more].concat())
    }

    /// A gateway that knows these secrets and asks the service; `change` adds to `api_keys`, or with `lookup.` to that.
    fn gateway(&self, service: SocketAddr, change: Value) -> Envoy {
        self.gateway_of(WORKERS, service, change)
    }

    fn gateway_of(&self, workers: u32, service: SocketAddr, change: Value) -> Envoy {
        let bootstrap = self.bare(service, change).bootstrap();
        Envoy::with_workers(workers, &bootstrap)
    }

    fn bare(&self, service: SocketAddr, change: Value) -> Bare {
        let mut config = config(&[]);
        let keys = &mut config["api_keys"];
        keys["secrets"] = self
            .secrets
            .iter()
            .map(|(name, _)| json!({"id": name, "env": variable(name)}))
            .collect();
        keys["lookup"] = json!({"cluster": "keys", "token": {"env": "LOOKUP"}, "timeout": "2s"});
        keys["throttle"] = json!({"limit": 1_000_000});
        for (name, value) in change.as_object().into_iter().flatten() {
            match name.strip_prefix("lookup.") {
                Some(name) => keys["lookup"][name] = value.clone(),
                None => keys[name.as_str()] = value.clone(),
            }
        }
        let mut bare = Bare::new(config, &Echo::start("upstream"));
        bare.clusters = vec![("keys", service)];
        bare.environment = self.environment().into_iter().collect();
        bare.environment.insert("LOOKUP".into(), LOOKUP.into());
        bare
    }
}

/// The environment variable that holds a secret.
fn variable(name: &str) -> String {
    format!("SECRET_{}", name.to_uppercase())
}

fn ask(gateway: SocketAddr, key: &str) -> Response {
    raw::send(gateway, &request("GET", "/", &[("host", "a"), ("x-api-key", key)], b"")).expect("an answer")
}

fn status(gateway: &Envoy, key: &str) -> u16 {
    ask(gateway.address(), key).status
}

/// Many new connections, which the workers share.
fn every_worker_says(gateway: &Envoy, key: &str, expected: u16) -> bool {
    (0..40).all(|_| status(gateway, key) == expected)
}
