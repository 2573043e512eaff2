//! What was Kong's, run by Envoy with Tollgate.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_e2e::collector::Collector;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::imported::{Imported, example};
use tollgate_e2e::issuer::{Issuer, TokenSpec};
use tollgate_e2e::rate_limit_service::{RateLimitService, Redis};
use tollgate_e2e::raw::{self, Response, request};

fn ask(gateway: &Envoy, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let headers = [&[("host", "gateway")], headers].concat();
    gateway.send(&request(method, path, &headers, b""))
}

/// How many of these requests pass, one after another on one connection.
fn allowed(gateway: &Envoy, path: &str, token: &str, count: usize) -> usize {
    let mut connection = TcpStream::connect(gateway.address()).expect("a connection");
    let ask = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: {token}\r\n\r\n");
    let mut is_allowed = || {
        connection.write_all(ask.as_bytes()).expect("it takes a request");
        raw::read(&mut connection, false).expect("an answer").status == 200
    };
    (0..count).filter(|_| is_allowed()).count()
}

/// Holds what has passed to a limit of a minute. Kong lets pass what could not be counted in time, which a busy machine has some of: that is
/// told by a metric. A fixed window begins a new count after a minute, and a sliding one forgets the last as time goes by.
fn counted(gateway: &Envoy, passed: usize, (limit, is_sliding): (u64, bool), begun: Instant, what: &str) {
    let elapsed = begun.elapsed().as_secs() + 1;
    let more = if is_sliding {
        limit * elapsed / 60
    } else {
        elapsed / 60 * limit
    };
    let sum = |metric: &str| gateway.stats(metric).iter().map(|(_, count)| count).sum::<u64>();
    let asked = || sum("tollgate_requests_total");
    let mut before = asked();
    // Metrics are a second late.
    eventually("metrics have come", || {
        std::thread::sleep(Duration::from_secs(2));
        let now = asked();
        std::mem::replace(&mut before, now) == now
    });
    let most = limit + more + sum("tollgate_rate_limit_faults_total");
    let passed = u64::try_from(passed).expect("a number");
    assert!(
        (limit..=most).contains(&passed),
        "{what}: {passed} of {limit} to {most}"
    );
}

