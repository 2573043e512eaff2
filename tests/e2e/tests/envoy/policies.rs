//! Policies by team: files that are built into one, which Envoy watches, and readiness that depends on it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::envoy::{Refused, eventually};
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::policies::Policies;
use tollgate_e2e::raw::{get, request};

fn built() -> Policies {
    let policies = Policies::bundled();
    policies.build().expect("the bundled policies are good");
    policies
}

/// The status of requests without a credential, on both workers: connections are spread over them.
fn always(gateway: &Bundled, path: &str, status: u16) -> bool {
    (0..40).all(|_| get(gateway.envoy.address(), path).expect("an answer").status == status)
}

/// Of a path that a team's users need no token for.
fn publish(policies: &Policies, team: &str, is_public: bool) {
    policies.change(team, |file| {
        let route = file["routes"][0]["match"].clone();
        file["routes"][0] = if is_public {
            json!({"match": route, "public": true})
        } else {
            json!({"match": route})
        };
    });
}

#[test]
fn a_team_changes_its_policy_and_nobody_elses() {
    let gateway = Bundled::with(built(), |_| {});
    let mut before = gateway.policies.built();
    assert!(always(&gateway, "/api/users/1", 401) && always(&gateway, "/api/orders", 401));

    publish(&gateway.policies, "users", true);
    gateway.policies.build().expect("good policies");
    eventually("the team's change is there", || always(&gateway, "/api/users/1", 200));
    assert!(always(&gateway, "/api/orders", 401) && always(&gateway, "/api/products/1", 200));

    // Nothing but that team's rule differs.
    let mut after = gateway.policies.built();
    let rules = |built: &mut Value| {
        let mut removed = Value::Null;
        Policies::configure(built, |configuration| {
            let routes = configuration["routes"].as_array_mut().expect("routes");
            let place = routes
                .iter()
                .position(|rule| rule["match"]["route"] == "users")
                .expect("a rule");
            removed = routes.remove(place);
        });
        removed
    };
    assert_ne!(rules(&mut before), rules(&mut after));
    assert_eq!(before["resources"], after["resources"]);
    assert_ne!(before["version_info"], after["version_info"]);
    gateway.envoy.assert_no_vm_died();
}

#[test]
fn a_bad_team_file_refuses_the_build_and_leaves_the_old_one() {
    let policies = built();
    let before = fs::read(policies.output()).expect("a built file");
    for (change, says) in [
        (
            json!({"routes": [{"match": {"route": "users"}, "pubic": true}]}),
            "routes[0].pubic: team users: unknown key `pubic`; did you mean `public`?",
        ),
        (
            json!({"routes": [{"match": {"route": "orders"}}]}),
            "routes[0].match.route: team users: may not name Envoy's route `orders`; there is users",
        ),
        (
            json!({"routes": [{"match": {"path_prefix": "/api/orders"}, "public": true}]}),
            "routes[0].match: team users: names neither a `route` nor a `host` of its own",
        ),
        (
            json!({"routes": [{"match": {"host": "orders.example"}, "public": true}]}),
            "routes[0].match.host: team users: may not name the host `orders.example`; none is declared",
        ),
        (
            json!({"defaults": {"auth": null}, "routes": [{"match": {"route": "users"}}]}),
            "is not a policy file",
        ),
        (
            json!({"routes": [{"match": {"route": "users"}, "rate_limits": ["theirs"]}]}),
            "routes[0].rate_limits[0]: team users: may not name the limit `theirs`; none is declared",
        ),
    ] {
        policies.change("users", |file| *file = change);
        let refused = policies.build().expect_err("a bad file");
        assert!(refused.contains(says), "{says} is not in\n{refused}");
        assert!(refused.contains("users.yaml:1:"), "{refused}");
        assert!(refused.contains("error"), "{refused}");
        assert_eq!(fs::read(policies.output()).expect("a built file"), before);
    }
    // Nobody defines what is another's, and nothing is left beside the output.
    let limit = json!({"name": "mine", "key": ["user"], "limit": 1, "window": "1s"});
    for team in ["orders", "users"] {
        policies.change(team, |file| {
            *file = json!({"routes": [{"match": {"route": team}}], "rate_limits": [limit]});
        });
    }
    let refused = policies.build().expect_err("a name twice");
    assert!(
        refused.contains("team users: the limit `mine` is defined by team orders; choose another name"),
        "{refused}"
    );
    let folder = policies.output().parent().expect("a folder").to_owned();
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1);
}

