//! What the bundled gateway does when services fail, clients misbehave, and a new version is tried.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::envoy::eventually;
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::raw::{self, Response, request};

fn bearer() -> String {
    Issuer::shared().bearer(&json!({"scope": "orders.read"}))
}

fn get(gateway: &Bundled, path: &str, headers: &[(&str, &str)]) -> Response {
    gateway
        .envoy
        .send(&request("GET", path, &[&[("host", "a")], headers].concat(), b""))
}

/// The requests of clients that a service has had since this was last asked, without Envoy's own.
fn had(gateway: &mut Bundled, service: &str) -> usize {
    let seen = gateway.services[service].echo.take();
    seen.iter().filter(|seen| seen.path != "/healthz").count()
}

#[test]
fn a_canary_has_some_of_the_traffic_and_all_of_who_asks_for_it_under_the_same_policy() {
    let gateway = Bundled::start(|_| {});
    let bearer = bearer();
    let who = |headers: &[(&str, &str)]| {
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        let response = get(&gateway, "/api/orders/1", &headers);
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["service"].as_str().expect("a name").to_owned()
    };
    for _ in 0..20 {
        assert_eq!(who(&[("x-canary", "true")]), "order-service-canary");
    }
    let some = (0..300).filter(|_| who(&[]) == "order-service-canary").count();
    println!("of 300 requests, {some} went to the canary, which has a weight of 5 %");
    // Outside of that once in some hundred thousand runs.
    assert!((1..=40).contains(&some), "{some}");
    assert_eq!(get(&gateway, "/api/orders/1", &[("x-canary", "true")]).status, 401);
    let plain = format!("Bearer {}", Issuer::shared().good_token());
    let without_scope = [("authorization", plain.as_str()), ("x-canary", "true")];
    assert_eq!(get(&gateway, "/api/orders/1", &without_scope).status, 403);
}

#[test]
fn a_service_that_is_gone_gets_nothing_and_its_readers_an_answer() {
    let mut gateway = Bundled::start(|_| {});
    let healthy = |gateway: &Bundled| gateway.envoy.stat("cluster.product-service.membership_healthy");
    assert_eq!(get(&gateway, "/api/products/1", &[]).status, 200);
    let service = gateway.services.get_mut("product-service").expect("a service");
    service.die();
    eventually("it is out", || healthy(&gateway) == 0);
    let asked = gateway.envoy.stat("cluster.product-service.upstream_rq_total");
    let last = get(&gateway, "/api/products/1", &[("origin", "https://app.example")]);
    assert_eq!(
        (last.status, last.header("x-tollgate-fallback")),
        (200, Some("last_good"))
    );
    assert_eq!(last.json()["service"], "product-service");
    assert_eq!(last.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(last.header("x-content-type-options"), Some("nosniff"));
    let other = get(&gateway, "/api/products/2", &[]);
    assert_eq!(
        (other.status, other.header("x-tollgate-fallback")),
        (503, Some("answer"))
    );
    assert_eq!(other.header("retry-after"), Some("5"));
    assert_eq!(gateway.envoy.stat("cluster.product-service.upstream_rq_total"), asked);
    // Others do not notice.
    let bearer = bearer();
    assert_eq!(get(&gateway, "/api/users/1", &[("authorization", &bearer)]).status, 200);
    let service = gateway.services.get_mut("product-service").expect("a service");
    service.revive();
    eventually("it is back", || healthy(&gateway) == 1);
    let back = get(&gateway, "/api/products/1", &[]);
    assert_eq!((back.status, back.header("x-tollgate-fallback")), (200, None));
}

#[test]
fn a_host_that_fails_again_and_again_is_left_alone() {
    let mut gateway = Bundled::start(|_| {});
    let bearer = bearer();
    let fail = [("authorization", bearer.as_str()), ("x-respond", ":status: 500")];
    let statuses: Vec<_> = (0..5).map(|_| get(&gateway, "/api/users/1", &fail).status).collect();
    assert_eq!(
        statuses, [500; 5],
        "a request that may have done something is not tried again"
    );
    assert_eq!(had(&mut gateway, "user-service"), 5);
    eventually("it is out", || {
        gateway
            .envoy
            .stat("cluster.user-service.outlier_detection.ejections_active")
            == 1
    });
    let response = get(&gateway, "/api/users/1", &[("authorization", &bearer)]);
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(had(&mut gateway, "user-service"), 0);
}

#[test]
fn what_has_certainly_not_begun_is_tried_again_elsewhere_within_a_budget() {
    let mut gateway = Bundled::start(|bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"]
            .as_array_mut()
            .expect("clusters");
        let cluster = clusters
            .iter_mut()
            .find(|cluster| cluster["name"] == "user-service")
            .expect("a cluster");
        // Nobody listens there, and nobody finds out in advance.
        cluster["health_checks"].take();
        cluster["outlier_detection"].take();
        let endpoints = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"];
        let mut dead = endpoints[0].clone();
        dead["endpoint"]["address"]["socket_address"]["port_value"] = 1.into();
        endpoints.as_array_mut().expect("endpoints").push(dead);
    });
    let bearer = bearer();
    let post = |gateway: &Bundled| {
        let headers = [("host", "a"), ("authorization", bearer.as_str())];
        gateway
            .envoy
            .send(&request("POST", "/api/users", &headers, b"once"))
            .status
    };
    for _ in 0..40 {
        assert_eq!(post(&gateway), 200);
    }
    assert_eq!(had(&mut gateway, "user-service"), 40, "each once");
    let retried = gateway.envoy.stat("cluster.user-service.upstream_rq_retry");
    println!("40 requests to two hosts of which one is dead: {retried} tries again, all of them well");
    assert!(retried > 0);
    gateway.services.get_mut("user-service").expect("a service").die();
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert_eq!(post(&gateway), 503));
        }
    });
    let tried = gateway.envoy.stat("cluster.user-service.upstream_rq_retry") - retried;
    let refused = gateway.envoy.stat("cluster.user-service.upstream_rq_retry_overflow");
    println!("32 requests at once to two dead hosts: {tried} tries again, {refused} beyond the budget");
    assert!(tried <= 64);
}