#[test]
fn the_articles_configuration_answers_with_its_services_its_tokens_and_its_limits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let issuer = folder.path().join("issuer.yaml");
    let own = json!({
        "name": "main", "issuer": "https://issuer.example", "audiences": ["api"], "algorithms": ["ES256"],
        "jwks": {"inline": Issuer::shared().jwks()},
    });
    fs::write(&issuer, own.to_string()).expect("a file");
    let document = example("document.yaml");
    assert_eq!(Imported::from_kong(&document, &[]).status, 2, "a placeholder waits");
    let imported = Imported::from_kong(&document, &["--issuer", issuer.to_str().expect("a path")]);
    assert_eq!(imported.status, 0, "{}", imported.told);

    let redis = Redis::start();
    let limiter = RateLimitService::start(&redis, true, &imported.limits());
    let (users, orders, collector) = (
        Echo::start("user-service"),
        Echo::start("orders-service"),
        Collector::start(),
    );
    let gateway = imported.start(&BTreeMap::from([
        ("user-service", users.address),
        ("orders-service", orders.address),
        ("rate-limit-service", limiter.address),
        ("otel-collector", collector.address),
    ]));
    assert_eq!(ask(&gateway, "GET", "/ready", &[]).status, 200);
    for path in ["/api/users/1", "/api/orders/1"] {
        let refused = ask(&gateway, "GET", path, &[]);
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (401, Some("missing_credentials"))
        );
        let spec = TokenSpec {
            key: Some("stranger".into()),
            ..TokenSpec::default()
        };
        let stranger = format!("Bearer {}", Issuer::shared().token(&spec));
        assert_eq!(ask(&gateway, "GET", path, &[("authorization", &stranger)]).status, 401);
    }
    let good = Issuer::shared().bearer(&json!({"sub": "ada"}));
    let forged = [
        ("authorization", good.as_str()),
        ("x-consumer-username", "root"),
        ("x-authenticated-userid", "root"),
    ];
    for (method, path, service, seen_path) in [
        ("GET", "/api/users/1?a=b", &users, "/1?a=b"),
        ("POST", "/api/users", &users, "/"),
        ("DELETE", "/api/orders/7", &orders, "/7"),
    ] {
        let answer = ask(&gateway, method, path, &forged);
        assert_eq!(answer.status, 200, "{method} {path}");
        let seen = service.take().pop().expect("a request");
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            (method, seen_path),
            "Kong takes the route's path away"
        );
        assert_eq!(seen.all("x-consumer-username"), ["ada"]);
        assert_eq!(seen.all("x-authenticated-userid"), ["ada"]);
        assert_eq!(seen.all("host"), [format!("{}:8080", seen.service)]);
        assert_eq!(seen.all("traceparent").len(), 1);
    }
    // Kong's routes are for these methods and paths alone.
    for (method, path) in [("DELETE", "/api/users/1"), ("GET", "/api/products"), ("GET", "/")] {
        assert_eq!(ask(&gateway, method, path, &forged).status, 404, "{method} {path}");
    }
    eventually("spans come", || {
        collector.spans().iter().any(|span| span.service == "api-gateway")
    });

    // A consumer's limits: 500 a minute for orders, and 1000 for users and for both together.
    let bob = Issuer::shared().bearer(&json!({"sub": "bob"}));
    let begun = Instant::now();
    let orders = allowed(&gateway, "/api/orders/1", &bob, 510);
    counted(&gateway, orders, (500, false), begun, "orders");
    let mut over = None;
    eventually("what is over the limit is refused", || {
        over =
            Some(ask(&gateway, "GET", "/api/orders/1", &[("authorization", &bob)])).filter(|over| over.status != 200);
        over.is_some()
    });
    let over = over.expect("a refusal");
    assert_eq!((over.status, over.json()["code"].as_str()), (429, Some("rate_limited")));
    assert_eq!(over.header("x-ratelimit-limit"), Some("500"));
    let seconds: u64 = over.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    let both = orders + allowed(&gateway, "/api/users/1", &bob, 510);
    counted(&gateway, both, (1000, true), begun, "both together");
    let carol = Issuer::shared().bearer(&json!({"sub": "carol"}));
    let begun = Instant::now();
    let users = allowed(&gateway, "/api/users/1", &carol, 1010);
    counted(
        &gateway,
        users,
        (1000, false),
        begun,
        "another consumer has limits of its own",
    );
    let counted = || {
        let calls = gateway.stats("tollgate_rls_calls_total;outcome=ok");
        calls.iter().map(|(_, count)| count).sum::<u64>()
    };
    eventually("Redis has counted", || counted() >= 1000);
    gateway.assert_no_vm_died();
}

