//! The gateway that users start with, `envoy/envoy.yaml`, with everything that it needs on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bootstrap::{address, wasm_file};
use crate::case::{repository, with_keys};
use crate::collector::Collector;
use crate::echo::Mortal;
use crate::envoy::{Envoy, Options, Refused, eventually};
use crate::key_service::KeyService;
use crate::keys::SECRET;
use crate::policies::Policies;
use crate::tls::{Certificates, Identity, secret_file};

/// Envoy, four services behind it, and a key service.
pub struct Bundled {
    /// The gateway.
    pub envoy: Envoy,
    /// What `tollgate keys` needs in its environment to work on the same keys.
    pub environment: Vec<(String, String)>,
    /// The teams' policies.
    pub policies: Policies,
    /// What is behind it, by the names of its clusters.
    pub services: BTreeMap<&'static str, Mortal>,
    /// Where its traces go.
    pub collector: Collector,
    keys: KeyService,
    _folder: TempDir,
}

impl Bundled {
    /// Starts all of it. `change` may change Envoy's configuration.
    pub fn start(change: impl FnOnce(&mut Value)) -> Self {
        let policies = Policies::bundled();
        policies.build().expect("the bundled policies are good");
        Self::with(policies, change)
    }

    /// The same with certificates of its own.
    pub fn with_certificates(certificates: &Certificates, change: impl FnOnce(&mut Value)) -> Self {
        let policies = Policies::bundled();
        policies.build().expect("the bundled policies are good");
        Self::begin(policies, certificates, change)
            .unwrap_or_else(|refused| panic!("Envoy did not start:\n{}", refused.log))
    }

    /// The same with policies that were made before.
    pub fn with(policies: Policies, change: impl FnOnce(&mut Value)) -> Self {
        Self::try_with(policies, change).unwrap_or_else(|refused| panic!("Envoy did not start:\n{}", refused.log))
    }

    /// The same, and what Envoy logged where it did not start.
    pub fn try_with(policies: Policies, change: impl FnOnce(&mut Value)) -> Result<Self, Refused> {
        Self::begin(policies, &Certificates::shared(), change)
    }

    fn begin(
        policies: Policies,
        certificates: &Certificates,
        change: impl FnOnce(&mut Value),
    ) -> Result<Self, Refused> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = format!("sqlite:{}", folder.path().join("keys.db").display());
        let environment: Vec<(String, String)> = environment(&database)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let keys = KeyService::start(&environment, &[]);
        let service = |name| {
            let identity = Identity::of(certificates, name);
            (name, Mortal::with_identity(name, identity))
        };
        let services: BTreeMap<_, _> = SERVICES.map(service).into();
        let addresses = services.iter().map(|(name, service)| (*name, service.echo.address));
        let mut upstreams: BTreeMap<_, _> = addresses.collect();
        upstreams.insert("key-service", keys.address());
        let collector = Collector::start();
        upstreams.insert("otel-collector", collector.address);
        // No policy of the bundled gateway asks these.
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        upstreams.extend([("issuer", nobody), ("rate-limit-service", nobody)]);
        let mut bootstrap = bootstrap("envoy.yaml", &upstreams);
        policies.load_into(&mut bootstrap);
        show_certificates(&mut bootstrap, certificates, folder.path());
        change(&mut bootstrap);
        let options = Options {
            environment: environment.iter().cloned().collect(),
            ..Options::default()
        };
        let envoy = Envoy::try_start(&bootstrap, &options)?;
        // The first check may be too late because the plugin was compiled meanwhile; who fails the second is not well.
        eventually("it is known which services are well", || {
            let stats = envoy.stats("cluster.");
            let stat = |name: &str, stat: &str| {
                let name = format!("cluster.{name}.{stat}");
                stats
                    .iter()
                    .find(|(own, _)| *own == name)
                    .map_or(0, |(_, value)| *value)
            };
            let is_known = |name: &&str| stat(name, "membership_healthy") > 0 || stat(name, "health_check.failure") > 1;
            SERVICES.iter().all(is_known)
        });
        Ok(Self {
            envoy,
            environment,
            policies,
            services,
            collector,
            keys,
            _folder: folder,
        })
    }

    /// A new API key.
    pub fn create_key(&self, body: &Value) -> String {
        let made = self.keys.request("POST", "/v1/keys", Some(ADMIN), Some(body));
        made.json()["key"].as_str().expect("a key").to_owned()
    }

    /// Ends an API key.
    pub fn revoke_key(&self, id: &str) {
        let path = format!("/v1/keys/{id}/revoke");
        let revoked = self.keys.request("POST", &path, Some(ADMIN), None);
        assert_eq!(revoked.status, 200, "{}", revoked.text());
    }
}

