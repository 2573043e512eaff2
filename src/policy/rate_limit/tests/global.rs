//! Tests of limits counted by a Rate Limit Service, with prepared answers. The tests through Envoy use a real service.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::gateway::worker::{Agenda, CallId};
use crate::message::grpc;
use crate::policy::rate_limit::protocol::{Limit, Question, Response, Status};
use crate::seam::{Answer, Call, Lost};

const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;

impl Gateway {
    /// A gateway with a service that counts these limits, unless a limit has another backend.
    fn with_service(limits: Vec<Value>, names: Value) -> Self {
        let limits: Vec<_> = limits
            .into_iter()
            .map(|mut limit| {
                if limit["backend"].is_null() {
                    limit["backend"] = "rls".into();
                }
                limit
            })
            .collect();
        let mut config = config(limits.into(), names);
        config["rate_limit_service"] = json!({"cluster": "rls"});
        Self::of(&config)
    }

    /// The calls that it would send now.
    fn calls(&self) -> Vec<(CallId, Rc<Call>)> {
        let agenda = self.worker.attend(&self.world);
        assert!(agenda.wakeups.is_empty());
        agenda.calls
    }

    fn answer(&self, (id, _): &(CallId, Rc<Call>), answer: Option<&Answer>) -> Vec<Note> {
        let Agenda { notes, wakeups, .. } = self
            .worker
            .answered(*id, answer.cloned().ok_or(Lost::Unsent), &self.world);
        self.woken
            .borrow_mut()
            .extend(wakeups.iter().map(|(stream, _)| *stream));
        notes
    }

    /// Sends a request with this key, and gives all of its calls the same answer.
    fn ask_with(&self, letter: char, answer: Option<&Answer>) -> Seen {
        let mut visit = self.visit("GET", "/", &[("x-api-key", &super::key(letter))]);
        if let Some(seen) = self.step(&mut visit, true) {
            assert!(self.calls().is_empty());
            return seen;
        }
        for call in self.calls() {
            assert!(!self.is_woken(&visit));
            self.answer(&call, answer);
        }
        assert!(self.is_woken(&visit));
        self.step(&mut visit, true).unwrap()
    }
}

fn says(code: i32, statuses: Vec<Status>) -> Answer {
    let response = Response {
        overall_code: code,
        statuses,
        headers: Vec::new(),
    };
    let mut answer = Answer::new("200", grpc::frame(&response));
    answer.trailers = [("grpc-status", "0")].into_iter().collect();
    answer
}

fn status(remaining: u32, seconds: i64) -> Vec<Status> {
    vec![Status {
        current_limit: Some(Limit {
            requests_per_unit: 5,
            unit: 2,
        }),
        limit_remaining: remaining,
        duration_until_reset: Some(prost_types::Duration { seconds, nanos: 0 }),
    }]
}

fn asked(call: &Call) -> Question {
    Question::decode(&call.body[5..]).unwrap()
}

fn entries(question: &Question) -> String {
    let entries = &question.descriptors[0].entries;
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| format!("{}={}", entry.key, entry.value))
        .collect();
    entries.join(" ")
}

