mod awkward;
mod crowd;
mod global;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::Environment;
use crate::exchange::Exchange;
use crate::gateway::plan::Plan;
use crate::gateway::worker::Worker;
use crate::http::headers::Headers;
use crate::seam::simulated::Simulated;
use crate::seam::{Event, Note, StreamId, Then, Wakeup};

/// The record of the key that consists of this letter, hashed with the secret of 32 `s`.
fn record(letter: char, user: &str, plan: Option<&str>) -> Value {
    let environment = environment();
    let secret = serde_json::from_value(json!({"id": "v1", "env": "SECRET"})).unwrap();
    let secrets =
        crate::auth::api_key::Secrets::compile(&[secret], &environment, &mut crate::config::Report::default());
    let hash = secrets.newest(key(letter).as_bytes()).unwrap().to_string();
    let mut record = json!({"id": format!("k-{letter}"), "hash": hash, "user_id": user, "tenant_id": "acme"});
    if let Some(plan) = plan {
        record["plan"] = plan.into();
    }
    record
}

fn key(letter: char) -> String {
    letter.to_string().repeat(20)
}

fn environment() -> Environment {
    [("SECRET".to_owned(), "s".repeat(32))].into()
}

/// Keys `a` and `b` are ada's, `c` is carl's with the plan `pro`; `/open` is public.
fn compile(limits: Value, names: Value) -> Result<Arc<Plan>, String> {
    plan(&config(limits, names))
}

fn config(limits: Value, names: Value) -> Value {
    json!({
        "version": 1,
        "api_keys": {
            "opaque": true,
            "secrets": [{"id": "v1", "env": "SECRET"}],
            "throttle": {"limit": 1000},
            "keys": [record('a', "ada", None), record('b', "ada", None), record('c', "carl", Some("pro"))],
        },
        "rate_limits": limits,
        "routes": [
            {"match": {"path_prefix": "/open"}, "public": true, "rate_limits": names},
            {"match": {"path_prefix": "/"}, "auth": {"any": ["api_key"]}, "rate_limits": names},
        ],
    })
}

fn plan(config: &Value) -> Result<Arc<Plan>, String> {
    Plan::of(config, &environment())
}

struct Gateway {
    worker: Rc<Worker>,
    world: Simulated,
    woken: RefCell<Vec<StreamId>>,
    streams: Cell<u64>,
}

/// A request in progress.
struct Visit {
    headers: Rc<Headers>,
    stream: StreamId,
    exchange: Option<Exchange>,
}

