//! `envoy/istio`: its pluginConfig, by Envoy as Istio hands it over, behind routes with the names of its VirtualService.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, Form};
use tollgate_e2e::bundled::environment;
use tollgate_e2e::case::repository;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, Options, eventually};
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::key_service::KeyService;
use tollgate_e2e::publisher::{Answer, Publisher};
use tollgate_e2e::raw::{Response, request};

const CLUSTERS: [&str; 4] = [
    "outbound|8080||user-service.shop.svc.cluster.local",
    "outbound|8080|canary|order-service.shop.svc.cluster.local",
    "outbound|8080|stable|order-service.shop.svc.cluster.local",
    "outbound|8080||product-service.shop.svc.cluster.local",
];
const KEYS: &str = "outbound|8090||key-service.shop.svc.cluster.local";
const ISSUER: &str = "outbound|443||issuer.example";

fn document(file: &str, kind: &str) -> Value {
    let path = repository().join("envoy/istio").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    documents
        .into_iter()
        .find(|document| document["kind"] == kind)
        .expect("a document")
}

/// The name that Istio gives the cluster of a destination.
fn cluster(destination: &Value) -> String {
    let subset = destination["subset"].as_str().unwrap_or_default();
    let (port, host) = (
        &destination["port"]["number"],
        destination["host"].as_str().expect("a host"),
    );
    format!("outbound|{port}|{subset}|{host}")
}

/// The routes that Istio makes of a VirtualService: one for each match, all with the name of their entry.
fn routes(service: &Value) -> Vec<Value> {
    let mut routes = Vec::new();
    for http in service["spec"]["http"].as_array().expect("entries") {
        let destinations = http["route"].as_array().expect("destinations").iter();
        let weighted: Vec<_> = destinations
            .map(|entry| json!({"name": cluster(&entry["destination"]), "weight": entry["weight"].as_u64().unwrap_or(100)}))
            .collect();
        for matched in http["match"].as_array().expect("matches") {
            let uri = &matched["uri"];
            let mut to = if uri["exact"].is_string() {
                json!({"path": uri["exact"]})
            } else {
                json!({"prefix": uri["prefix"]})
            };
            let headers = matched["headers"].as_object().into_iter().flatten();
            to["headers"] = headers
                .map(|(name, value)| json!({"name": name, "string_match": {"exact": value["exact"]}}))
                .collect();
            let action = json!({"timeout": http["timeout"], "weighted_clusters": {"clusters": weighted}});
            routes.push(json!({"name": http["name"], "match": to, "route": action}));
        }
    }
    routes
}

struct Mesh {
    gateway: Envoy,
    services: BTreeMap<&'static str, Echo>,
    keys: KeyService,
    admin: String,
}

