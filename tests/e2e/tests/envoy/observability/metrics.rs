//! Figures and alerts, by a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::case::repository;
use tollgate_e2e::envoy::eventually;
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::policies::Policies;
use tollgate_e2e::program::Program;
use tollgate_e2e::raw::{self, request};
use tollgate_e2e::server::listener;

fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("TOLLGATE_PROMETHEUS_BIN");
    PathBuf::from(folder.expect("TOLLGATE_PROMETHEUS_BIN, as scripts/test sets it")).join(name)
}

fn bearer() -> String {
    Issuer::shared().bearer(&json!({"scope": "orders.read"}))
}

#[test]
fn promtool_finds_the_rules_good_and_their_alerts_where_they_should_be() {
    for arguments in [
        &["check", "rules", "rules.yaml"][..],
        &["check", "config", "prometheus.yaml"],
        &["test", "rules", "rules.test.yaml"],
    ] {
        let mut command = Command::new(program("promtool"));
        let output = command
            .args(arguments)
            .current_dir(repository().join("envoy/prometheus"))
            .output();
        let output = output.expect("promtool runs");
        let told = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        assert!(output.status.success(), "{arguments:?}\n{told}");
    }
}

/// A Prometheus that looks at this gateway every second, by the bundled files with shorter times.
struct Prometheus {
    address: SocketAddr,
    _program: Program,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(envoy: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shorten = |file: &str, changes: &[(&str, String)]| {
            let mut text = fs::read_to_string(repository().join("envoy/prometheus").join(file)).expect("a file");
            for (old, new) in changes {
                assert!(text.contains(old), "{file} has no {old}");
                text = text.replace(old, new);
            }
            fs::write(folder.path().join(file), text).expect("a file");
        };
        shorten(
            "prometheus.yaml",
            &[("15s", "1s".into()), ("127.0.0.1:9901", envoy.to_string())],
        );
        shorten(
            "rules.yaml",
            &[
                ("[5m]", "[4s]".into()),
                ("for: 5m", "for: 2s".into()),
                ("[1h] offset 10m", "[20s] offset 6s".into()),
            ],
        );
        let address = listener().local_addr().expect("a free port");
        let mut command = Command::new(program("prometheus"));
        command
            .arg(format!(
                "--config.file={}",
                folder.path().join("prometheus.yaml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let mut program = Program::start("Prometheus", &mut command);
        program.wait_for("Server is ready to receive web requests");
        Self {
            address,
            _program: program,
            _folder: folder,
        }
    }

    fn get(&self, path: &str) -> Value {
        let response = raw::get(self.address, path).expect("an answer");
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["data"].clone()
    }

    /// The value of a rule that has one.
    fn value(&self, name: &str) -> Option<f64> {
        let data = self.get(&format!("/api/v1/query?query={name}"));
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn firing(&self) -> BTreeSet<String> {
        let data = self.get("/api/v1/alerts");
        let alerts = data["alerts"].as_array().expect("alerts").iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing
            .map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned())
            .collect()
    }
}

/// Sends these again and again while something is waited for.
fn meanwhile(gateway: SocketAddr, messages: &[Vec<u8>], wait: impl FnOnce()) {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    for message in messages {
                        let _ = raw::send(gateway, message);
                        thread::sleep(Duration::from_millis(5));
                        if ends.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            });
        }
        // Whatever becomes of it, the senders end.
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wait));
        ends.store(true, Ordering::Relaxed);
        if let Err(panic) = waited {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn each_alert_is_fired_by_its_fault_and_by_no_good_traffic() {
    let policies = Policies::bundled();
    policies.change("gateway", |file| {
        let limits = file["policy"]["rate_limits"].as_array_mut().expect("limits");
        limits.push(json!({"name": "per-ip", "key": ["header:x-client"], "limit": 100, "window": "1h"}));
        file["teams"]["products"]["rate_limits"] = json!(["per-ip"]);
    });
    policies.change("products", |file| file["routes"][0]["rate_limits"] = json!(["per-ip"]));
    policies.build().expect("good policies");
    let mut gateway = Bundled::with(policies, |bootstrap| {
        let connection = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
        let routes = connection["typed_config"]["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
        let products = routes
            .expect("routes")
            .iter_mut()
            .find(|route| route["name"] == "products");
        let route = &mut products.expect("a route")["route"];
        (route["timeout"], route["retry_policy"]["per_try_timeout"]) = ("2s".into(), "1s".into());
        // A service that fails is to go on failing.
        for cluster in bootstrap["static_resources"]["clusters"]
            .as_array_mut()
            .expect("clusters")
        {
            cluster["outlier_detection"].take();
        }
    });
    let prometheus = Prometheus::start(gateway.envoy.admin_address());
    let bearer = bearer();
    let message = |path: &str, respond: &str, client: u32| {
        let client = client.to_string();
        let headers = [
            ("host", "a"),
            ("authorization", bearer.as_str()),
            ("x-respond", respond),
            ("x-client", &client),
        ];
        request("GET", path, &headers, b"")
    };
    let good: Vec<_> = (0..2000)
        .map(|client| message("/api/products/1", "x-a: 1", client))
        .collect();
    meanwhile(gateway.envoy.address(), &good, || {
        eventually("everything is recorded", || {
            let names = [
                "request_duration_p50",
                "request_duration_p95",
                "request_duration_p99",
                "error_rate",
                "rate_limit_hit_rate",
                "upstream_timeout_rate",
            ];
            names
                .iter()
                .all(|name| prometheus.value(&format!("gateway_{name}")).is_some())
        });
        let until = Instant::now() + Duration::from_secs(6);
        while Instant::now() < until {
            // How fast a machine is does not belong into a test.
            let firing = prometheus
                .firing()
                .into_iter()
                .filter(|alert| alert != "GatewayLatency");
            assert_eq!(firing.collect::<Vec<_>>(), [""; 0]);
            thread::sleep(Duration::from_millis(200));
        }
    });
    let faults = [
        ("GatewayLatency", message("/api/users/1", ":after: 700", 0)),
        ("GatewayErrors", message("/api/users/1", ":status: 500", 0)),
        ("GatewayRateLimitSpike", message("/api/products/1", "x-a: 1", 1)),
        (
            "GatewayUpstreamTimeouts",
            message("/api/products/1", ":after: 20000", 2),
        ),
    ];
    for (alert, message) in faults {
        meanwhile(gateway.envoy.address(), &[message], || {
            eventually(alert, || prometheus.firing().contains(alert));
        });
        println!("{alert} fires");
    }
    gateway.services.get_mut("analytics-service").expect("a service").die();
    meanwhile(
        gateway.envoy.address(),
        &[message("/api/dashboard", "x-a: 1", 3)],
        || {
            eventually("GatewayPartFailing", || {
                prometheus.firing().contains("GatewayPartFailing")
            });
        },
    );
    check_scrape(&gateway);
    check_rules(&gateway);
}

/// Labels are labels.
fn check_scrape(gateway: &Bundled) {
    let text = gateway.envoy.admin("/stats/prometheus").text();
    let own: Vec<_> = text.lines().filter(|line| line.starts_with("tollgate_")).collect();
    for line in &own {
        let (name, rest) = line.split_once('{').expect("labels");
        assert!(
            !name.contains([';', '=']) && !rest.contains(';') && rest.contains('='),
            "{line}"
        );
    }
    assert!(!text.contains("wasmcustom"), "{own:#?}");
    let labels = ["route=\"products\"", "outcome=\"denied\"", "code=\"rate_limited\""];
    let has =
        |line: &&str| line.starts_with("tollgate_requests_total{") && labels.iter().all(|label| line.contains(label));
    assert!(own.iter().any(has), "{own:#?}");
}

/// Every figure that a rule asks for is one of Envoy's, of the plugin's, or of another rule.
fn check_rules(gateway: &Bundled) {
    let scrape = gateway.envoy.admin("/stats/prometheus").text();
    let rules = fs::read_to_string(repository().join("envoy/prometheus/rules.yaml")).expect("the rules");
    let is_there = |name: &str| {
        let mut lines = scrape.lines();
        lines.any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
    };
    let words = rules.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let asked: BTreeSet<_> = words
        .filter(|word| {
            ["envoy_cluster_upstream_rq", "envoy_http_downstream", "tollgate_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        // In a sentence: a histogram's name without its suffix.
        .filter(|word| *word != "envoy_cluster_upstream_rq_time")
        .collect();
    assert!(asked.len() >= 6, "{asked:?}");
    for name in asked {
        assert!(is_there(name), "rules.yaml asks for {name}, which nobody has");
    }
}