/// The result of a request.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    counters: Vec<String>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Gateway {
    fn new(limits: Value, names: Value) -> Self {
        Self::of(&config(limits, names))
    }

    fn of(config: &Value) -> Self {
        let world = Simulated::default();
        world.now.set(1_000_000_000);
        Self::with(plan(config).unwrap(), world)
    }

    fn with(plan: Arc<Plan>, world: Simulated) -> Self {
        let worker = Rc::new(Worker::new(plan));
        worker.prepare([7; 16], &world);
        Self {
            worker,
            world,
            woken: RefCell::default(),
            streams: Cell::default(),
        }
    }

    fn send(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Seen {
        let mut visit = self.visit(method, path, more);
        self.step(&mut visit, false).unwrap()
    }

    fn visit(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Visit {
        let target = [(":method", method), (":authority", "h"), (":path", path)];
        self.streams.set(self.streams.get() + 1);
        Visit {
            headers: Rc::new(target.iter().chain(more).copied().collect()),
            stream: StreamId(self.streams.get()),
            exchange: None,
        }
    }

    fn is_woken(&self, visit: &Visit) -> bool {
        self.woken.borrow().contains(&visit.stream)
    }

    /// Begins a request, or wakes it up; `None` if it is suspended.
    fn step(&self, visit: &mut Visit, may_wait: bool) -> Option<Seen> {
        let wakeup = if self.is_woken(visit) {
            Wakeup::Due
        } else {
            Wakeup::TimeOver
        };
        self.woken.borrow_mut().retain(|stream| *stream != visit.stream);
        let worker = Rc::clone(&self.worker);
        let (exchange, step) = match &mut visit.exchange {
            Some(exchange) => {
                let woken = exchange.wake(wakeup, &self.world).unwrap();
                (exchange, woken.step)
            }
            None => {
                let exchange = match may_wait {
                    true => Exchange::new(worker, visit.stream),
                    false => Exchange::impatient(worker, visit.stream),
                };
                let exchange = visit.exchange.insert(exchange);
                let event = Event::RequestHeaders {
                    headers: Rc::clone(&visit.headers),
                    route_name: None,
                    has_body: false,
                };
                let step = exchange.on(event, &self.world);
                (exchange, step)
            }
        };
        if step.then == Then::Wait {
            return None;
        }
        let counters = step.notes.iter().filter_map(|note| match note {
            Note::Count(name) => Some(name.to_string()),
            _ => None,
        });
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut seen = Seen {
            status: step.reply().map_or(200, |reply| reply.status),
            headers: Vec::new(),
            counters: counters.collect(),
        };
        let told = step.reply().into_iter().flat_map(|reply| reply.headers.iter());
        seen.headers.extend(told.map(|(name, value)| (text(name), text(value))));
        let event = Event::ResponseHeaders {
            headers: Rc::default(),
            has_body: false,
        };
        let step = exchange.on(event, &self.world);
        let told = step.headers.iter();
        seen.headers
            .extend(told.map(|(name, values)| (text(name), text(&values[0]))));
        Some(seen)
    }

    fn ask(&self, letter: char) -> u16 {
        self.send("GET", "/", &[("x-api-key", &key(letter))]).status
    }

    fn admitted(&self, letter: char, count: usize) -> usize {
        (0..count).filter(|_| self.ask(letter) == 200).count()
    }

    fn from(&self, address: &str) {
        self.world.address.set(Some(address.parse::<IpAddr>().unwrap()));
    }
}

fn limit(name: &str, key: Value, limit: u64, more: Value) -> Value {
    let mut all =
        json!({"name": name, "key": key, "limit": limit, "window": "1m", "algorithm": "fixed_window", "entries": 64});
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

/// The documentation's three layers, with a hundredth of the limits.
#[test]
fn one_user_cannot_use_up_the_tenant_and_one_address_cannot_get_round_by_rotating_keys() {
    let limits = json!([
        limit("per-ip", json!(["ip"]), 20, json!({})),
        limit("per-user", json!(["user"]), 10, json!({})),
        limit("per-tenant", json!(["tenant"]), 15, json!({})),
    ]);
    let gateway = Gateway::new(limits, json!(["per-ip", "per-user", "per-tenant"]));
    // Ada's two keys are one user, and her refused requests cost her tenant nothing.
    assert_eq!(gateway.admitted('a', 6) + gateway.admitted('b', 8), 10);
    gateway.from("192.0.2.1");
    assert_eq!(gateway.admitted('c', 8), 5, "what ada has left of the tenant's");
    // Every request has counted for the address, refused ones too.
    gateway.from("127.0.0.1");
    assert_eq!(
        (0..20)
            .filter(|_| gateway.send("GET", "/open", &[]).status == 200)
            .count(),
        6
    );
}

#[test]
fn a_refused_request_spends_nothing_in_the_other_layers() {
    let limits = json!([
        limit("tenant", json!(["tenant"]), 10, json!({"algorithm": "token_bucket"})),
        limit("user", json!(["user"]), 2, json!({})),
    ]);
    let gateway = Gateway::new(limits, json!(["tenant", "user"]));
    assert_eq!(gateway.admitted('a', 50), 2);
    let seen = gateway.send("GET", "/", &[("x-api-key", &key('c'))]);
    assert_eq!(
        seen.header("ratelimit"),
        Some("\"user\";r=1;t=20"),
        "and 7 of the tenant's"
    );
    assert_eq!(gateway.admitted('c', 50), 1);
}

#[test]
fn the_tightest_layer_is_told_with_every_answer() {
    let limits = json!([
        limit("ip", json!(["ip"]), 10, json!({})),
        limit("user", json!(["user"]), 3, json!({"window": "90s"})),
    ]);
    let gateway = Gateway::new(limits.clone(), json!(["ip", "user"]));
    let seen = gateway.send("GET", "/", &[("x-api-key", &key('a'))]);
    assert_eq!(seen.header("ratelimit-policy"), Some("\"user\";q=3;w=90"));
    assert!(seen.header("ratelimit").unwrap().starts_with("\"user\";r=2;t="));
    assert!(
        seen.counters
            .contains(&"tollgate_rate_limit_total;limit=user;outcome=allowed;".to_owned())
    );
    // Without a credential, only the first limit is checked.
    let seen = gateway.send("GET", "/", &[]);
    assert_eq!(
        (seen.status, seen.header("ratelimit-policy")),
        (401, Some("\"ip\";q=10;w=60"))
    );
    gateway.admitted('a', 2);
    let seen = gateway.send("GET", "/", &[("x-api-key", &key('a'))]);
    assert_eq!(seen.status, 429);
    assert!(seen.header("ratelimit").unwrap().starts_with("\"user\";r=0;t="));
    let wait: u64 = seen.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=90).contains(&wait));
    assert!(
        seen.counters
            .contains(&"tollgate_rate_limit_total;limit=user;outcome=denied;".to_owned())
    );
}