impl Mesh {
    fn start() -> Self {
        let plugin = document("wasmplugin.yaml", "WasmPlugin");
        let service = document("virtualservice.yaml", "VirtualService");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = format!("sqlite:{}", folder.keep().join("keys.db").display());
        let variables = environment(&database);
        let keys = KeyService::start(&variables, &[]);
        let issuer = Publisher::start(Answer::Document(Issuer::shared().jwks()));
        let services: BTreeMap<_, _> = CLUSTERS.map(|name| (name, Echo::start(name))).into();
        let mut bare = Bare::new(plugin["spec"]["pluginConfig"].clone(), &services[CLUSTERS[0]]);
        // Istiod makes JSON text of it.
        bare.form = Form::Text;
        bare.routes = Some(routes(&service));
        let own: [(&'static str, SocketAddr); 2] = [(KEYS, keys.address()), (ISSUER, issuer.address)];
        bare.clusters = services
            .iter()
            .map(|(name, echo)| (*name, echo.address))
            .chain(own)
            .collect();
        let env = plugin["spec"]["vmConfig"]["env"].as_array().expect("variables");
        assert!(
            env.iter().all(|entry| entry["valueFrom"] == "HOST"),
            "no secret is written down"
        );
        bare.host_environment = env
            .iter()
            .map(|entry| entry["name"].as_str().expect("a name").to_owned())
            .collect();
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let gateway = Envoy::start_with(
            &bare.bootstrap(),
            &Options {
                environment,
                ..Options::default()
            },
        );
        eventually("the issuer's keys are there", || !issuer.requests().is_empty());
        Self {
            gateway,
            services,
            keys,
            admin: variables[2].1.to_owned(),
        }
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let headers = [&[("host", "shop.example")], headers].concat();
        self.gateway.send(&request("GET", path, &headers, b""))
    }

    /// Which clusters have had requests, and the identity headers of the last.
    fn seen(&self) -> (BTreeSet<&'static str>, Vec<(String, String)>) {
        let mut clusters = BTreeSet::new();
        let mut headers = Vec::new();
        for (name, echo) in &self.services {
            for seen in echo.take() {
                clusters.insert(*name);
                headers = seen.headers;
            }
        }
        headers
            .retain(|(name, _)| name.starts_with("x-user-") || name.starts_with("x-tenant-") || name == "x-api-key-id");
        headers.sort();
        (clusters, headers)
    }
}

#[test]
fn the_plugin_config_of_the_files_decides_behind_the_routes_of_the_files() {
    let mesh = Mesh::start();
    let token = |scope: &str| Issuer::shared().bearer(&json!({"scope": scope, "tenant_id": "t1"}));
    let (plain, reader) = (token(""), token("orders.read"));
    eventually("tokens can be verified", || {
        mesh.get("/api/users/1", &[("authorization", &plain)]).status == 200
    });
    mesh.seen();
    let (users, canary, stable, products) = (CLUSTERS[0], CLUSTERS[1], CLUSTERS[2], CLUSTERS[3]);

    for path in ["/api/users", "/api/users/1", "/api/orders"] {
        assert_eq!(mesh.get(path, &[]).status, 401, "{path}");
    }
    assert_eq!(
        mesh.get("/api/elsewhere", &[("authorization", &plain)]).status,
        404,
        "no route of the VirtualService"
    );
    assert_eq!(mesh.get("/api/products/7", &[]).status, 200);
    assert_eq!(
        mesh.gateway
            .send(&request("DELETE", "/api/products/7", &[("host", "a")], b""))
            .status,
        405
    );
    assert_eq!(mesh.seen().0, BTreeSet::from([products]));

    let forged = [
        ("authorization", plain.as_str()),
        ("x-user-id", "root"),
        ("x-user-scopes", "orders.read"),
    ];
    assert_eq!(mesh.get("/api/users/1", &forged).status, 200);
    let (clusters, headers) = mesh.seen();
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        (clusters, headers),
        (
            BTreeSet::from([users]),
            vec![own("x-tenant-id", "t1"), own("x-user-id", "u1")]
        )
    );

    let refused = mesh.get("/api/orders/1", &forged);
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (403, Some("insufficient_scope"))
    );
    let reads = [("authorization", reader.as_str()), ("x-canary", "true")];
    for _ in 0..5 {
        assert_eq!(mesh.get("/api/orders/1", &reads).status, 200);
    }
    assert_eq!(mesh.seen().0, BTreeSet::from([canary]));
    for _ in 0..20 {
        assert_eq!(mesh.get("/api/orders/1", &reads[..1]).status, 200);
    }
    assert!(mesh.seen().0.contains(stable));

    let made = mesh.keys.request(
        "POST",
        "/v1/keys",
        Some(&mesh.admin),
        Some(&json!({"user_id": "ci", "scopes": ["orders.read"]})),
    );
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    assert_eq!(mesh.get("/api/orders/1", &[("x-api-key", &key)]).status, 200);
    assert!(mesh.seen().1.contains(&own("x-user-id", "ci")));
    assert_eq!(
        mesh.get("/api/orders/1", &[("x-api-key", "tg_live_nobody")]).status,
        401
    );
    let limited = mesh.get("/api/users/1", &[("authorization", &plain)]);
    assert_eq!(limited.header("ratelimit-policy"), Some("\"per-user\";q=100;w=60"));
    mesh.gateway.assert_no_vm_died();
}

#[test]
fn every_rule_is_about_an_entry_and_every_entry_has_a_rule() {
    let plugin = document("wasmplugin.yaml", "WasmPlugin");
    let service = document("virtualservice.yaml", "VirtualService");
    let names = |list: &Value, name: fn(&Value) -> &Value| -> BTreeSet<String> {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|item| name(item).as_str().expect("a name").to_owned())
            .collect()
    };
    let rules = names(
        &plugin["spec"]["pluginConfig"]["routes"],
        |rule| &rule["match"]["route"],
    );
    assert_eq!(rules, names(&service["spec"]["http"], |http| &http["name"]));
    let strict = document("mesh.yaml", "PeerAuthentication");
    assert_eq!(strict["spec"]["mtls"]["mode"], "STRICT");
}