#[test]
fn clients_that_send_too_much_or_too_slowly_are_refused() {
    let gateway = Bundled::start(|_| {});
    let large = "x".repeat(70_000);
    assert_eq!(get(&gateway, "/api/products/1", &[("x-a", &large)]).status, 431);
    let names: Vec<_> = (0..110).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(get(&gateway, "/api/products/1", &many).status, 431);
    assert_eq!(get(&gateway, "/api/products/1", &many[..80]).status, 200);
    // Headers that never end are given ten seconds.
    let begun = Instant::now();
    let mut stream = TcpStream::connect(gateway.envoy.address()).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    stream
        .write_all(b"GET /api/products/1 HTTP/1.1\r\nhost: a\r\nx-")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    println!("unfinished headers were given up after {:?}", begun.elapsed());
    assert!(
        String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 408"),
        "{answer:?}"
    );
}

#[test]
fn connections_beyond_the_limit_are_closed_and_the_others_served() {
    let gateway = Bundled::start(|bootstrap| {
        let monitors = &mut bootstrap["overload_manager"]["resource_monitors"];
        let connections = &mut monitors[1]["typed_config"]["max_active_downstream_connections"];
        assert_eq!(*connections, 50_000);
        *connections = 4.into();
    });
    let message = request("GET", "/api/products/1", &[("host", "a")], b"");
    let mut streams: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(gateway.envoy.address()).expect("a connection"))
        .collect();
    let served = streams.iter_mut().filter_map(|stream| {
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        stream.write_all(&message).ok()?;
        raw::read(stream, false).ok()
    });
    let served: Vec<_> = served.map(|response| response.status).collect();
    assert_eq!(served, [200; 4]);
    drop(streams);
    eventually("there is room again", || {
        let response = raw::send(gateway.envoy.address(), &message);
        response.is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn a_gateway_that_drains_says_so_and_serves_on() {
    let gateway = Bundled::start(|_| {});
    assert_eq!(get(&gateway, "/healthz", &[]).status, 200);
    assert_eq!(gateway.envoy.admin_post("/healthcheck/fail").status, 200);
    assert_eq!(get(&gateway, "/healthz", &[]).status, 503);
    assert_eq!(get(&gateway, "/ready", &[]).status, 503);
    assert_eq!(get(&gateway, "/api/products/1", &[]).status, 200);
    assert_eq!(gateway.envoy.admin_post("/healthcheck/ok").status, 200);
    assert_eq!(get(&gateway, "/healthz", &[]).status, 200);
    // Nothing else goes past the policies.
    assert_eq!(get(&gateway, "/healthz/", &[]).status, 401);
}
