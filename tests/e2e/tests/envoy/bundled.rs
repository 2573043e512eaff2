//! The gateway that users start with: `envoy/envoy.yaml`, and the demo that plays its story.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::json;
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::case::repository;
use tollgate_e2e::envoy::{eventually, validate};
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::policies::Policies;
use tollgate_e2e::raw::{self, request};

#[test]
fn it_is_valid_as_it_is() {
    let made = Command::new(repository().join("scripts/policies")).output();
    let made = made.expect("scripts/policies runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    validate(&["-c", "envoy/envoy.yaml"]).unwrap_or_else(|refused| panic!("{}", refused.log));
}

#[test]
fn it_strips_before_the_route_is_chosen_and_refuses_other_spellings() {
    // A route that matches on an identity header: a client must not be able to choose it.
    let gateway = Bundled::start(|bootstrap| {
        let connection = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
        let hosts = &mut connection["typed_config"]["route_config"]["virtual_hosts"];
        let routes = hosts[0]["routes"].as_array_mut().expect("routes");
        routes.insert(
            0,
            json!({
                "name": "products",
                "match": {"prefix": "/", "headers": [{"name": "x-user-id", "present_match": true}]},
                "route": {"cluster": "user-service"},
            }),
        );
    });
    let envoy = &gateway.envoy;
    let get = |path: &str, headers: &[(&str, &str)]| {
        let headers: Vec<_> = [("host", "a")].iter().chain(headers).copied().collect();
        envoy.send(&request("GET", path, &headers, b""))
    };

    let response = get("/api/products/1", &[("x-user-id", "admin")]);
    assert_eq!(
        (response.status, &response.json()["service"]),
        (200, &json!("product-service"))
    );
    let response = get("/api/users/1", &[("x-user-id", "admin")]);
    assert_eq!(response.status, 401, "{}", response.text());
    assert_eq!(get("/api/products/1", &[("x_user_id", "admin")]).status, 400);

    let bearer = |scope: &str| {
        let claims = json!({"scope": scope}).as_object().cloned().unwrap_or_default();
        format!(
            "Bearer {}",
            Issuer::shared().token(&TokenSpec {
                claims,
                ..TokenSpec::default()
            })
        )
    };
    assert_eq!(
        get("/api/orders", &[("authorization", &bearer("orders.write"))]).status,
        403
    );
    // Tollgate sets the header, and Envoy chooses again: what the other service answers is withheld.
    let response = get("/api/orders/../orders/1", &[("authorization", &bearer("orders.read"))]);
    assert_eq!(
        (response.status, &response.json()["code"]),
        (503, &json!("unavailable"))
    );
    assert_eq!(get("/api/orders%2f1", &[]).status, 400);
    assert_eq!(get("/elsewhere", &[]).status, 401, "the default is authentication");
    envoy.assert_no_vm_died();
}

#[test]
fn answers_say_nothing_of_the_software_behind_and_bind_browsers() {
    let gateway = Bundled::start(|_| {});
    let told = [
        ("x-respond", "server: nginx/1.2"),
        ("x-respond", "x-powered-by: PHP/5"),
        ("x-respond", "x-frame-options: SAMEORIGIN"),
    ];
    for (path, status) in [("/api/products/1", 200), ("/api/users/1", 401)] {
        let headers: Vec<_> = [("host", "a")].iter().chain(&told).copied().collect();
        let answer = gateway.envoy.send(&request("GET", path, &headers, b""));
        assert_eq!(answer.status, status);
        for name in ["server", "x-powered-by", "x-envoy-upstream-service-time"] {
            assert_eq!(answer.header(name), None, "{path}: {name}");
        }
        if status == 200 {
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(
                answer.header("x-frame-options"),
                Some("SAMEORIGIN"),
                "the service's own word"
            );
        }
    }
}

#[test]
fn preflights_reach_no_policy_and_refusals_can_be_read_by_pages() {
    // A limit so long that nothing comes back meanwhile.
    let policies = Policies::bundled();
    policies.change("gateway", |base| {
        let limits = base["policy"]["rate_limits"].as_array_mut().expect("limits");
        limits.push(json!({"name": "per-ip", "key": ["ip"], "limit": 3, "window": "24h"}));
        base["policy"]["defaults"]["rate_limits"] = json!(["per-ip"]);
    });
    policies.build().expect("good policies");
    let gateway = Bundled::with(policies, |_| {});
    let send = |method: &str, path: &str, origin: &str, headers: &[(&str, &str)]| {
        let own = [("host", "a"), ("origin", origin)];
        let headers: Vec<_> = own.iter().chain(headers).copied().collect();
        gateway.envoy.send(&request(method, path, &headers, b""))
    };
    let ours = "https://app.example";
    let asked = [
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization, x-api-key"),
    ];
    // More of them than the limit allows requests, and none has a credential.
    for _ in 0..5 {
        let answer = send("OPTIONS", "/api/users/1", ours, &asked);
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        for (name, value) in [
            ("access-control-allow-origin", ours),
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            (
                "access-control-allow-headers",
                "authorization, content-type, x-api-key, x-client",
            ),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
    }
    let of_others = send("OPTIONS", "/api/users/1", "https://other.example", &asked);
    let bad = send("GET", "/api/users/1", ours, &[("authorization", "Bearer x")]);
    let said = "access-control-allow-origin: *";
    let good = format!("Bearer {}", Issuer::shared().good_token());
    let good = send(
        "GET",
        "/api/users/1",
        ours,
        &[("authorization", &good), ("x-respond", said)],
    );
    let over = send("GET", "/api/users/1", ours, &[("authorization", "Bearer x")]);
    for (answer, status, origin) in [
        (of_others, 401, None),
        (bad, 401, Some(ours)),
        (good, 200, Some(ours)),
        (over, 429, Some(ours)),
    ] {
        let found = answer.header("access-control-allow-origin");
        assert_eq!((answer.status, found), (status, origin), "{}", answer.text());
        let exposed = answer.header("access-control-expose-headers");
        assert_eq!(
            exposed,
            origin.map(|_| "ratelimit, ratelimit-policy, retry-after, x-tollgate-incomplete")
        );
        assert_eq!(answer.header("retry-after").is_some(), status == 429);
    }
}

#[test]
fn the_demo_plays_its_story_as_the_readme_shows_it() {
    let output = Command::new(repository().join("scripts/demo"))
        .arg("--once")
        .output()
        .expect("scripts/demo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let readme = fs::read_to_string(repository().join("README.md")).expect("README.md");
    let block = readme
        .split("```console\n")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .expect("a console block");
    let shown = block
        .lines()
        .filter(|line| *line != "..." && !line.starts_with("$ scripts/demo"));
    let mut lines = text.lines();
    for line in shown {
        let wanted = masked(line);
        assert!(
            lines.any(|line| masked(line) == wanted),
            "README.md shows a line that the demo does not print there:\n{line}\n{text}"
        );
    }
}

/// Without what differs from run to run: the port, tokens, request ids.
fn masked(line: &str) -> String {
    let cut = |line: String, before: &str, ends: &[char]| match line.split_once(before) {
        Some((head, rest)) => format!(
            "{head}{before}{}",
            rest.trim_start_matches(|character| !ends.contains(&character))
        ),
        None => line,
    };
    let line = cut(line.to_owned(), "127.0.0.1:", &['/']);
    let line = cut(line, "Bearer eyJ", &['\'']);
    cut(line, "request_id\":\"", &['"'])
}

#[test]
fn the_demo_serves_until_it_is_ended_and_takes_envoy_along() {
    let mut child = Command::new(repository().join("scripts/demo"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("scripts/demo runs");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let mut lines = output.lines().map(|line| line.expect("text"));
    let first = lines
        .find(|line| line.starts_with("The gateway listens on"))
        .expect("the invitation");
    let ports = first.split("http://127.0.0.1:").skip(1);
    let addresses: Vec<SocketAddr> = ports
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>())
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port"))))
        .collect();
    let [gateway, admin] = addresses.as_slice() else {
        panic!("{first}")
    };
    assert_eq!(raw::get(*gateway, "/api/products/7").expect("an answer").status, 200);
    assert_eq!(raw::get(*admin, "/ready").expect("an answer").status, 200);
    // The shell's own `kill`: a small system has no other.
    let interrupt = format!("kill -INT {}", child.id());
    let ended = Command::new("bash")
        .args(["-c", &interrupt])
        .status()
        .expect("bash runs");
    assert!(ended.success());
    eventually("the demo ends", || child.try_wait().expect("a process").is_some());
    assert!(child.wait().expect("a process").success());
    assert!(raw::get(*admin, "/ready").is_err(), "Envoy is still there");
}

/// The commands of README.md under "API keys", one after the other in one shell, and what they print.
#[test]
fn the_readmes_five_commands_for_a_key_do_what_it_says() {
    let gateway = Bundled::start(|_| {});
    let readme = fs::read_to_string(repository().join("README.md")).expect("README.md");
    let block = readme
        .split("```console\n")
        .find(|block| block.starts_with("$ KEY=$(tollgate keys create"))
        .and_then(|block| block.split("```").next())
        .expect("a console block");
    assert_eq!(block.lines().filter(|line| line.starts_with("$ ")).count(), 5);
    // What README.md calls it, the first time that it does.
    let sample = block
        .split("has the id ")
        .nth(1)
        .and_then(|rest| rest.get(..12))
        .expect("an id");
    let script: String = block
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .map(|command| format!("{}\n", command.replace(sample, "${KEY:8:12}")))
        .collect();
    let output = Command::new("bash")
        .args([
            "-e",
            "-c",
            &format!("exec 2>&1\n{script}echo \"id ${{KEY:8:12}} ${{NEW:8:12}}\""),
        ])
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", repository().join("target/debug").display()),
        )
        .env("GATEWAY", format!("http://{}", gateway.envoy.address()))
        .envs(gateway.environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let (printed, ids) = text.trim_end().rsplit_once("\nid ").expect("the ids");
    let mut ids = ids.split(' ');
    let printed = printed
        .replace(ids.next().expect("the old id"), "OLD")
        .replace(ids.next().expect("the new id"), "NEW");
    let samples: Vec<_> = block
        .split("has the id ")
        .skip(1)
        .filter_map(|rest| rest.get(..12))
        .collect();
    let shown = block
        .lines()
        .filter(|line| !line.starts_with("$ "))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(printed, shown.replace(samples[0], "OLD").replace(samples[1], "NEW"));
}

#[test]
fn an_address_is_bounded_whoever_it_says_it_is() {
    let shipped = fs::read_to_string(repository().join("envoy/policies/gateway.yaml")).expect("the policies");
    assert!(shipped.contains("name: per-address, key: [ip]"), "{shipped}");
    let policies = Policies::bundled();
    policies.change("gateway", |file| file["policy"]["rate_limits"][0]["limit"] = 3.into());
    policies.build().expect("good policies");
    let gateway = Bundled::with(policies, |_| {});
    let get = |path: &str| gateway.envoy.send(&request("GET", path, &[("host", "a")], b"")).status;
    let paths = [
        "/api/products/1",
        "/api/users/1",
        "/api/orders",
        "/api/products/2",
        "/elsewhere",
    ];
    assert_eq!(paths.map(get), [200, 401, 401, 429, 429]);
    assert_eq!(get("/ready"), 200);
}