#[test]
fn the_server_is_asked_as_it_is_documented() {
    let gateway = Gateway::with_service(
        vec![
            limit("ip", json!(["ip", "header:X-Kind"]), 9, json!({"on_missing": "skip"})),
            limit(
                "plan",
                json!(["user", "route"]),
                3,
                json!({"plans": {"pro": {"limit": 7}}, "costs": {"POST": 4}}),
            ),
            limit("tenant", json!(["tenant", "plan"]), 3, json!({"window": "90s"})),
            limit("free", json!(["user"]), 3, json!({"costs": {"POST": 0}})),
        ],
        json!(["ip", { "limit": "plan", "cost": 2 }, "tenant", "free"]),
    );
    let more = [
        ("x-api-key", &*key('c')),
        ("x-kind", "a,b"),
        ("x-request-id", "r-1"),
        ("traceparent", "00-1"),
    ];
    let mut visit = gateway.visit("POST", "/", &more);
    assert!(gateway.step(&mut visit, true).is_none());
    let first = gateway.calls();
    assert_eq!(first.len(), 1, "the first layers alone");
    let call = &first[0].1;
    let header = |name: &str| {
        call.headers
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value.as_str())
    };
    for (name, value) in [
        (":method", "POST"),
        (":path", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"),
        (":authority", "rls"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "20m"),
        ("x-request-id", "r-1"),
        ("traceparent", "00-1"),
    ] {
        assert_eq!(header(name), Some(value), "{name}");
    }
    assert_eq!((call.cluster.as_str(), call.timeout.as_millis()), ("rls", 20));
    let question = asked(call);
    assert_eq!(question.domain, "tollgate");
    assert_eq!(entries(&question), "limit=ip ip=127.0.0.1 header:x-kind=a%2Cb");
    gateway.answer(&first[0], Some(&says(OK, vec![])));

    assert!(gateway.step(&mut visit, true).is_none());
    let second: Vec<_> = gateway.calls().iter().map(|(_, call)| asked(call)).collect();
    assert_eq!(second.len(), 2, "all others at once, but none for what costs nothing");
    assert_eq!(entries(&second[0]), "limit=plan plan=pro issuer=- user=carl route=/*");
    assert_eq!(second[0].hits_addend, 8);
    let told = second[0].descriptors[0].limit.clone();
    assert_eq!(told.map(|limit| (limit.requests_per_unit, limit.unit)), Some((7, 2)));
    assert_eq!(entries(&second[1]), "limit=tenant issuer=- tenant=acme plan=pro");
    assert_eq!((second[1].hits_addend, &second[1].descriptors[0].limit), (1, &None));

    // Another plan, or none, is the default one.
    let mut visit = gateway.visit("GET", "/", &[("x-api-key", &key('a'))]);
    assert!(gateway.step(&mut visit, true).is_none());
    let second: Vec<_> = gateway
        .calls()
        .iter()
        .map(|(_, call)| asked(call))
        .map(|asked| entries(&asked))
        .collect();
    assert_eq!(
        second,
        [
            "limit=plan plan=default issuer=- user=ada route=/*",
            "limit=tenant issuer=- tenant=acme ip=127.0.0.1",
            "limit=free issuer=- user=ada",
        ]
    );
}

#[test]
fn its_word_counts_and_an_exhausted_key_costs_no_call() {
    let limits = vec![limit("user", json!(["user"]), 5, json!({}))];
    let gateway = Gateway::with_service(limits, json!(["user"]));
    let seen = gateway.ask_with('a', Some(&says(OK, status(4, 30))));
    assert_eq!(seen.status, 200);
    assert_eq!(seen.header("ratelimit"), Some("\"user\";r=4;t=30"));
    assert_eq!(seen.header("ratelimit-policy"), Some("\"user\";q=5;w=60"));

    let seen = gateway.ask_with('a', Some(&says(OVER_LIMIT, status(0, 30))));
    assert_eq!((seen.status, seen.header("retry-after")), (429, Some("30")));
    assert_eq!(seen.header("ratelimit"), Some("\"user\";r=0;t=30"));
    assert!(
        seen.counters
            .contains(&"tollgate_rate_limit_total;limit=user;outcome=denied;".into())
    );

    // Another key of the same user: no call until the reset, even if the request may wait.
    for elapsed in [0, 10_000, 19_999] {
        gateway.world.now.set(1_000_000_000 + elapsed);
        let mut visit = gateway.visit("GET", "/", &[("x-api-key", &key('b'))]);
        let seen = gateway.step(&mut visit, true).unwrap();
        let left = (30_000 - elapsed).div_ceil(1000).to_string();
        assert_eq!((seen.status, seen.header("retry-after")), (429, Some(&*left)));
        assert_eq!(seen.header("ratelimit"), Some(&*format!("\"user\";r=0;t={left}")));
        assert!(gateway.calls().is_empty());
    }
    assert_eq!(
        gateway.ask_with('c', Some(&says(OK, vec![]))).status,
        200,
        "another user"
    );
    gateway.world.now.set(1_000_030_000);
    assert_eq!(gateway.ask_with('a', Some(&says(OK, vec![]))).status, 200);

    // A refusal without a reset counts for one second, and the client is told no quota.
    let seen = gateway.ask_with('a', Some(&says(OVER_LIMIT, vec![])));
    assert_eq!(
        (seen.status, seen.header("retry-after"), seen.header("ratelimit")),
        (429, Some("1"), None)
    );
    gateway.world.now.set(1_000_030_999);
    assert_eq!(gateway.send("GET", "/", &[("x-api-key", &key('a'))]).status, 429);
    gateway.world.now.set(1_000_031_000);
    assert_eq!(gateway.ask_with('a', Some(&says(OK, vec![]))).status, 200);
}

