//! Limits that a real Rate Limit Service counts: Limitador's library on a real Redis.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_e2e::bootstrap::Bare;
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::{Envoy, eventually};
use tollgate_e2e::rate_limit_service::{RateLimitService, Redis};
use tollgate_e2e::raw::{self, Response, request};

/// What a request waits for the service at most.
const TIMEOUT: Duration = Duration::from_millis(50);

/// A rule for each limit, at `/NAME`, each counted by the service; `/free` has none.
fn config(limits: &[Value]) -> Value {
    let rule = |name: &str, limits: &[&str]| json!({"match": {"path_prefix": format!("/{name}")}, "public": true, "rate_limits": limits});
    let mut routes = vec![rule("free", &[])];
    let limits: Vec<_> = limits
        .iter()
        .map(|limit| {
            let mut limit = limit.clone();
            let name = limit["name"].as_str().expect("a name").to_owned();
            limit["backend"] = "rls".into();
            limit["key"] = json!(["header:x-client"]);
            limit["window"] = "1h".into();
            routes.push(rule(&name, &[&name]));
            limit
        })
        .collect();
    json!({
        "version": 1,
        "rate_limit_service": {"cluster": "rls", "timeout": format!("{}ms", TIMEOUT.as_millis())},
        "rate_limits": limits,
        "routes": routes,
    })
}

/// As the documentation has it for Limitador.
fn theirs(name: &str, limit: u64) -> Value {
    json!({
        "namespace": "tollgate",
        "max_value": limit,
        "seconds": 3600,
        "conditions": [format!("limit == '{name}'")],
        "variables": ["header:x-client"],
    })
}

fn gateway(config: &Value, service: SocketAddr, echo: &Echo) -> Envoy {
    let mut bare = Bare::new(config.clone(), echo);
    bare.http2_clusters = vec![("rls".into(), service)];
    Envoy::with_workers(2, &bare.bootstrap())
}

fn ask(gateway: &Envoy, path: &str, client: &str) -> Response {
    gateway.send(&request("GET", path, &[("host", "a"), ("x-client", client)], b""))
}

/// The calls whose answers the gateway has counted.
fn calls(gateway: &Envoy, outcome: &str) -> u64 {
    let stats = gateway.stats("tollgate_rls_calls_total");
    let of_outcome = stats
        .iter()
        .filter(|(name, _)| name.contains(&format!("outcome={outcome};")));
    of_outcome.map(|(_, count)| count).sum()
}

#[test]
fn two_gateways_share_one_limit_and_an_exhausted_key_costs_no_call() {
    let redis = Redis::start();
    let service = RateLimitService::start(&redis, true, &[theirs("shared", 10)]);
    let (config, echo) = (
        config(&[json!({"name": "shared", "limit": 10})]),
        Echo::start("upstream"),
    );
    let gateways = [(); 2].map(|()| gateway(&config, service.address, &echo));
    let answers: Vec<_> = (0..40).map(|turn| ask(&gateways[turn % 2], "/shared", "a")).collect();
    let allowed: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(allowed.len(), 10, "of both together");
    for (used, answer) in allowed.iter().enumerate() {
        let quota = answer.header("ratelimit").expect("a quota");
        assert!(
            quota.starts_with(&format!("\"shared\";r={};t=", 9 - used)),
            "{used}: {quota}"
        );
        assert_eq!(answer.header("ratelimit-policy"), Some("\"shared\";q=10;w=3600"));
    }
    for refused in &answers[10..] {
        let seconds: u64 = refused.header("retry-after").expect("a hint").parse().expect("seconds");
        assert_eq!(
            (refused.status, (3590..=3600).contains(&seconds)),
            (429, true),
            "{seconds}"
        );
        assert_eq!(refused.json()["code"], "rate_limited");
    }
    let called = || {
        gateways
            .each_ref()
            .map(|gateway| (calls(gateway, "ok"), calls(gateway, "over_limit")))
    };
    eventually("all calls are counted", || called() == [(5, 1); 2]);
    println!("40 requests at two gateways, limit 10: 10 allowed, 12 calls; 28 were refused without a call");
    assert_eq!(ask(&gateways[0], "/shared", "b").status, 200, "another client");

    // At once: Limitador reads and then adds, so that some more may pass; that is the service's to say.
    let allowed: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|number| {
                let gateway = &gateways[number % 2];
                scope.spawn(move || (0..10).filter(|_| ask(gateway, "/shared", "c").status == 200).count())
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a count")).sum()
    });
    println!("160 requests on 16 connections to two gateways, limit 10: {allowed} allowed");
    assert!((10..160).contains(&allowed), "{allowed}");
    gateways.iter().for_each(Envoy::assert_no_vm_died);
}

/// One limit for each `on_fault`, of 3.
struct Modes {
    redis: Redis,
    service: RateLimitService,
    gateway: Envoy,
    clients: u32,
}

const MODES: [&str; 3] = ["local", "allow", "deny"];

/// Up to the limit, whoever counts.
const COUNTED: [u16; 5] = [200, 200, 200, 429, 429];

