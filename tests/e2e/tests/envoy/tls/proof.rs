//! The proof for services that cannot do mutual TLS, checked by the code that docs/TLS.md shows.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::case::repository;
use tollgate_e2e::echo::{Echo, Seen};
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::raw::request;

use super::bearer;

const SECRET: &str = "a-secret-that-gateway-and-services-share";

/// Whether the documented code takes each of these for the gateway's.
fn judged(requests: &[Value]) -> Vec<bool> {
    let document = fs::read_to_string(repository().join("docs/TLS.md")).expect("docs/TLS.md");
    let shown = document
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let script = format!(
        "{}
import json, sys
GATEWAYS = sorted(GATEWAYS + ['x-payload'])
for line in sys.stdin:
    seen = json.loads(line)
    print(is_the_gateways(b'{SECRET}', seen['method'], seen['path'], dict(seen['headers'])))
",
        shown.expect("a block of Python")
    );
    let mut command = Command::new("python3");
    let mut child = command
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut input = child.stdin.take().expect("its input");
    for request in requests {
        writeln!(input, "{request}").expect("a line");
    }
    drop(input);
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line == "True")
        .collect()
}

#[test]
fn a_service_can_tell_the_gateways_requests_by_the_documented_code() {
    let upstream = Echo::start("upstream");
    let mut config = one_issuer(json!([
        {"match": {"path_prefix": "/public"}, "public": true},
        {"match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}, "request": {"headers": {"set": {"x-rule": "said"}}}},
    ]));
    config["jwt"]["issuers"][0]["payload_header"] = "x-payload".into();
    config["identity"] = json!({"proof": {"secret": {"env": "PROOF"}}});
    let mut bare = Bare::new(config, &upstream);
    bare.environment.insert("PROOF".into(), SECRET.into());
    let envoy = Envoy::start(&bare.bootstrap());
    let bearer = bearer();
    let send = |path: &str, headers: &[(&str, &str)]| -> Seen {
        let forged = [
            ("host", "a"),
            ("x-tollgate-proof", "t=1,v2=00"),
            ("x-user-plan", "gold"),
        ];
        let response = envoy.send(&request("GET", path, &[&forged, headers].concat(), b""));
        assert_eq!(response.status, 200, "{}", response.text());
        upstream.take().pop().expect("a request")
    };
    let genuine = send("/orders/1?a=b%20c", &[("authorization", &bearer)]);
    let nobodys = send("/public", &[]);
    let seen = |seen: &Seen| serde_json::to_value(seen).expect("JSON");
    let mut requests = vec![seen(&genuine), seen(&nobodys)];
    let change = |of: &Seen, change: &dyn Fn(&mut Seen)| {
        let mut changed = of.clone();
        change(&mut changed);
        seen(&changed)
    };
    let set = |name: &'static str, value: &'static str| {
        move |seen: &mut Seen| {
            seen.headers.retain(|(own, _)| own != name);
            seen.headers.push((name.into(), value.into()));
        }
    };
    let is_new = genuine.all("x-tollgate-proof")[0].to_owned();
    requests.extend([
        change(&genuine, &set("x-user-id", "root")),
        change(&genuine, &set("x-user-plan", "gold")),
        change(&nobodys, &set("x-user-id", "root")),
        change(&genuine, &|seen| seen.method = "DELETE".into()),
        change(&genuine, &|seen| seen.path = "/orders/2".into()),
        change(&genuine, &|seen| {
            seen.headers.retain(|(name, _)| name != "x-tollgate-proof")
        }),
        change(&genuine, &set("x-tollgate-proof", "t=1,v2=00")),
        // What is no proof is refused, and raises nothing.
        change(&genuine, &set("x-tollgate-proof", "t=\u{b2},v2=00")),
        change(&genuine, &set("x-tollgate-proof", "t=\u{664},v2=\u{664}")),
        change(&genuine, &|seen| {
            let strange = format!("{is_new}\u{e9}");
            seen.headers.retain(|(name, _)| name != "x-tollgate-proof");
            seen.headers.push(("x-tollgate-proof".into(), strange));
        }),
        change(&genuine, &set("x-tollgate-proof", "v2,t,=,,t=99999999999999999999999")),
        change(&genuine, &set("x-user-id", "\u{20ac}")),
        change(&genuine, &set("host", "b")),
        change(&genuine, &set("x-payload", "e30")),
        change(&genuine, &|seen| {
            // The same, said to be of another time.
            let old = is_new.replace("t=", "t=1");
            seen.headers.retain(|(name, _)| name != "x-tollgate-proof");
            seen.headers.push(("x-tollgate-proof".into(), old));
        }),
    ]);
    let expected: Vec<_> = (0..requests.len()).map(|place| place < 2).collect();
    assert_eq!(judged(&requests), expected);
}