#[test]
fn a_refusal_without_numbers_tells_nothing_of_another_limit() {
    let limits = vec![
        limit("ip", json!(["ip"]), 9, json!({"backend": "local"})),
        limit("user", json!(["user"]), 5, json!({})),
    ];
    let gateway = Gateway::with_service(limits, json!(["ip", "user"]));
    let seen = gateway.ask_with('a', Some(&says(OK, vec![])));
    assert_eq!(seen.header("ratelimit-policy"), Some("\"ip\";q=9;w=60"));
    let seen = gateway.ask_with('a', Some(&says(OVER_LIMIT, vec![])));
    assert_eq!((seen.status, seen.header("ratelimit-policy")), (429, None));
}

#[test]
fn a_costly_request_that_is_refused_keeps_no_cheap_one_out() {
    let limits = vec![limit("user", json!(["user"]), 5, json!({"costs": {"POST": 4}}))];
    let gateway = Gateway::with_service(limits, json!(["user"]));
    let mut visit = gateway.visit("POST", "/", &[("x-api-key", &key('a'))]);
    assert!(gateway.step(&mut visit, true).is_none());
    gateway.answer(&gateway.calls()[0], Some(&says(OVER_LIMIT, status(3, 30))));
    assert_eq!(gateway.step(&mut visit, true).unwrap().status, 429);
    assert_eq!(gateway.ask_with('a', Some(&says(OK, vec![]))).status, 200);
    assert_eq!(
        gateway
            .send("POST", "/", &[("x-api-key", &key('a'))])
            .header("retry-after"),
        Some("30")
    );
}

#[test]
fn a_server_that_is_believed_for_too_long_is_asked_again() {
    let limits = vec![limit("user", json!(["user"]), 5, json!({}))];
    let gateway = Gateway::with_service(limits, json!(["user"]));
    let seen = gateway.ask_with('a', Some(&says(OVER_LIMIT, status(0, i64::MAX))));
    assert_eq!(seen.status, 429);
    gateway.world.now.set(1_000_000_000 + 3_600_000);
    assert_eq!(gateway.ask_with('a', Some(&says(OK, vec![]))).status, 200);
}

#[test]
fn who_is_refused_spends_nothing_that_this_envoy_counts_and_asks_nobody_after_it() {
    let limits = vec![
        limit("global", json!(["user"]), 5, json!({})),
        limit("local", json!(["tenant"]), 2, json!({"backend": "local"})),
    ];
    let gateway = Gateway::with_service(limits, json!(["global", "local"]));
    for _ in 0..3 {
        let seen = gateway.ask_with('a', Some(&says(OVER_LIMIT, status(0, 1))));
        assert_eq!(seen.status, 429);
        assert_eq!(seen.header("ratelimit"), Some("\"global\";r=0;t=1"));
        gateway.world.now.set(gateway.world.now.get() + 1000);
    }
    for left in [1, 0] {
        let seen = gateway.ask_with('a', Some(&says(OK, status(3, 9))));
        assert_eq!(seen.status, 200);
        assert!(
            seen.header("ratelimit")
                .unwrap()
                .starts_with(&format!("\"local\";r={left};")),
            "the tightest"
        );
    }
    let mut visit = gateway.visit("GET", "/", &[("x-api-key", &key('a'))]);
    assert_eq!(gateway.step(&mut visit, true).unwrap().status, 429);
    assert!(gateway.calls().is_empty());
}