/// What gateway and key service have in common.
pub fn environment(database: &str) -> [(&str, &str); 4] {
    [
        SECRET,
        ("TOLLGATE_KEYS_DATABASE", database),
        ("TOLLGATE_KEYS_ADMIN_TOKEN", ADMIN),
        ("TOLLGATE_KEYS_LOOKUP_TOKEN", "a-lookup-token-of-the-bundled-gateway"),
    ]
}

/// A file of `envoy/` with ports that the system chooses, its clusters at `upstreams`, and the issuer's keys.
pub(crate) fn bootstrap(file: &str, upstreams: &BTreeMap<&str, SocketAddr>) -> Value {
    let path = repository().join("envoy").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bootstrap: Value =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    place(&mut bootstrap, upstreams);
    localize(&mut bootstrap);
    bootstrap
}

/// Ports that the system chooses, and clusters at `upstreams`.
pub(crate) fn place(bootstrap: &mut Value, upstreams: &BTreeMap<&str, SocketAddr>) {
    bootstrap["admin"]["address"] = address(0);
    let resources = &mut bootstrap["static_resources"];
    for listener in resources["listeners"].as_array_mut().expect("listeners") {
        listener["address"] = address(0);
    }
    for cluster in resources["clusters"].as_array_mut().expect("clusters") {
        let name = cluster["name"].as_str().expect("a name").to_owned();
        let upstream = upstreams
            .get(name.as_str())
            .unwrap_or_else(|| panic!("no upstream is called {name}"));
        cluster["type"] = "STATIC".into();
        cluster["load_assignment"]["endpoints"] =
            json!([{"lb_endpoints": [{"endpoint": {"address": address(upstream.port()), "hostname": name}}]}]);
    }
}

/// Files where they are here, and the keys of the tests' issuer.
pub(crate) fn localize(document: &mut Value) {
    visit(document, &mut |member, value| match member {
        "filename" if value.as_str().is_some_and(|name| name.ends_with("tollgate.wasm")) => *value = wasm_file().into(),
        "inline" => *value = with_keys("$keys".into()),
        "proto_descriptor" => {
            let file = repository().join(value.as_str().expect("a file"));
            *value = file.display().to_string().into();
        }
        _ => {}
    });
}

/// Has Envoy read these certificates, by files in this folder.
fn show_certificates(bootstrap: &mut Value, certificates: &Certificates, folder: &Path) {
    visit(bootstrap, &mut |member, value| {
        if member == "path_config_source"
            && let Some(name) = value["path"].as_str().filter(|name| name.starts_with("envoy/tls/"))
        {
            *value = json!({"path": secret_file(name, certificates, folder)});
        }
    });
}

/// Calls `change` for every member of every object.
pub(crate) fn visit(value: &mut Value, change: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, change)),
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| {
            change(name, value);
            visit(value, change);
        }),
        _ => {}
    }
}

const SERVICES: [&str; 5] = [
    "user-service",
    "order-service",
    "order-service-canary",
    "product-service",
    "analytics-service",
];

const ADMIN: &str = "an-administration-token-of-the-bundled-gateway";
