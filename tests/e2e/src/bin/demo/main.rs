//! The main job, on this machine alone: the bundled gateway, four services behind it, an issuer's tokens and
//! a key service.

mod acts;

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::echo::Seen;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::raw::request;
use tollgate_e2e::server::runtime;

fn main() -> ExitCode {
    let mut gateway = Bundled::start(|_| {});
    if env::args().any(|argument| argument == "--once") {
        return play(&mut gateway);
    }
    runtime().block_on(serve(&gateway));
    ExitCode::SUCCESS
}

/// Until Ctrl-C, or a polite kill: Envoy is ended with this process, not left behind. Whoever reads the invitation may
/// end it at once, so the signals are listened for before.
async fn serve(gateway: &Bundled) {
    let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler");
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    invite(gateway);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// A request, and what must come of it.
struct Scene {
    title: &'static str,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    status: u16,
    code: Option<&'static str>,
    /// What the upstream must have received; `None`: nothing of this name.
    upstream: Vec<(&'static str, Option<&'static str>)>,
}

fn story(gateway: &Bundled) -> Vec<Scene> {
    let good = format!("Bearer {}", token(&json!({})));
    let expired = format!("Bearer {}", token(&json!({"exp": "now-3600"})));
    let forged = format!(
        "Bearer {}",
        Issuer::shared().token(&TokenSpec {
            edit: Some("other_payload".into()),
            ..TokenSpec::default()
        })
    );
    let unscoped = format!("Bearer {}", token(&json!({"scope": "profile"})));
    let key = |gateway: &Bundled| gateway.create_key(&json!({"user_id": "user_ci", "scopes": ["orders.read"]}));
    let (live, revoked) = (key(gateway), key(gateway));
    gateway.revoke_key(&revoked["tg_live_".len()..][..12]);
    let refusal = |title, path, headers, status, code| Scene {
        title,
        method: "GET",
        path,
        headers,
        status,
        code: Some(code),
        upstream: Vec::new(),
    };
    vec![
        refusal("no token", "/api/users/1", vec![], 401, "missing_credentials"),
        refusal(
            "an expired token",
            "/api/users/1",
            vec![("authorization", expired.clone())],
            401,
            "invalid_token",
        ),
        refusal(
            "a token with another payload than was signed",
            "/api/users/1",
            vec![("authorization", forged)],
            401,
            "invalid_token",
        ),
        Scene {
            title: "a good token: the upstream learns who it is, and does not see the token",
            method: "GET",
            path: "/api/users/1",
            headers: vec![("authorization", good.clone())],
            status: 200,
            code: None,
            upstream: vec![
                ("x-user-id", Some("user_abc123")),
                ("x-tenant-id", Some("tenant_xyz")),
                ("x-user-roles", Some("admin,member")),
                ("x-user-scopes", Some("orders.read")),
                ("x-auth-method", Some("jwt")),
                ("authorization", None),
            ],
        },
        Scene {
            title: "a good token and a forged identity",
            method: "GET",
            path: "/api/users/1",
            headers: vec![
                ("x-user-id", "root".into()),
                ("x-user-plan", "gold".into()),
                ("authorization", good),
            ],
            status: 200,
            code: None,
            upstream: vec![("x-user-id", Some("user_abc123")), ("x-user-plan", None)],
        },
        refusal(
            "a token without the scope that orders need",
            "/api/orders",
            vec![("authorization", unscoped)],
            403,
            "insufficient_scope",
        ),
        Scene {
            title: "an API key: its holder is known, and the key itself is not passed on",
            method: "GET",
            path: "/api/orders",
            headers: vec![("x-api-key", live.clone())],
            status: 200,
            code: None,
            upstream: vec![
                ("x-user-id", Some("user_ci")),
                ("x-user-scopes", Some("orders.read")),
                ("x-auth-method", Some("api_key")),
                ("x-api-key", None),
            ],
        },
        refusal(
            "a revoked API key",
            "/api/orders",
            vec![("x-api-key", revoked)],
            401,
            "invalid_api_key",
        ),
        refusal(
            "an API key and a token at once",
            "/api/orders",
            vec![("x-api-key", live), ("authorization", expired.clone())],
            400,
            "multiple_credentials",
        ),
        Scene {
            title: "a public route, with a forged identity",
            method: "GET",
            path: "/api/products/7",
            headers: vec![("x-user-id", "root".into())],
            status: 200,
            code: None,
            upstream: vec![("x-user-id", None), ("x-auth-method", None)],
        },
        Scene {
            title: "a method that the public route does not allow",
            method: "DELETE",
            path: "/api/products/7",
            headers: vec![],
            status: 405,
            code: Some("method_not_allowed"),
            upstream: vec![],
        },
    ]
}

pub(crate) fn token(claims: &Value) -> String {
    let mut all = json!({
        "sub": "user_abc123", "tenant_id": "tenant_xyz", "roles": ["admin", "member"], "scope": "orders.read", "exp": "now+3600",
    });
    for (name, value) in claims.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    Issuer::shared().token(&TokenSpec {
        claims: all.as_object().cloned().unwrap_or_default(),
        ..TokenSpec::default()
    })
}

fn play(gateway: &mut Bundled) -> ExitCode {
    let story = story(gateway);
    let held = story.iter().filter(|scene| perform(&gateway.envoy, scene)).count();
    let (acts_held, acts) = acts::play(gateway);
    let (held, all) = (held + acts_held, story.len() + acts);
    println!("{held} of {all} as expected");
    if held == all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn perform(envoy: &Envoy, scene: &Scene) -> bool {
    println!("# {}", scene.title);
    println!("$ {}", curl(scene, envoy.address()));
    let headers: Vec<_> = [("host", "localhost")]
        .into_iter()
        .chain(scene.headers.iter().map(|(name, value)| (*name, value.as_str())))
        .collect();
    let response = envoy.send(&request(scene.method, scene.path, &headers, b""));
    println!("{}", response.status);
    for (name, value) in &response.headers {
        if ["www-authenticate", "allow"].contains(&name.as_str()) {
            println!("{name}: {value}");
        }
    }
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let holds = response.status == scene.status
        && match scene.code {
            Some(code) => {
                println!("{body}");
                body["code"] == code
            }
            None => serde_json::from_value(body).is_ok_and(|seen| arrived(&seen, scene)),
        };
    println!("{}\n", if holds { "ok" } else { "NOT AS EXPECTED" });
    holds
}

fn arrived(seen: &Seen, scene: &Scene) -> bool {
    println!("{} received {} {}", seen.service, seen.method, seen.path);
    for (name, value) in seen
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-user") || name.starts_with("x-tenant") || name.starts_with("x-auth"))
    {
        println!("  {name}: {value}");
    }
    scene
        .upstream
        .iter()
        .all(|(name, expected)| seen.all(name) == expected.iter().copied().collect::<Vec<_>>())
}

/// The request as a command; tokens are cut short.
fn curl(scene: &Scene, address: SocketAddr) -> String {
    let mut line = format!("curl -i http://{address}{}", scene.path);
    if scene.method != "GET" {
        line = format!("{line} -X {}", scene.method);
    }
    for (name, value) in &scene.headers {
        let shown = if value.len() > 40 {
            format!("{}...", &value[..24])
        } else {
            value.clone()
        };
        line = format!("{line} -H '{name}: {shown}'");
    }
    line
}

fn invite(gateway: &Bundled) {
    let (address, edge) = (gateway.envoy.address(), gateway.envoy.listener(1).port());
    println!(
        "The gateway listens on http://{address} and https://localhost:{edge}, Envoy's administration on http://{}.

TOKEN='{}'

curl -i http://{address}/api/users/1                                        # 401: no token
curl -i http://{address}/api/users/1 -H 'Authorization: Bearer nonsense'    # 401: bad token
curl -i http://{address}/api/users/1 -H \"Authorization: Bearer $TOKEN\"      # 200: what the service received
curl -i http://{address}/api/users/1 -H \"Authorization: Bearer $TOKEN\" -H 'X-User-Id: root'   # 200: the forged header is gone
curl -i http://{address}/api/orders  -H \"Authorization: Bearer $TOKEN\"      # 200: the token has the scope
curl -i http://{address}/api/products/7                                     # 200: public
curl -i http://{address}/api/products/7 -X DELETE                           # 405
curl -i http://{address}/api/dashboard -H \"Authorization: Bearer $TOKEN\"   # 200: one answer of four services
curl -i http://{address}/ready                                              # 200: the policies are loaded
curl -i --cacert target/certs/ca.crt https://localhost:{edge}/api/products/7   # 200: over TLS

For API keys, in another shell here:
",
        gateway.envoy.admin_address(),
        token(&json!({}))
    );
    for (name, value) in &gateway.environment {
        println!("export {name}='{value}'");
    }
    println!(
        "export GATEWAY=http://{address} PATH=\"$PWD/target/debug:$PATH\"
KEY=$(tollgate keys create --user me --scope orders.read)
curl -i $GATEWAY/api/orders -H \"x-api-key: $KEY\"                          # 200

Ctrl-C ends it."
    );
}
