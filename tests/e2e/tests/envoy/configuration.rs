//! How a configuration reaches the plugin, and what becomes of a bad one.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, Form, one_issuer};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, Options, Refused, eventually};
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::raw::{get, request};

/// One protected and one public path.
fn config() -> Value {
    one_issuer(json!([
        {"match": {"path_prefix": "/public"}, "public": true},
        {"match": {"path_prefix": "/private"}, "auth": {"any": ["jwt"]}},
    ]))
}

fn gateway(config: Value, form: Form) -> Bare {
    Bare {
        form,
        ..Bare::new(config, &Echo::start("upstream"))
    }
}

fn status(address: SocketAddr, path: &str) -> u16 {
    get(address, path).expect("an answer").status
}

fn refused(config: Value, form: Form) -> String {
    match Envoy::try_start(&gateway(config, form).bootstrap(), &Options::default()) {
        Ok(_) => panic!("Envoy started"),
        Err(Refused { log }) => log,
    }
}

#[test]
fn a_struct_and_json_text_are_taken_alike() {
    for form in [Form::Struct, Form::Text, Form::Raw(format!("\n  {}\n", config()))] {
        let envoy = Envoy::start(&gateway(config(), form).bootstrap());
        assert_eq!(status(envoy.address(), "/public"), 200);
        assert_eq!(status(envoy.address(), "/private"), 401);
        let authorization = format!("Bearer {}", Issuer::shared().good_token());
        let headers = [("host", "a"), ("authorization", authorization.as_str())];
        assert_eq!(envoy.send(&request("GET", "/private", &headers, b"")).status, 200);
    }
}

#[test]
fn a_bad_configuration_stops_envoy_and_names_every_mistake() {
    let mut bad = config();
    bad["jwt"]["issuers"][0]["jwks"] = json!({"secrets": [{"env": "NOT_THERE"}]});
    bad["jwt"]["issuers"][0]["claims"] = json!({"attributes": {"email": "email"}});
    bad["routes"][1]["auth"] = json!({"any": [{"jwt": ["nobody"]}]});
    bad["routes"][0]["public"] = false.into();
    let log = refused(bad, Form::Struct);
    for message in [
        "jwt.issuers[0].jwks.secrets[0]: the environment has no `NOT_THERE`",
        "jwt.issuers[0].claims.attributes.email: nothing defines \"email\"",
        "routes[1].auth.any[0].jwt[0]: no issuer is called \"nobody\"; there is main",
        "routes[0]: says neither `auth` nor `public: true`",
    ] {
        assert!(log.contains(message), "{message} is not in\n{log}");
    }
}

#[test]
fn what_is_no_configuration_stops_envoy() {
    for (text, message) in [
        ("", "missing field `version`"),
        ("version: 1", "is neither a JSON object nor a google.protobuf.Struct"),
        ("{\"version\": 1,", "EOF while parsing"),
        ("{\"version\": 1, \"rotes\": []}", "rotes: unknown field `rotes`"),
    ] {
        let log = refused(json!({}), Form::Raw(text.into()));
        assert!(log.contains(message), "{text:?}: {message} is not in\n{log}");
    }
}

#[test]
fn an_update_reaches_every_worker_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.json");
    let mut gateway = gateway(config(), Form::Discovered(path.display().to_string()));
    replace(&path, &gateway.discovery_file());
    let envoy = Envoy::with_workers(4, &gateway.bootstrap());
    assert_eq!(status(envoy.address(), "/public"), 200);

    gateway.config["routes"][0] = json!({"match": {"path_prefix": "/public"}, "auth": {"any": ["jwt"]}});
    replace(&path, &gateway.discovery_file());
    // Connections are spread over the workers: many in a row say the same once all have it.
    eventually("the update is there", || {
        (0..40).all(|_| status(envoy.address(), "/public") == 401)
    });

    gateway.config["routes"][0] = json!({"match": {"path_prefix": "/public"}, "pubic": true});
    replace(&path, &gateway.discovery_file());
    eventually("the bad update is refused", || {
        envoy
            .log()
            .contains("configuration refused: routes[0].pubic: unknown field `pubic`")
    });
    assert!(
        (0..40).all(|_| status(envoy.address(), "/public") == 401),
        "the old configuration serves"
    );

    gateway.config["routes"][0] = json!({"match": {"path_prefix": "/public"}, "public": true});
    replace(&path, &gateway.discovery_file());
    eventually("the next good update is there", || {
        (0..40).all(|_| status(envoy.address(), "/public") == 200)
    });
    envoy.assert_no_vm_died();
}

#[test]
fn a_bad_first_file_starts_an_envoy_that_refuses_every_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.json");
    let gateway = gateway(json!({"version": 2}), Form::Discovered(path.display().to_string()));
    replace(&path, &gateway.discovery_file());
    // Unlike a bad configuration in the bootstrap, Envoy starts, and calls itself ready.
    let envoy = Envoy::start(&gateway.bootstrap());
    assert!(
        envoy.log().contains("configuration refused: version: is 2"),
        "{}",
        envoy.log()
    );
    assert_eq!(status(envoy.address(), "/public"), 500);
}

/// As an operator should: a file that is complete when it appears.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(&new, path).expect("the same folder");
}
