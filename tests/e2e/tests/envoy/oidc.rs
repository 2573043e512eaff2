//! A real OpenID Connect provider issues the tokens, and serves discovery and keys.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tollgate_e2e::bootstrap::{Bare, one_issuer};
use tollgate_e2e::case::repository;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::raw::{self, Response, request};

/// The provider's process.
struct Provider {
    child: Child,
    address: SocketAddr,
}

impl Provider {
    fn start() -> Self {
        let packages = repository().join("target/tools/oidc");
        assert!(
            packages.exists(),
            "{} is missing: run scripts/setup",
            packages.display()
        );
        let reserved = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = reserved.local_addr().expect("an address");
        drop(reserved);
        let child = Command::new("python3")
            .env("PYTHONPATH", packages)
            .args([
                "-W",
                "ignore",
                "-m",
                "oidc_provider_mock",
                "--port",
                &address.port().to_string(),
            ])
            .args([
                "--user-claims",
                r#"{"sub": "alice", "email": "alice@example.com", "roles": ["admin", "member"]}"#,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 runs");
        let provider = Self { child, address };
        eventually("the provider answers", || {
            raw::get(address, "/.well-known/openid-configuration").is_ok()
        });
        provider
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The authorization code flow (RFC 6749 section 4.1), as a browser and a client would go through it.
    fn log_in(&self, user: &str) -> String {
        let query =
            "client_id=api&redirect_uri=http://127.0.0.1:1/callback&response_type=code&scope=openid+email&state=x";
        let answer = self.post(&format!("/oauth2/authorize?{query}"), &format!("sub={user}"));
        let location = answer
            .header("location")
            .unwrap_or_else(|| panic!("no redirect: {}", answer.text()));
        let code = location
            .split(['?', '&'])
            .find_map(|part| part.strip_prefix("code="))
            .expect("a code");
        let form = format!(
            "grant_type=authorization_code&code={code}&redirect_uri=http://127.0.0.1:1/callback&client_id=api&client_secret=s"
        );
        let tokens = self.post("/oauth2/token", &form).json();
        tokens["id_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{tokens}"))
            .to_owned()
    }

    /// The provider takes its own name from `Host`, so that must be the issuer's.
    fn post(&self, path: &str, form: &str) -> Response {
        let host = self.address.to_string();
        let headers = [
            ("host", host.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        raw::send(self.address, &request("POST", path, &headers, form.as_bytes())).expect("an answer")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tokens_of_a_real_provider_pass_and_its_end_is_survived() {
    let provider = Provider::start();
    let mut config = one_issuer(json!([{"match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}}]));
    let issuer = &mut config["jwt"]["issuers"][0];
    issuer["issuer"] = provider.issuer().into();
    issuer["algorithms"] = json!(["RS256"]);
    issuer["jwks"] = json!({"remote": {"cluster": "issuer", "discovery": true, "refresh": "1s", "cooldown": "1s"}});
    let bare = Bare {
        clusters: vec![("issuer", provider.address)],
        ..Bare::new(config, &Echo::start("upstream"))
    };
    let envoy = Envoy::start(&bare.bootstrap());
    let ask = |token: &str| {
        let authorization = format!("Bearer {token}");
        envoy.send(&request(
            "GET",
            "/",
            &[("host", "a"), ("authorization", &authorization)],
            b"",
        ))
    };

    let token = provider.log_in("alice");
    let response = ask(&token);
    assert_eq!(response.status, 200, "{}\n{}", response.text(), envoy.log());
    let headers = response.json()["headers"].clone();
    let header = |name: &str| {
        headers
            .as_array()
            .expect("headers")
            .iter()
            .find(|pair| pair[0] == name)
            .map(|pair| pair[1].clone())
    };
    assert_eq!(header("x-user-id"), Some("alice".into()));
    assert_eq!(header("x-auth-issuer"), Some(provider.issuer().into()));
    assert_eq!(ask(&format!("{}x", &token[..token.len() - 5])).status, 401);

    let failures = "wasmcustom.tollgate_jwks_fetch_total;issuer=main;outcome=failed;";
    let other = provider.log_in("bob");
    drop(provider);
    eventually("the issuer is missed", || {
        envoy.stats(failures).iter().any(|(_, count)| *count > 0)
    });
    assert_eq!(ask(&token).status, 200, "a known token");
    assert_eq!(ask(&other).status, 200, "a token that nobody has seen");
    envoy.assert_no_vm_died();
}