#[test]
fn every_fault_is_met_as_it_is_configured() {
    let bad_status = |name, value| {
        let mut answer = says(OK, vec![]);
        answer.trailers = [(name, value)].into_iter().collect();
        answer
    };
    let faults = [
        ("cluster", None),
        ("no_answer", Some(Answer::default())),
        ("timeout", Some(Answer::new("504", ""))),
        ("status", Some(Answer::new("503", ""))),
        ("grpc_status", Some(bad_status("grpc-status", "2"))),
        ("no_grpc_status", Some(bad_status("x", "0"))),
        ("unknown_code", Some(says(0, vec![]))),
        (
            "malformed",
            Some(Answer {
                body: b"<html>".to_vec(),
                ..says(OK, vec![])
            }),
        ),
    ];
    for (reason, answer) in &faults {
        for (on_fault, expected) in [
            (json!({}), [200, 200, 429]),
            (json!({"on_fault": "local"}), [200, 200, 429]),
            (json!({"on_fault": "allow"}), [200, 200, 200]),
            (json!({"on_fault": "deny"}), [503, 503, 503]),
            (json!({"on_fault": "deny", "mode": "shadow"}), [200, 200, 200]),
        ] {
            let limits = vec![limit("user", json!(["user"]), 2, on_fault.clone())];
            let gateway = Gateway::with_service(limits, json!(["user"]));
            let seen = [0; 3].map(|_| gateway.ask_with('a', answer.as_ref()));
            assert_eq!(seen.each_ref().map(|seen| seen.status), expected, "{reason} {on_fault}");
            for seen in &seen {
                let fault = "tollgate_rate_limit_faults_total;limit=user;";
                assert!(
                    seen.counters.iter().any(|counter| counter == fault),
                    "{reason} {on_fault}"
                );
                if seen.status == 503 {
                    assert_eq!(seen.header("retry-after"), Some("1"));
                }
            }
        }
    }
    for (reason, answer) in &faults {
        let gateway = Gateway::with_service(vec![limit("user", json!(["user"]), 2, json!({}))], json!(["user"]));
        let mut visit = gateway.visit("GET", "/", &[("x-api-key", &key('a'))]);
        assert!(gateway.step(&mut visit, true).is_none());
        let notes = gateway.answer(&gateway.calls()[0], answer.as_ref());
        let counter = format!("tollgate_rls_calls_total;outcome=failed;reason={reason};");
        assert!(notes.contains(&Note::Count(counter.into())), "{notes:?}");
    }
}

#[test]
fn a_server_that_fails_is_left_alone_and_tried_again() {
    let limits = vec![limit("user", json!(["user"]), 100, json!({"on_fault": "deny"}))];
    let gateway = Gateway::with_service(limits, json!(["user"]));
    let good = says(OK, vec![]);
    for _ in 0..3 {
        assert_eq!(gateway.ask_with('a', None).status, 503);
    }
    // The breaker is open: no request waits.
    let mut visit = gateway.visit("GET", "/", &[("x-api-key", &key('a'))]);
    let seen = gateway.step(&mut visit, true).unwrap();
    assert_eq!((seen.status, seen.header("retry-after")), (503, Some("1")));
    assert!(gateway.calls().is_empty());
    gateway.world.now.set(1_000_001_000);
    assert_eq!(gateway.ask_with('a', None).status, 503);
    let mut visit = gateway.visit("GET", "/", &[("x-api-key", &key('a'))]);
    assert_eq!(gateway.step(&mut visit, true).unwrap().header("retry-after"), Some("2"));
    gateway.world.now.set(1_000_003_000);
    assert_eq!(gateway.ask_with('a', Some(&good)).status, 200);
    assert_eq!(gateway.ask_with('a', None).status, 503);
    assert_eq!(
        gateway.ask_with('a', Some(&good)).status,
        200,
        "the count has begun anew"
    );
}

#[test]
fn what_does_not_come_in_time_is_a_fault() {
    let gateway = Gateway::with_service(vec![limit("user", json!(["user"]), 1, json!({}))], json!(["user"]));
    let mut visit = gateway.visit("GET", "/", &[("x-api-key", &key('a'))]);
    assert!(gateway.step(&mut visit, true).is_none());
    let calls = gateway.calls();
    assert_eq!(gateway.step(&mut visit, true).unwrap().status, 200, "counted here");
    // The late answer has no effect.
    gateway.answer(&calls[0], Some(&says(OVER_LIMIT, vec![])));
    gateway.answer(&calls[0], Some(&says(OVER_LIMIT, vec![])));
    // Without a place to wait, the service is not called.
    assert_eq!(gateway.send("GET", "/", &[("x-api-key", &key('a'))]).status, 429);
    assert!(gateway.calls().is_empty());
}