#[test]
fn quota_headers_come_as_they_are_wanted() {
    let told = |kind: &str| {
        let mut config = json!({
            "version": 1,
            "rate_limits": [limit("ip", json!(["ip"]), 5, json!({}))],
            "routes": [{"match": {"path_prefix": "/"}, "public": true, "rate_limits": ["ip"]}],
        });
        config["quota_headers"] = kind.into();
        let plan = Plan::of(&config, &Environment::new()).unwrap();
        let gateway = Gateway::with(plan, Simulated::default());
        gateway.send("GET", "/", &[]).headers
    };
    let named = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    assert_eq!(
        told("ratelimit"),
        named(&[
            ("ratelimit-policy", "\"ip\";q=5;w=60"),
            ("ratelimit", "\"ip\";r=4;t=60")
        ])
    );
    assert_eq!(
        told("x_ratelimit"),
        named(&[
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-remaining", "4"),
            ("x-ratelimit-reset", "60")
        ])
    );
    assert_eq!(told("none"), []);
}

#[test]
fn plans_have_limits_of_their_own_and_methods_costs() {
    let limits = json!([limit(
        "user",
        json!(["user"]),
        2,
        json!({"plans": {"pro": {"limit": 6}}, "costs": {"POST": 3}})
    )]);
    let gateway = Gateway::new(limits.clone(), json!(["user"]));
    assert_eq!((gateway.admitted('a', 9), gateway.admitted('c', 9)), (2, 6));
    let gateway = Gateway::new(limits.clone(), json!(["user"]));
    let post = || gateway.send("POST", "/", &[("x-api-key", &key('c'))]).status;
    assert_eq!([post(), post(), post()], [200, 200, 429]);
    let gateway = Gateway::new(limits, json!([{"limit": "user", "cost": 2}]));
    assert_eq!(gateway.admitted('c', 9), 3);
}

#[test]
fn keys_are_what_they_say_and_do_not_run_together() {
    let admitted = |part: Value, headers: &[&[(&str, &str)]]| {
        let gateway = Gateway::new(json!([limit("l", part, 1, json!({}))]), json!(["l"]));
        headers
            .iter()
            .map(|headers| gateway.send("GET", "/open", headers).status)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        admitted(
            json!(["header:x-a"]),
            &[&[("x-a", "1")], &[("x-a", "2")], &[("x-a", "1")]]
        ),
        [200, 200, 429]
    );
    assert_eq!(
        admitted(
            json!(["header:x-a", "header:x-b"]),
            &[&[("x-a", "1"), ("x-b", "23")], &[("x-a", "12"), ("x-b", "3")]]
        ),
        [200, 200]
    );
    assert_eq!(
        admitted(json!(["header:x-a"]), &[&[("x-a", "127.0.0.1")], &[]]),
        [200, 200],
        "an address is no header"
    );
    assert_eq!(admitted(json!(["route"]), &[&[], &[]]), [200, 429]);
    let (one, other) = ([("x-a", "ab"), ("x-a", "c")], [("x-a", "a"), ("x-a", "bc")]);
    assert_eq!(admitted(json!(["header:x-a"]), &[&one, &other, &one]), [200, 200, 429]);
}

