//! The service over HTTP: who may ask what, and what comes back.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_e2e::postgres::Postgres;
use tollgate_e2e::raw::Response;

use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    keys_are_administered_over_http,
    a_gateway_finds_keys_by_their_hashes,
    tokens_are_not_interchangeable,
    errors_are_problems,
    a_record_that_no_gateway_could_keep_is_refused,
    connections_that_say_nothing_keep_nobody_out,
);

fn a_record_that_no_gateway_could_keep_is_refused(world: &World) {
    let service = world.serve(&[]);
    let attributes = |count: usize| {
        (0..count)
            .map(|place| (format!("a{place}"), json!(["x".repeat(3900)])))
            .collect::<Value>()
    };
    for (count, status) in [(4, 201), (5, 422)] {
        let body = json!({"user_id": "u1", "attributes": attributes(count)});
        let made = world.admin(&service, "POST", "/v1/keys", Some(&body));
        assert_eq!(made.status, status, "{}", made.text());
    }
}

fn connections_that_say_nothing_keep_nobody_out(world: &World) {
    use std::io::Write as _;
    let service = world.serve(&[]);
    let silent: Vec<_> = (0..600)
        .map(|number| {
            let mut stream = std::net::TcpStream::connect(service.address()).expect("a connection");
            if number % 2 == 0 {
                stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").expect("sent");
            }
            stream
        })
        .collect();
    // Those who wait get a place when the silent ones have lost theirs.
    let answer = world.admin(&service, "GET", "/v1/keys", None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    drop(silent);
}

fn keys_are_administered_over_http(world: &World) {
    let service = world.serve(&[]);
    let body = json!({"user_id": "u1", "tenant_id": "t1", "name": "n", "roles": ["r"], "lifetime": "30d"});
    let made = world.admin(&service, "POST", "/v1/keys", Some(&body));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let made = made.json();
    let key = made["key"].as_str().unwrap();
    let id = made["record"]["id"].as_str().unwrap();
    assert_eq!(made["record"]["hash"], world.hash("v2", key));
    assert_eq!(made["record"]["roles"], json!(["r"]));

    let rotate = |id: &str, body: Option<&Value>| world.admin(&service, "POST", &format!("/v1/keys/{id}/rotate"), body);
    let rotated = rotate(id, Some(&json!({"overlap": "0s"})));
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let new = rotated.json()["record"].clone();
    assert_eq!(new["expires_at"], made["record"]["expires_at"]);
    assert_eq!(rotate(id, None).status, 409);
    assert_eq!(rotate("nobody", None).status, 404);

    let old = world.lookup(&service, key)["key"].clone();
    assert!(old["expires_at"].as_str() < new["expires_at"].as_str(), "{old}");

    let import = |body: &Value| world.admin(&service, "POST", "/v1/keys/import", Some(body));
    let imported = json!({"id": "kong-1", "hash": world.hash("v1", "elsewhere"), "user_id": "u2"});
    assert_eq!(import(&imported).status, 201);
    assert_eq!(import(&imported).status, 409);
    assert_eq!(world.lookup(&service, "elsewhere")["key"]["id"], "kong-1");

    let list = |query: &str| world.admin(&service, "GET", &format!("/v1/keys{query}"), None).json();
    assert_eq!(list("")["keys"].as_array().unwrap().len(), 2);
    assert_eq!(list("?all=true")["keys"].as_array().unwrap().len(), 3);
    assert_eq!(list("?user_id=u2")["keys"][0]["id"], "kong-1");
    assert_eq!(list("?tenant_id=t1")["keys"][0]["id"], new["id"]);
    for empty in ["user_id=", "tenant_id=", "user_id=u2&tenant_id=", "after="] {
        let answer = world.admin(&service, "GET", &format!("/v1/keys?{empty}"), None);
        assert_eq!(answer.status, 400, "{empty}: {}", answer.text());
    }
    assert_ne!(world.run(&["list", "--user", ""]).code, 0);
    let (mut query, mut seen) = ("?all=true&limit=1".to_owned(), 0);
    loop {
        let page = list(&query);
        seen += page["keys"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?all=true&limit=1&after={next}");
    }
    assert_eq!(seen, 3);

    let revoke = |id: &str| world.admin(&service, "POST", &format!("/v1/keys/{id}/revoke"), None);
    let revoked = revoke("kong-1");
    assert!(
        revoked.status == 200 && revoked.json()["status"] == "revoked",
        "{}",
        revoked.text()
    );
    assert_eq!(revoke("kong-1").json()["revoked_at"], revoked.json()["revoked_at"]);
    assert_eq!(revoke("nobody").status, 404);
    let (ended_well, log) = service.stop();
    world.saw(&log);
    assert!(ended_well && log.ends_with("tollgate keys: stopped\n"), "{log}");
}

fn a_gateway_finds_keys_by_their_hashes(world: &World) {
    let service = world.serve(&[]);
    let (key, id) = world.create(&["--user", "u1", "--tenant", "t1", "--scope", "read"]);
    let found = world.lookup(&service, &key);
    assert_eq!(
        found,
        json!({"version": 1, "key": {
            "id": id, "hash": world.hash("v2", &key), "user_id": "u1", "tenant_id": "t1", "scopes": ["read"],
        }})
    );
    assert_eq!(world.lookup(&service, "unknown"), json!({"version": 1, "key": null}));
    // Keys that are not valid now are found: the gateway looks at the clock.
    let (later, _) = world.create(&["--user", "u2", "--not-before", "2090-01-01T00:00:00Z"]);
    assert_eq!(
        world.lookup(&service, &later)["key"]["not_before"],
        "2090-01-01T00:00:00Z"
    );
    let (short, _) = world.create(&["--user", "u3", "--lifetime", "1s"]);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert_eq!(world.lookup(&service, &short)["key"]["user_id"], "u3");
    world.ok(&["revoke", &id]);
    assert_eq!(world.lookup(&service, &key)["key"], Value::Null, "revoked");
    world.saw(&service.kill());
}

fn tokens_are_not_interchangeable(world: &World) {
    let service = world.serve(&[]);
    let (_, id) = world.create(&["--user", "u"]);
    let health = service.request("GET", "/healthz", None, None);
    assert_eq!((health.status, health.text().as_str()), (200, r#"{"status":"ok"}"#));
    let hashes = json!({"hashes": [world.hash("v1", "x")]});
    let new = json!({"user_id": "u"});
    let (revoke, rotate) = (format!("/v1/keys/{id}/revoke"), format!("/v1/keys/{id}/rotate"));
    for (method, path, body, right) in [
        ("POST", "/v1/keys/lookup", Some(&hashes), world.lookup_token()),
        ("GET", "/v1/keys/changes", None, world.lookup_token()),
        ("POST", "/v1/keys", Some(&new), world.admin_token()),
        ("GET", "/v1/keys", None, world.admin_token()),
        ("POST", "/v1/keys/import", Some(&new), world.admin_token()),
        ("POST", &rotate, None, world.admin_token()),
        ("POST", &revoke, None, world.admin_token()),
    ] {
        let wrong = if right == world.admin_token() {
            world.lookup_token()
        } else {
            world.admin_token()
        };
        for token in [None, Some("x"), Some(wrong)] {
            let refused = service.request(method, path, token, body);
            assert_eq!(refused.status, 401, "{method} {path} {token:?}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
            assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        }
    }
    assert_eq!(world.ok(&["events"]).lines().count(), 1, "nothing happened");
    world.saw(&service.kill());
}

fn errors_are_problems(world: &World) {
    let service = world.serve(&[]);
    let problem = |answer: Response, status: u16, detail: &str| {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let body = answer.json();
        assert!(body["status"] == status && body["type"] == "about:blank", "{body}");
        assert!(body["title"].is_string(), "{body}");
        assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
    };
    let post = |body: Value| world.admin(&service, "POST", "/v1/keys", Some(&body));
    problem(post(json!({"user_id": ""})), 422, "user_id must be");
    problem(post(json!({"user": "u"})), 422, "unknown field");
    problem(post(json!({"user_id": "u", "expires_at": null})), 422, "null");
    problem(post(json!({"user_id": "u", "lifetime": "1w"})), 422, "a span is");
    problem(post(json!({"user_id": "u", "id": "mine"})), 422, "imported");
    problem(post(json!({"user_id": "u".repeat(70_000)})), 413, "65536");
    problem(post(json!("not an object")), 422, "");
    problem(world.admin(&service, "POST", "/v1/keys", None), 400, "not JSON");
    problem(world.admin(&service, "GET", "/v1/keys?limit=0", None), 400, "limit");
    problem(
        world.admin(&service, "GET", "/v1/keys?user=u", None),
        400,
        "unknown field",
    );
    problem(world.admin(&service, "GET", "/v2", None), 404, "path");
    problem(world.admin(&service, "DELETE", "/v1/keys", None), 405, "method");
    let lookup = |body: Value| world.ask(&service, "POST", "/v1/keys/lookup", Some(&body));
    problem(lookup(json!({"hashes": []})), 422, "1 to 8");
    problem(lookup(json!({"hashes": vec![world.hash("v1", "x"); 9]})), 422, "1 to 8");
    problem(lookup(json!({"hashes": ["x"]})), 422, "a hash is");
    problem(
        world.ask(&service, "GET", "/v1/keys/changes?wait=31", None),
        400,
        "at most 30",
    );
    problem(world.ask(&service, "GET", "/v1/keys/changes?after=-1", None), 400, "");
    assert_eq!(world.ok(&["events"]), "");
    world.saw(&service.kill());
}

#[test]
fn without_its_database_the_service_says_so() {
    let postgres = Arc::new(Postgres::start());
    let world = World::on(Arc::clone(&postgres));
    let service = world.serve(&[]);
    let body = json!({"hashes": [world.hash("v1", "x")]});
    assert_eq!(world.ask(&service, "POST", "/v1/keys/lookup", Some(&body)).status, 200);
    postgres.stop();
    assert_eq!(service.request("GET", "/healthz", None, None).status, 503);
    for answer in [
        world.ask(&service, "POST", "/v1/keys/lookup", Some(&body)),
        world.ask(&service, "GET", "/v1/keys/changes?after=0&wait=5", None),
        world.admin(&service, "GET", "/v1/keys", None),
    ] {
        assert_eq!(answer.status, 503, "not `unknown`: {}", answer.text());
        assert!(!answer.text().contains("PGSQL"), "{}", answer.text());
    }
    let (ended_well, log) = service.stop();
    assert!(ended_well && log.contains("a request failed"), "{log}");
}
