//! compose.yaml, as `scripts/compose` starts it: the gateway's image with all that it asks, on networks of Docker's own.
//!
//! Without a Docker engine it says that it did not run. Images that cannot be pulled are made of this machine's programs.

use std::env;
use std::process::{Command, Output};

use tollgate_e2e::case::repository;
use tollgate_e2e::key_service::program;
use tollgate_e2e::program::built;
use tollgate_e2e::raw::{self, Response, request};

/// A running composition, which ends when this is dropped.
struct Composition {
    environment: Vec<(&'static str, String)>,
    address: std::net::SocketAddr,
}

impl Composition {
    fn start() -> Self {
        let [port, tls] = [(); 2].map(|()| free_port());
        let redis = env::var("TOLLGATE_REDIS_BIN").expect("TOLLGATE_REDIS_BIN: run the tests by scripts/test");
        local_image("tollgate-redis", &redis, "/usr/local/bin/redis-server");
        let limiter = built("tollgate-rls", "tollgate-rls").display().to_string();
        local_image("tollgate-rls", &limiter, "/usr/local/bin/tollgate-rls");
        let composition = Self {
            environment: vec![
                ("COMPOSE_FILE", "compose.yaml:tests/compose/offline.yaml".into()),
                ("COMPOSE_PROJECT_NAME", format!("tollgate-test-{}", std::process::id())),
                ("REDIS_IMAGE", "tollgate-redis".into()),
                ("TOLLGATE_BIN", program().display().to_string()),
                ("TOLLGATE_PORT", port.to_string()),
                ("TOLLGATE_TLS_PORT", tls.to_string()),
            ],
            address: ([127, 0, 0, 1], port).into(),
        };
        let told = composition.say(&["up"]);
        assert!(told.contains("curl -i http://127.0.0.1:"), "{told}");
        composition
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(repository().join("scripts/compose"));
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.args(words).envs(environment).output().expect("it runs")
    }

    fn say(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let headers = [&[("host", "gateway")], headers].concat();
        raw::send(self.address, &request("GET", path, &headers, b"")).expect("an answer")
    }
}

impl Drop for Composition {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", String::from_utf8_lossy(&self.run(&["logs"]).stdout));
        }
        self.run(&["down"]);
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn local_image(name: &str, program: &str, to: &str) {
    let script = ". scripts/lib.sh && local_image \"$@\"";
    let mut command = Command::new("bash");
    let output = command
        .current_dir(repository())
        .args(["-c", script, "-", name, program, to])
        .output();
    let output = output.expect("bash runs");
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_composition_serves_with_its_issuer_its_keys_and_its_redis() {
    let engine = Command::new("docker").arg("version").output();
    if !engine.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT RUN: compose.yaml, for no Docker engine answers here");
        return;
    }
    let composition = Composition::start();
    assert_eq!(composition.get("/api/users/1", &[]).status, 401);
    let bearer = format!("Bearer {}", composition.say(&["token", "ada"]));
    let forged = [("authorization", bearer.as_str()), ("x-user-id", "root")];
    let answer = composition.get("/api/users/1", &forged);
    assert_eq!(
        (answer.status, answer.header("x-served-by")),
        (200, Some("user-service"))
    );
    assert_eq!(answer.header("x-seen-user-id"), Some("ada"));
    // A minute's twenty, counted in Redis, of which one is used.
    let allowed = (0..25)
        .filter(|_| composition.get("/api/users/1", &forged).status == 200)
        .count();
    // Where Limitador takes longer than the gateway waits, the gateway counts by itself.
    assert!((19..=22).contains(&allowed), "{allowed}");
    let create = [
        "exec",
        "-T",
        "key-service",
        "/usr/local/bin/tollgate",
        "keys",
        "create",
        "--user",
        "ci",
        "--scope",
        "orders.read",
    ];
    let key = composition.say(&create);
    let answer = composition.get("/api/orders", &[("x-api-key", &key)]);
    assert_eq!(
        (answer.status, answer.header("x-seen-user-id")),
        (200, Some("ci")),
        "{}",
        answer.text()
    );
    assert_eq!(composition.get("/api/products/7", &[]).status, 200);
}