#[test]
fn a_limit_with_plans_looks_at_the_plan_whatever_its_key() {
    let limits = json!([limit("ip", json!(["ip"]), 2, json!({"plans": {"pro": {"limit": 6}}}))]);
    let gateway = Gateway::new(limits, json!(["ip"]));
    assert_eq!(gateway.admitted('c', 9), 6);
}

#[test]
fn who_lacks_a_part_of_the_key_is_counted_by_address_or_not_at_all_or_refused() {
    let statuses = |on_missing: &str| {
        let limits = json!([limit("l", json!(["user"]), 1, json!({"on_missing": on_missing}))]);
        let gateway = Gateway::new(limits, json!(["l"]));
        let open = || gateway.send("GET", "/open", &[]).status;
        let first = [open(), open()];
        gateway.from("192.0.2.1");
        [first[0], first[1], open()]
    };
    assert_eq!(statuses("ip"), [200, 429, 200]);
    assert_eq!(statuses("skip"), [200, 200, 200]);
    assert_eq!(statuses("deny"), [403, 403, 403]);
}

#[test]
fn a_network_is_one_client_and_may_be_exempt() {
    let limits = json!([limit(
        "ip",
        json!(["ip"]),
        1,
        json!({"exempt": ["10.0.0.0/8", "2001:db8:1::/48"]})
    )]);
    let gateway = Gateway::new(limits, json!(["ip"]));
    let open = |address: &str| {
        gateway.from(address);
        gateway.send("GET", "/open", &[]).status
    };
    assert_eq!(
        [open("2001:db8::1"), open("2001:db8::2"), open("2001:db8:0:1::1")],
        [200, 429, 200]
    );
    assert_eq!(
        [
            open("10.1.2.3"),
            open("10.1.2.3"),
            open("::ffff:10.1.2.3"),
            open("2001:db8:1::1")
        ],
        [200; 4]
    );
}

#[test]
fn a_shadow_counts_and_refuses_nobody() {
    let gateway = Gateway::new(
        json!([limit("ip", json!(["ip"]), 1, json!({"mode": "shadow"}))]),
        json!(["ip"]),
    );
    assert_eq!(gateway.send("GET", "/open", &[]).headers, []);
    let seen = gateway.send("GET", "/open", &[]);
    assert_eq!(seen.status, 200);
    assert!(
        seen.counters
            .contains(&"tollgate_rate_limit_total;limit=ip;outcome=shadow;".to_owned())
    );
}

#[test]
fn counters_survive_a_new_configuration_of_the_same_limit() {
    let limits = json!([limit("ip", json!(["ip"]), 2, json!({}))]);
    let mut gateway = Gateway::new(limits.clone(), json!(["ip"]));
    assert_eq!(gateway.send("GET", "/open", &[]).status, 200);
    gateway.worker = Rc::new(Worker::new(compile(limits, json!(["ip"])).unwrap()));
    gateway.worker.prepare([9; 16], &gateway.world);
    assert_eq!(
        [
            gateway.send("GET", "/open", &[]).status,
            gateway.send("GET", "/open", &[]).status
        ],
        [200, 429]
    );
}

#[test]
fn retry_after_may_jitter() {
    let limits = json!([limit("ip", json!(["ip"]), 1, json!({"retry_after_jitter": "30s"}))]);
    let gateway = Gateway::new(limits, json!(["ip"]));
    gateway.send("GET", "/open", &[]);
    let waits: Vec<u64> = (0..40)
        .map(|_| {
            gateway.world.now.set(gateway.world.now.get() + 1);
            gateway
                .send("GET", "/open", &[])
                .header("retry-after")
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(most - least > 10 && most - least <= 31, "{waits:?}");
}