#[test]
fn requests_that_leave_and_come_again_do_not_pile_up() {
    let gateway = Gateway::with_service(vec![limit("user", json!(["user"]), 1, json!({}))], json!(["user"]));
    let waits = (0..2000).filter(|_| {
        let mut visit = gateway.visit("GET", "/", &[("x-api-key", &key('a'))]);
        let waits = gateway.step(&mut visit, true).is_none();
        gateway.worker.leave(visit.stream);
        waits
    });
    assert_eq!(waits.count(), 1024);
}

#[test]
fn a_shadow_asks_and_refuses_nobody() {
    let limits = vec![limit("user", json!(["user"]), 1, json!({"mode": "shadow"}))];
    let gateway = Gateway::with_service(limits, json!(["user"]));
    for _ in 0..2 {
        let seen = gateway.ask_with('a', Some(&says(OVER_LIMIT, status(0, 1))));
        assert_eq!((seen.status, seen.header("ratelimit")), (200, None));
        let shadow = "tollgate_rate_limit_total;limit=user;outcome=shadow;";
        assert_eq!(seen.counters.iter().filter(|counter| *counter == shadow).count(), 1);
    }
}

#[test]
fn each_mistake_says_where_it_is() {
    let wrong = |service: Value, more: Value| {
        let mut config = config(json!([limit("l", json!(["user"]), 1, more)]), json!(["l"]));
        if !service.is_null() {
            config["rate_limit_service"] = service;
        }
        plan(&config).map(|_| ()).unwrap_err()
    };
    let rls = || json!({"backend": "rls"});
    let service = || json!({"cluster": "rls"});
    for (service, more, expected) in [
        (
            Value::Null,
            rls(),
            "rate_limits[0].backend: is `rls`, and there is no `rate_limit_service`",
        ),
        (
            service(),
            json!({"on_fault": "deny"}),
            "rate_limits[0].on_fault: is only for `backend: rls`",
        ),
        (
            service(),
            json!({"backend": "rls", "plans": {"default": {"limit": 1}}}),
            "rate_limits[0].plans.default: is what the rate limit service is told of",
        ),
        (
            service(),
            json!({"backend": "redis"}),
            "rate_limits[0].backend: unknown variant",
        ),
        (json!({}), rls(), "rate_limit_service: missing field `cluster`"),
        (
            json!({"cluster": ""}),
            rls(),
            "rate_limit_service.cluster: must not be empty",
        ),
        (
            json!({"cluster": "a", "domain": ""}),
            rls(),
            "rate_limit_service.domain: must not be empty",
        ),
        (
            json!({"cluster": "a", "timeout": "0s"}),
            rls(),
            "rate_limit_service.timeout: must be from 1ms to 1000ms",
        ),
        (
            json!({"cluster": "a", "timeout": "2s"}),
            rls(),
            "rate_limit_service.timeout: must be from 1ms to 1000ms",
        ),
    ] {
        let found = wrong(service, more);
        assert!(found.contains(expected), "\n  expected: {expected}\n  found: {found}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let gateway = Gateway::with_service(vec![limit("user", json!(["user"]), 5, json!({}))], json!(["user"]));
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let answer = Answer { body: [&[0], &length[..], &bytes].concat(), ..says(OK, vec![]) };
        let seen = gateway.ask_with('a', Some(&answer));
        prop_assert!([200, 429].contains(&seen.status));
    }

    #[test]
    fn no_number_makes_it_panic(
        code in 0..3,
        limit_remaining: u32,
        requests_per_unit: u32,
        unit in -1..9,
        seconds: i64,
        nanos: i32,
        cost: u64,
    ) {
        let limits = vec![limit("user", json!(["user"]), 5, json!({"costs": {"GET": cost}, "retry_after_jitter": "9s"}))];
        let gateway = Gateway::with_service(limits, json!([{"limit": "user", "cost": cost}]));
        let status = Status {
            current_limit: Some(Limit { requests_per_unit, unit }),
            limit_remaining,
            duration_until_reset: Some(prost_types::Duration { seconds, nanos }),
        };
        for _ in 0..2 {
            let seen = gateway.ask_with('a', Some(&says(code, vec![status.clone()])));
            prop_assert!([200, 429].contains(&seen.status));
        }
    }
}