impl Modes {
    fn start() -> Self {
        let redis = Redis::start();
        let service = RateLimitService::start(&redis, true, &MODES.map(|mode| theirs(mode, 3)));
        let limits = MODES.map(|mode| json!({"name": mode, "limit": 3, "on_fault": mode}));
        let gateway = gateway(&config(&limits), service.address, &Echo::start("upstream"));
        Self {
            redis,
            service,
            gateway,
            clients: 0,
        }
    }

    /// The statuses of five requests of a new client; how long each took is printed.
    fn ask(&mut self, mode: &str, what: &str) -> [u16; 5] {
        self.clients += 1;
        let client = self.clients.to_string();
        let answers = [(); 5].map(|()| {
            let started = Instant::now();
            let status = ask(&self.gateway, &format!("/{mode}"), &client).status;
            (status, started.elapsed())
        });
        let (statuses, times) = (answers.map(|(status, _)| status), answers.map(|(_, elapsed)| elapsed));
        println!("{what}, {mode}: {statuses:?} after {times:.1?}");
        statuses
    }

    /// Waits until the service is asked again and answers.
    fn recover(&mut self) {
        let before = calls(&self.gateway, "ok");
        eventually("the service is asked again", || {
            self.clients += 1;
            ask(&self.gateway, "/allow", &self.clients.to_string());
            calls(&self.gateway, "ok") > before
        });
    }
}

#[test]
fn each_mode_has_its_status_whatever_befalls_the_service() {
    let mut modes = Modes::start();
    modes.ask("free", "no limit");
    for mode in MODES {
        assert_eq!(modes.ask(mode, "with the service"), COUNTED);
    }
    type Fault = (&'static str, fn(&mut Modes), fn(&mut Modes));
    let normal: fn(&mut Modes) = |modes| modes.service.delay(Duration::ZERO);
    let faults: [Fault; 3] = [
        (
            "Redis is dead",
            |modes| modes.redis.kill(),
            |modes| modes.redis.resume(),
        ),
        ("too slow", |modes| modes.service.delay(TIMEOUT * 2), normal),
        ("silent", |modes| modes.service.delay(Duration::from_secs(3600)), normal),
    ];
    for (what, begins, ends) in faults {
        for (mode, expected) in MODES.into_iter().zip([COUNTED, [200; 5], [503; 5]]) {
            let failed = calls(&modes.gateway, "failed");
            begins(&mut modes);
            assert_eq!(modes.ask(mode, what), expected);
            ends(&mut modes);
            modes.recover();
            // Three waited, of which the first two were tolerated; those after them did not. Each worker's counts come when it has the time.
            let failed = || calls(&modes.gateway, "failed") - failed;
            eventually("the failures are counted", || failed() >= 3);
            assert!(failed() < 10, "{}", failed());
            assert_eq!(modes.ask(mode, "it has returned"), COUNTED);
        }
    }
    modes.service.delay(TIMEOUT / 5);
    assert_eq!(modes.ask("deny", "slow, but in time"), COUNTED);
    // A call that is too slow is ended by Envoy, which says `unavailable` to gRPC, or by the service (`timeout`): whoever is first.
    let name = "wasmcustom.tollgate_rls_calls_total;outcome=failed;reason=unavailable;";
    assert!(modes.gateway.stat(name) > 0);
    modes.gateway.assert_no_vm_died();
}

#[test]
fn a_service_that_fails_is_not_waited_for() {
    let modes = Modes::start();
    let gateway = modes.gateway;
    modes.service.kill();
    let statuses: Vec<_> = (0..200).map(|_| ask(&gateway, "/deny", "a").status).collect();
    assert_eq!(statuses, [503; 200]);
    eventually("the faults are counted", || {
        gateway.stat("wasmcustom.tollgate_rate_limit_faults_total;limit=deny;") == 200
    });
    let failed = calls(&gateway, "failed");
    println!("200 requests while the service is dead: {failed} calls");
    assert!((3..100).contains(&failed), "{failed}");
}

#[test]
fn many_that_wait_and_leave_harm_nobody() {
    let mut modes = Modes::start();
    let gateway = &modes.gateway;
    modes.service.delay(TIMEOUT / 2);
    for _ in 0..3 {
        // Each leaves as soon as it has asked.
        for number in 0..200 {
            let mut stream = TcpStream::connect(gateway.address()).expect("a connection");
            let message = request(
                "GET",
                "/local",
                &[("host", "a"), ("x-client", &format!("gone-{number}"))],
                b"",
            );
            stream.write_all(&message).expect("sent");
        }
        thread::scope(|scope| {
            for number in 0..32 {
                scope.spawn(move || {
                    let client = format!("stays-{number}");
                    let message = request("GET", "/allow", &[("host", "a"), ("x-client", &client)], b"");
                    let mut stream = TcpStream::connect(gateway.address()).expect("a connection");
                    for _ in 0..5 {
                        stream.write_all(&message).expect("sent");
                        let status = raw::read(&mut stream, false).expect("an answer").status;
                        assert!([200, 429].contains(&status), "{status}");
                    }
                });
            }
        });
    }
    modes.service.delay(Duration::ZERO);
    eventually("it counts as before", || {
        let client = format!("{:?}", Instant::now());
        [(); 5].map(|()| ask(gateway, "/deny", &client).status) == COUNTED
    });
    gateway.assert_no_vm_died();
}