#[test]
fn consumers_come_in_with_the_credentials_that_they_have() {
    let issuer = Issuer::shared();
    let secret = issuer.secret();
    let kong = json!({
        "_format_version": "3.0",
        "services": [{
            "name": "things", "url": "http://things/v1",
            "routes": [
                {"name": "tokens", "paths": ["/tokens"], "plugins": [
                    {"name": "jwt", "config": {}},
                    {"name": "rate-limiting-advanced", "config": {"limit": [2], "window_size": [3600], "window_type": "fixed"}},
                ]},
                {"name": "keys", "paths": ["/keys"], "plugins": [{"name": "key-auth", "config": {"key_names": ["x-key"]}}]},
                {"name": "both", "paths": ["/both"], "plugins": [{"name": "key-auth", "config": {}}, {"name": "jwt", "config": {}}]},
                {"name": "acl", "paths": ["/acl"], "plugins": [{"name": "acl", "config": {"allow": ["x"]}}]},
                {"name": "open", "paths": ["/open"], "plugins": []},
                {"name": "item", "paths": ["~/items/(?<id>\\d+)$"], "strip_path": false, "plugins": [
                    {"name": "request-transformer", "config": {
                        "remove": {"headers": ["x-gone"], "querystring": ["debug"]},
                        "rename": {"headers": ["x-old:x-new"]},
                        "replace": {"querystring": ["page:1"]},
                        "add": {"headers": ["x-source:{kong}", "x-copy:$(headers.X-Old2)"]},
                        "append": {"headers": ["x-list:b"]},
                    }},
                ]},
                {"name": "hosts", "hosts": ["*.example.com"], "paths": ["/open"], "preserve_host": true, "plugins": [
                    {"name": "request-transformer", "config": {"replace": {"uri": "/of-a-host"}}},
                ]},
            ],
        }],
        "consumer_groups": [
            {"name": "gold", "plugins": [{"name": "rate-limiting-advanced", "config": {"limit": [4], "window_size": [3600]}}]},
        ],
        "consumers": [
            {"username": "ada", "groups": [{"name": "gold"}],
             "jwt_secrets": [{"key": "ada-hs", "algorithm": "HS512", "secret": secret}]},
            {"username": "bob",
             "jwt_secrets": [{"key": "bob-es", "algorithm": "ES256", "rsa_public_key": issuer.pem("p256")}],
             "keyauth_credentials": [{"key": "bob-0123456789abcdef"}]},
            {"username": "eve", "jwt_secrets": [{"key": "eve-rs", "algorithm": "RS256", "rsa_public_key": issuer.pem("rsa")}]},
        ],
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("kong.json");
    fs::write(&file, kong.to_string()).expect("a file");
    let imported = Imported::from_kong(&file, &["--audience", "api"]);
    assert_eq!(imported.status, 2, "two routes wait: {}", imported.told);
    let things = Echo::start("things");
    let gateway = imported.start(&BTreeMap::from([("things", things.address)]));
    let by_token = |key: &str, issuer: &str, algorithm: &str| {
        let spec = TokenSpec {
            key: Some(key.into()),
            algorithm: Some(algorithm.into()),
            claims: json!({"iss": issuer}).as_object().expect("an object").clone(),
            without: vec!["sub".into()],
            ..TokenSpec::default()
        };
        format!("Bearer {}", Issuer::shared().token(&spec))
    };
    let (ada, bob, eve) = (
        by_token("hmac", "ada-hs", "HS512"),
        by_token("p256", "bob-es", "ES256"),
        by_token("rsa", "eve-rs", "RS256"),
    );
    for (name, credential, calls) in [("ada", &ada, 4), ("bob", &bob, 2), ("eve", &eve, 2)] {
        let headers = [("authorization", credential.as_str())];
        for call in 1..=calls {
            let answer = ask(&gateway, "GET", "/tokens/7", &headers);
            assert_eq!(answer.status, 200, "{name}, {call}: {}", answer.text());
            let seen = things.take().pop().expect("a request");
            assert_eq!(
                (seen.path.as_str(), seen.all("x-consumer-username")),
                ("/v1/7", vec![name])
            );
        }
        assert_eq!(ask(&gateway, "GET", "/tokens/7", &headers).status, 429, "{name}");
    }
    for wrong in [
        by_token("p256", "eve-rs", "ES256"),
        by_token("rsa", "bob-es", "RS256"),
        by_token("p256", "nobody", "ES256"),
    ] {
        assert_eq!(
            ask(&gateway, "GET", "/tokens", &[("authorization", &wrong)]).status,
            401
        );
    }
    let key = [("x-key", "bob-0123456789abcdef")];
    assert_eq!(ask(&gateway, "GET", "/keys", &key).status, 200);
    let seen = things.take().pop().expect("a request");
    assert_eq!(
        (seen.all("x-consumer-username"), seen.all("x-key")),
        (vec!["bob"], vec![])
    );
    assert_eq!(
        ask(&gateway, "GET", "/keys?x-key=bob-0123456789abcdef", &[]).status,
        200,
        "Kong's default"
    );
    assert_eq!(
        ask(&gateway, "GET", "/keys", &[("x-key", "bob-0123456789abcdeX")]).status,
        401
    );
    // What Kong decides by what was not carried over is decided against.
    let both = [("authorization", ada.as_str()), ("apikey", "bob-0123456789abcdef")];
    for path in ["/both", "/acl"] {
        let refused = ask(&gateway, "GET", path, &both);
        assert_eq!(
            (refused.status, refused.json()["code"].as_str()),
            (403, Some("no_policy")),
            "{path}"
        );
    }
    assert!(
        imported.told.contains("the plugin `acl` is not carried over"),
        "{}",
        imported.told
    );

    things.take();
    let headers = [("x-gone", "a"), ("x-old", "b"), ("x-old2", "c"), ("x-list", "a")];
    assert_eq!(
        ask(&gateway, "GET", "/items/12?debug=1&page=9&z=%20", &headers).status,
        200
    );
    let seen = things.take().pop().expect("a request");
    assert_eq!(seen.path, "/v1/items/12?page=1&z=%20");
    assert_eq!(
        (seen.all("x-gone"), seen.all("x-old"), seen.all("x-new")),
        (vec![], vec![], vec!["b"])
    );
    assert_eq!(
        (seen.all("x-source"), seen.all("x-copy"), seen.all("x-list").join(",")),
        (vec!["{kong}"], vec!["c"], "a,b".into())
    );
    assert_eq!(ask(&gateway, "GET", "/items/12/x", &headers).status, 404);
    // A route with a host comes before one without.
    for (host, path, kept) in [
        ("Api.Example.com:81", "/v1/of-a-host", "Api.Example.com:81"),
        ("example.com", "/v1/of", "things"),
    ] {
        let answer = gateway.send(&request("GET", "/open/of", &[("host", host)], b""));
        let seen = things.take().pop().expect("a request");
        assert_eq!(
            (answer.status, seen.path.as_str(), seen.all("host")),
            (200, path, vec![kept])
        );
    }
    gateway.assert_no_vm_died();
}

/// Starts what was imported, with all services at one place.
fn start(imported: &Imported, services: &str, things: &Echo) -> Envoy {
    let services = services.split(' ').map(|service| (service, things.address));
    imported.start(&services.collect())
}

/// Imports a file of this text, which leaves something to do.
fn imported(text: &str, status: i32) -> Imported {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("kong.yaml");
    fs::write(&file, text).expect("a file");
    let imported = Imported::from_kong(&file, &["--audience", "api"]);
    assert_eq!(imported.status, status, "{}", imported.told);
    imported
}

#[test]
fn what_kong_guards_is_no_more_open_here() {
    let imported = imported(
        r#"
_format_version: "3.0"
x-guard: &guard { name: key-auth, config: { key_names: [apikey], key_in_query: false } }
services:
- name: keyed
  id: 00000000-0000-4000-8000-000000000000
  url: http://things
  routes: [ { name: keyed, paths: [/keyed] } ]
  plugins: [ *guard ]
- name: by-id
  id: 11111111-1111-4111-8111-111111111111
  url: http://things
  routes: [ { name: by-id, paths: [/by-id], id: 22222222-2222-4222-8222-222222222222 } ]
- name: by-route-id
  id: 33333333-3333-4333-8333-333333333333
  url: http://things
  routes: [ { name: by-route-id, paths: [/by-route-id], id: 44444444-4444-4444-8444-444444444444 } ]
- name: without-id
  url: http://things
  routes: [ { name: without-id, paths: [/without-id] } ]
- name: of-host
  id: 55555555-5555-4555-8555-555555555555
  url: http://things
  routes: [ { name: of-host, hosts: [admin.example.com], id: 66666666-6666-4666-8666-666666666666, plugins: [ *guard ] } ]
- name: of-path
  id: 77777777-7777-4777-8777-777777777777
  url: http://things
  routes: [ { name: of-path, paths: [/api], id: 88888888-8888-4888-8888-888888888888 } ]
- name: narrow
  id: 99999999-9999-4999-8999-999999999999
  url: http://things
  routes:
  - { name: inside, paths: [/inside], sources: [ { ip: 10.0.0.0/8 } ] }
  - { name: looking, paths: ["~/look/(?!x)"] }
- name: nowhere
  id: aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa
  url: http://${BACKEND}:80
  routes: [ { name: nowhere, paths: [/nowhere] } ]
- name: limited
  id: bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb
  url: http://things
  routes: [ { name: limited, paths: [/limited], plugins: [ { name: rate-limiting, config: { minute: '${{ env "LIMIT" }}' } } ] } ]
- name: anything
  id: cccccccc-cccc-4ccc-8ccc-cccccccccccc
  url: http://things
  routes: [ { name: anything, paths: [/], strip_path: no } ]
- name: off
  id: dddddddd-dddd-4ddd-8ddd-dddddddddddd
  url: http://things
  routes:
  - { name: off, paths: [/off], plugins: [ { name: acl, enabled: False, config: { allow: [x] } } ] }
  - { name: stream, protocols: [tcp, tls] }
  - { name: sealed, protocols: [https], paths: [/sealed] }
plugins:
- { name: key-auth, service: 11111111-1111-4111-8111-111111111111 }
- { name: key-auth, route: 44444444-4444-4444-8444-444444444444 }
- { name: key-auth, service: eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee }
- { name: request-termination, consumer_group: gold, config: { status_code: 403 } }
consumer_groups: [ { name: gold }, { name: silver } ]
consumers:
- { username: ada, custom_id: "17", groups: [ { name: silver } ], keyauth_credentials: [ { key: adas-key-that-is-long } ] }
- { username: gil, groups: [ { name: silver }, { name: gold } ], keyauth_credentials: [ { key: gils-key-that-is-long } ] }
- { username: shop, keyauth_credentials: [ { key: $SHOP_SECRET_API_KEY }, { key: '${{ env "DECK_PARTNER_KEY" }}' }, { key: "{vault://env/partner-key}" } ] }
"#,
        2,
    );
    for line in ["kong.yaml:57:3:", "kong.yaml:63:51:", "kong.yaml:63:124:"] {
        assert!(imported.told.contains(line), "{line}: {}", imported.told);
    }
    let things = Echo::start("things");
    let services = "keyed by-id by-route-id without-id of-host of-path narrow limited anything off";
    let gateway = start(&imported, services, &things);
    let status = |host: &str, path: &str, key: &str| {
        let mut headers = vec![("host", host)];
        if !key.is_empty() {
            headers.push(("apikey", key));
        }
        gateway.send(&request("GET", path, &headers, b"")).status
    };
    let ada = "adas-key-that-is-long";
    for (host, path, none, good) in [
        ("gateway", "/keyed", 401, 200),
        ("gateway", "/by-id", 401, 200),
        ("gateway", "/by-route-id", 401, 200),
        // A plugin is about a service that is not here: it may be this one, which has no id.
        ("gateway", "/without-id", 403, 403),
        ("admin.example.com", "/api", 401, 200),
        ("admin.example.com.", "/api", 401, 200),
        ("admin.example.com:8000", "/", 401, 200),
        ("gateway", "/api", 200, 200),
        ("gateway", "/inside", 403, 403),
        ("gateway", "/look/y", 403, 403),
        ("gateway", "/nowhere", 403, 403),
        ("gateway", "/limited", 403, 403),
        ("gateway", "/elsewhere", 200, 200),
        ("gateway", "/off", 200, 200),
        ("gateway", "/sealed", 426, 426),
    ] {
        assert_eq!(
            (status(host, path, ""), status(host, path, ada)),
            (none, good),
            "{host}{path}"
        );
    }
    let claimed = ask(&gateway, "GET", "/sealed", &[("x-forwarded-proto", "https")]);
    assert_eq!(claimed.status, 426, "no client says what its connection is");
    for key in [
        "gils-key-that-is-long",
        "$SHOP_SECRET_API_KEY",
        "${{ env \"DECK_PARTNER_KEY\" }}",
        "{vault://env/partner-key}",
    ] {
        assert_eq!(status("gateway", "/keyed", key), 401, "{key}");
    }

    things.take();
    let forged: Vec<_> = [
        "x-consumer-id",
        "x-consumer-custom-id",
        "x-consumer-username",
        "x-consumer-groups",
        "x-credential-identifier",
        "x-anonymous-consumer",
        "x-authenticated-userid",
        "x-real-ip",
        "x-forwarded-prefix",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-path",
    ]
    .iter()
    .map(|name| (*name, "forged"))
    .collect();
    for (path, key) in [("/elsewhere", None), ("/keyed/a?b", Some(("apikey", ada)))] {
        let headers: Vec<_> = forged.iter().copied().chain(key).collect();
        assert_eq!(ask(&gateway, "GET", path, &headers).status, 200, "{path}");
        let seen = things.take().pop().expect("a request");
        assert!(seen.headers.iter().all(|(_, value)| value != "forged"), "{seen:?}");
        let one = |name: &str| seen.all(name).join(", ");
        assert_eq!(
            (one("x-real-ip").as_str(), one("x-forwarded-path").as_str()),
            ("127.0.0.1", path)
        );
        let (prefix, custom, group) = match key {
            None => ("", "", ""),
            Some(_) => ("/keyed", "17", "silver"),
        };
        assert_eq!(
            (
                one("x-forwarded-prefix"),
                one("x-consumer-custom-id"),
                one("x-consumer-groups")
            ),
            (prefix.into(), custom.into(), group.into())
        );
        assert_eq!(seen.path, if key.is_some() { "/a?b" } else { path }, "{path}");
    }
    gateway.assert_no_vm_died();
}

#[test]
fn paths_before_kong_3_are_patterns_without_saying_so() {
    for version in ["1.1", "2.1"] {
        let imported = imported(
            &format!(
                r#"
_format_version: "{version}"
services:
- name: admin
  url: http://things
  routes: [ {{ name: admin, paths: ['/admin/\d+'], strip_path: false, plugins: [ {{ name: key-auth }} ] }} ]
- name: site
  url: http://things
  routes: [ {{ name: site, paths: [/] }}, {{ name: plain, paths: [/a.b-c_d~e/%20] }} ]
"#
            ),
            0,
        );
        let things = Echo::start("things");
        let gateway = start(&imported, "admin site", &things);
        for (path, status) in [
            ("/admin/7", 401),
            ("/admin/7/x", 401),
            ("/admin/x", 200),
            ("/a.b-c_d~e/%20", 200),
        ] {
            assert_eq!(ask(&gateway, "GET", path, &[]).status, status, "{version} {path}");
        }
    }
}

#[test]
fn what_is_said_once_and_what_is_one_of_several_hold_as_in_kong() {
    let imported = imported(
        r#"
_format_version: "3.0"
_info: { defaults: { route: { strip_path: false }, service: { retries: 0 } } }
_plugin_configs: { keys: { key_names: [x-key], key_in_query: false } }
services:
- name: either
  url: http://things
  routes: [ { name: either, paths: ['~/red|/blue'], plugins: [ { name: key-auth, _config: keys } ] } ]
- name: stripped
  url: http://things
  routes: [ { name: stripped, paths: ['~/up/(?<id>\d+)|/down'], strip_path: true } ]
- name: dollar
  url: http://things
  routes: [ { name: dollar, paths: ['~/cost\$'], plugins: [ { name: key-auth, _config: keys } ] } ]
- name: later
  url: http://things
  routes: [ { name: later, paths: [/], headers: { x-version: ["~*^b", c] }, plugins: [ { name: key-auth, _config: keys } ] } ]
- name: unknown
  url: http://things
  routes: [ { name: unknown, paths: [/unknown], plugins: [ { name: key-auth, _config: nowhere } ] } ]
- name: stranger
  url: http://things
  routes: [ { name: stranger, paths: [/stranger], plugins: [ { name: key-auth, config: { anonymous: nobody } } ] } ]
- name: guest
  url: http://things
  routes: [ { name: guest, paths: [/guest], plugins: [ { name: key-auth, config: { anonymous: guest } } ] } ]
- name: octal
  url: http://things
  routes: [ { name: octal, paths: [/octal], plugins: [ { name: rate-limiting, config: { hour: 010, limit_by: ip } } ] } ]
- name: site
  url: http://things
  routes: [ { name: site, paths: [/] } ]
consumer_groups: [ { name: closed, plugins: [ { name: request-termination } ] } ]
consumers: [ { username: guest, groups: [ { name: closed } ] } ]
"#,
        2,
    );
    let things = Echo::start("things");
    let services = "either stripped dollar later unknown stranger guest octal site";
    let gateway = start(&imported, services, &things);
    let status = |path: &str, headers: &[(&str, &str)]| ask(&gateway, "GET", path, headers).status;
    for (path, headers, expected) in [
        ("/red", &[][..], 401),
        ("/blue/x", &[], 401),
        ("/cost$", &[], 401),
        ("/cost", &[], 200),
        ("/x", &[("x-version", "B7")], 401),
        ("/x", &[("x-version", "a"), ("x-version", "c")], 401),
        ("/x", &[("x-version", "ab")], 200),
        ("/unknown", &[], 403),
        // Kong answers 500, for the consumer that stands for others is not there, or answers for its group.
        ("/stranger", &[], 401),
        ("/guest", &[], 401),
    ] {
        assert_eq!(status(path, headers), expected, "{path} {headers:?}");
    }
    things.take();
    for (path, seen) in [("/up/7/x", "/x"), ("/down/y", "/y"), ("/x", "/x")] {
        assert_eq!(status(path, &[]), 200, "{path}");
        assert_eq!(things.take().pop().expect("a request").path, seen, "{path}");
    }
    let octal: Vec<_> = (0..9).map(|_| status("/octal", &[])).collect();
    assert_eq!(octal, [200, 200, 200, 200, 200, 200, 200, 200, 429], "{octal:?}");
    gateway.assert_no_vm_died();
}
