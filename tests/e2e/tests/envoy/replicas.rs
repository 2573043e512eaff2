//! Two gateways behind one address (`envoy/replicas/balancer.yaml`), which count in one Redis and watch one set of policy files.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::address;
use tollgate_e2e::bundled::Bundled;
use tollgate_e2e::case::repository;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::issuer::Issuer;
use tollgate_e2e::policies::Policies;
use tollgate_e2e::rate_limit_service::{RateLimitService, Redis};
use tollgate_e2e::raw::{self, request};

/// So many requests of a user in an hour, at both gateways together.
const LIMIT: usize = 40;

fn token(user: &str) -> String {
    Issuer::shared().bearer(&json!({"sub": user, "scope": "orders.read"}))
}

fn endpoint(of: SocketAddr) -> Value {
    json!({"endpoint": {"address": address(of.port())}})
}

/// The bundled gateway, whose limits of `backend: rls` this counts.
fn gateway(policies: &Policies, limiter: SocketAddr) -> Bundled {
    Bundled::with(policies.clone(), |bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"]
            .as_array_mut()
            .expect("clusters");
        let of_limiter = clusters
            .iter_mut()
            .find(|cluster| cluster["name"] == "rate-limit-service");
        of_limiter.expect("a cluster")["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [endpoint(limiter)]}]);
        for listener in bootstrap["static_resources"]["listeners"]
            .as_array_mut()
            .expect("listeners")
        {
            listener["filter_chains"][0]["filters"][0]["typed_config"]["xff_num_trusted_hops"] = 1.into();
        }
    })
}

fn balancer(gateways: &[SocketAddr]) -> Envoy {
    let text = fs::read_to_string(repository().join("envoy/replicas/balancer.yaml")).expect("the file");
    let mut bootstrap: Value = serde_saphyr::from_str(&text).expect("YAML");
    bootstrap["admin"]["address"] = address(0);
    bootstrap["static_resources"]["listeners"][0]["address"] = address(0);
    let cluster = &mut bootstrap["static_resources"]["clusters"][0];
    cluster["type"] = "STATIC".into();
    let endpoints: Vec<_> = gateways.iter().map(|address| endpoint(*address)).collect();
    cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": endpoints}]);
    let balancer = Envoy::start(&bootstrap);
    eventually("both gateways are well", || {
        balancer.stat("cluster.gateways.membership_healthy") == gateways.len() as u64
    });
    balancer
}

/// Policies of teams: users are counted in Redis by a limit of their team's own.
fn policies() -> Policies {
    let policies = Policies::bundled();
    policies.change("gateway", |file| {
        file["policy"]["rate_limit_service"] = json!({"cluster": "rate-limit-service", "timeout": "500ms"});
    });
    policies.change("users", |file| {
        file["rate_limits"] = json!([{
            "name": "users", "key": ["user"], "limit": LIMIT, "window": "1h", "backend": "rls", "on_fault": "deny",
        }]);
        file["routes"][0]["rate_limits"] = json!(["users"]);
    });
    policies.build().expect("good policies");
    policies
}

fn limits() -> Vec<Value> {
    vec![json!({
        "namespace": "tollgate", "max_value": LIMIT, "seconds": 3600, "conditions": ["limit == 'users'"], "variables": ["issuer", "user"],
    })]
}

#[test]
fn two_gateways_are_one_and_nobody_misses_the_one_that_dies() {
    let redis = Redis::start();
    let limiter = RateLimitService::start(&redis, true, &limits());
    let policies = policies();
    let [first, second] = [(); 2].map(|()| gateway(&policies, limiter.address));
    let balancer = balancer(&[first.envoy.address(), second.envoy.address()]);
    let ask = |method: &str, path: &str, token: &str| {
        let headers = [("host", "a"), ("authorization", token)];
        balancer.send(&request(method, path, &headers, b"")).status
    };

    // One limit for both, and both have had some of it.
    let ada = token("ada");
    let allowed = (0..LIMIT + 20)
        .filter(|_| ask("GET", "/api/users/1", &ada) == 200)
        .count();
    assert_eq!(allowed, LIMIT);
    let served = [&first, &second].map(|gateway| gateway.services["user-service"].echo.take().len());
    assert!(served.iter().all(|served| *served > 0), "{served:?}");
    assert_eq!(ask("GET", "/api/users/1", &token("bob")), 200, "another user");

    // A team changes its own file: both gateways have it, and the other teams' requests are decided as before.
    policies.change("products", |file| {
        file["routes"][0] = json!({"match": {"route": "products"}});
    });
    policies.build().expect("good policies");
    for gateway in [&first, &second] {
        eventually("the team's change is there", || {
            let status = || {
                raw::get(gateway.envoy.address(), "/api/products/1")
                    .expect("an answer")
                    .status
            };
            (0..20).all(|_| status() == 401)
        });
    }
    assert_eq!(
        (ask("GET", "/api/users/1", &ada), ask("GET", "/api/orders/1", &ada)),
        (429, 200)
    );

    // One drains: it gets nothing more, until it is back.
    let well = || balancer.stat("cluster.gateways.membership_healthy");
    second.envoy.admin_post("/healthcheck/fail");
    eventually("the balancer knows that one drains", || well() == 1);
    second.services["order-service"].echo.take();
    assert!((0..20).all(|_| ask("POST", "/api/orders/1", &ada) == 200));
    let seen = second.services["order-service"].echo.take();
    assert!(seen.iter().all(|seen| seen.path == "/healthz"), "{seen:?}");
    second.envoy.admin_post("/healthcheck/ok");
    eventually("it is back", || well() == 2);

    // One dies under load, in the middle of requests; those that may be asked twice do not fail.
    const CONNECTIONS: usize = 8;
    const REQUESTS: usize = 400;
    let done = AtomicUsize::new(0);
    let answers: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (done, ada, to) = (&done, &ada, balancer.address());
                scope.spawn(move || {
                    let mut connection = TcpStream::connect(to).expect("a connection");
                    let bytes = format!("GET /api/orders/1 HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\n\r\n");
                    let mut ask = || {
                        connection.write_all(bytes.as_bytes()).expect("it takes a request");
                        let status = raw::read(&mut connection, false).expect("an answer").status;
                        done.fetch_add(1, Ordering::Relaxed);
                        status
                    };
                    (0..REQUESTS).map(|_| ask()).collect::<Vec<_>>()
                })
            })
            .collect();
        while done.load(Ordering::Relaxed) < CONNECTIONS * REQUESTS / 4 {
            thread::sleep(Duration::from_millis(1));
        }
        drop(second);
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("answers"))
            .collect()
    });
    let failed = answers.iter().filter(|status| **status != 200).count();
    let retried = || balancer.stat("cluster.gateways.upstream_rq_retry");
    println!(
        "{} requests on {CONNECTIONS} connections, a gateway killed among them: {failed} failed, {} tried again",
        answers.len(),
        retried()
    );
    assert_eq!((failed, answers.len()), (0, CONNECTIONS * REQUESTS));
    eventually("requests were under way when it died", || retried() > 0);

    // What the dead one has counted is not forgotten.
    assert_eq!(ask("GET", "/api/users/1", &ada), 429);
    first.envoy.assert_no_vm_died();
}