#[test]
fn a_file_that_tollgate_refuses_changes_nothing() {
    let gateway = Bundled::with(built(), |_| {});
    let good = gateway.policies.built();
    let mut bad = good.clone();
    Policies::configure(&mut bad, |configuration| {
        configuration["routes"][0]["auth"] = json!({"any": ["nobody"]});
    });
    gateway.policies.replace(&bad);
    let refused = "configuration refused: routes[0].auth.any[0]: unknown variant `nobody`";
    eventually("the log names the error", || gateway.envoy.log().contains(refused));
    eventually("the refusal is counted", || {
        gateway
            .envoy
            .stats("extension_config_discovery.http_filter.tollgate")
            .iter()
            .any(|(name, count)| name.ends_with("config_fail") && *count == 1)
    });
    assert!(always(&gateway, "/ready", 200) && always(&gateway, "/api/users/1", 401));
    assert!(always(&gateway, "/api/products/1", 200));

    publish(&gateway.policies, "users", true);
    gateway.policies.build().expect("good policies");
    eventually("the next good one is there", || always(&gateway, "/api/users/1", 200));
    gateway.envoy.assert_no_vm_died();
}

#[test]
fn without_a_good_first_file_it_is_not_ready_and_nothing_passes() {
    let policies = built();
    let mut bad = policies.built();
    Policies::configure(&mut bad, |configuration| configuration["version"] = 2.into());
    policies.replace(&bad);
    let gateway = Bundled::with(policies, |_| {});
    assert!(
        gateway.envoy.log().contains("configuration refused: version: is 2"),
        "{}",
        gateway.envoy.log()
    );
    // What Envoy says of itself does not tell.
    assert_eq!(gateway.envoy.admin("/ready").status, 200);
    assert!(always(&gateway, "/ready", 500));
    let authorization = format!("Bearer {}", Issuer::shared().good_token());
    let headers = [("host", "a"), ("authorization", authorization.as_str())];
    for path in ["/api/users/1", "/api/orders", "/api/products/1"] {
        assert_eq!(gateway.envoy.send(&request("GET", path, &headers, b"")).status, 500);
    }
    let sent: u64 = [
        "user-service",
        "order-service",
        "order-service-canary",
        "product-service",
    ]
    .iter()
    .map(|name| gateway.envoy.stat(&format!("cluster.{name}.upstream_rq_total")))
    .sum();
    assert_eq!(sent, 0, "a request has reached an upstream");

    gateway.policies.build().expect("good policies");
    eventually("ready without a restart", || always(&gateway, "/ready", 200));
    assert_eq!(
        gateway
            .envoy
            .send(&request("GET", "/api/users/1", &headers, b""))
            .status,
        200
    );
    gateway.envoy.assert_no_vm_died();
}

/// Envoy itself insists on a file, in the bootstrap.
#[test]
fn without_a_first_file_envoy_does_not_start() {
    match Bundled::try_with(Policies::bundled(), |_| {}) {
        Ok(_) => panic!("Envoy started"),
        Err(Refused { log }) => assert!(log.contains("must refer to an existing path"), "{log}"),
    }
}

/// A volume of Kubernetes: files are links to a folder that is itself a link, and only that is replaced.
#[test]
fn a_volume_whose_link_is_replaced_is_seen() {
    let policies = built();
    let output = policies.output();
    let folder = output.parent().expect("a folder").to_owned();
    let publish_version = |name: &str, file: &Path| {
        fs::create_dir(folder.join(name)).expect("a folder");
        fs::rename(file, folder.join(name).join("tollgate.yaml")).expect("the same file system");
        symlink(name, folder.join("..data.new")).expect("a link");
        fs::rename(folder.join("..data.new"), folder.join("..data")).expect("a link");
    };
    publish_version("..1", &output);
    symlink("..data/tollgate.yaml", &output).expect("a link");
    let gateway = Bundled::with(policies, |_| {});
    assert!(always(&gateway, "/api/users/1", 401));

    publish(&gateway.policies, "users", true);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let new = elsewhere.path().join("tollgate.yaml");
    gateway.policies.build_to(&new).expect("good policies");
    publish_version("..2", &new);
    eventually("the new version is there", || always(&gateway, "/api/users/1", 200));
}
