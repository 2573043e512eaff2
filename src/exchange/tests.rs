use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::Environment;
use crate::seam::simulated::Simulated;
use crate::seam::{Answer, Lost, Reply};

fn worker(config: &serde_json::Value) -> Rc<Worker> {
    Rc::new(Worker::new(Plan::of(config, &Environment::new()).unwrap()))
}

fn exchange(routes: serde_json::Value) -> Exchange {
    begun(&worker(&json!({"version": 1, "routes": routes})))
}

fn begun(worker: &Rc<Worker>) -> Exchange {
    Exchange::new(Rc::clone(worker), StreamId(0))
}

fn public() -> Exchange {
    exchange(json!([{"match": {"path_prefix": "/public"}, "public": true}]))
}

fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Event<'static> {
    let pairs = [
        (":method", method),
        (":authority", "h"),
        (":path", path),
        ("x-request-id", "r1"),
    ];
    Event::RequestHeaders {
        headers: Rc::new(pairs.iter().chain(more).copied().collect()),
        route_name: None,
        has_body: method == "POST",
    }
}

fn on(exchange: &mut Exchange, path: &str, more: &[(&str, &str)]) -> Step {
    exchange.on(request("GET", path, more), &Simulated::default())
}

fn reply(step: &Step) -> &Reply {
    step.reply().unwrap_or_else(|| panic!("{step:?}"))
}

fn count(name: &str) -> Note {
    Note::Count(name.into())
}

fn names(step: &Step) -> Vec<&[u8]> {
    assert!(step.headers.iter().all(|(_, values)| values.is_empty()));
    step.headers.iter().map(|(name, _)| name).collect()
}

#[test]
fn a_passing_request_loses_what_it_forged_and_is_counted() {
    let step = on(
        &mut public(),
        "/public",
        &[("x-user-id", "a"), ("x-user_id", "b"), ("x-user-id", "c")],
    );
    assert_eq!(names(&step), [b"x-user-id", b"x-user_id"]);
    assert_eq!(
        step.notes,
        [count(
            "tollgate_requests_total;route=/public/*;outcome=allowed;code=ok;"
        )]
    );
    assert_eq!(step.then, Then::Continue);
}

#[test]
fn a_refused_request_is_counted_and_answered_and_shows_nothing_forged_to_the_log() {
    let step = on(&mut public(), "/private", &[("x-user-id", "a")]);
    assert_eq!(names(&step), [b"x-user-id"]);
    assert_eq!(
        step.notes,
        [
            count("tollgate_requests_total;route=none;outcome=denied;code=no_policy;"),
            Note::Log(log::Level::Debug, "refused: no_policy (no_rule) on route none".into()),
        ]
    );
    let body = String::from_utf8(reply(&step).body.clone()).unwrap();
    assert!(body.contains("\"request_id\":\"r1\""));
}

#[test]
fn a_request_without_its_pseudo_headers_is_refused() {
    for missing in [":method", ":authority", ":path"] {
        let pairs = [(":method", "GET"), (":authority", "h"), (":path", "/public")];
        let event = Event::RequestHeaders {
            headers: Rc::new(pairs.into_iter().filter(|(name, _)| *name != missing).collect()),
            route_name: None,
            has_body: false,
        };
        let step = public().on(event, &Simulated::default());
        assert_eq!(reply(&step).status, 400, "{missing}");
    }
}

#[test]
fn what_the_host_cannot_do_is_a_refusal_like_any_other() {
    let host = Simulated::default();
    let failed = |direction, failure| Event::HostFailed(direction, failure);
    let refused = |step: &Step, reason: &str| {
        assert_eq!(reply(step).status, 503);
        assert_eq!(reply(step).details, format!("tollgate{{unavailable:{reason}}}"));
    };
    let step = public().on(failed(Direction::Request, HostFailure::RequestUnreadable), &host);
    refused(&step, "request_unreadable");
    assert!(step.notes.contains(&count(
        "tollgate_requests_total;route=none;outcome=denied;code=unavailable;"
    )));

    let mut passed = public();
    passed.on(
        request("GET", "/public", &[("content-type", "application/grpc")]),
        &host,
    );
    let step = passed.on(failed(Direction::Request, HostFailure::Call(2)), &host);
    refused(&step, "host_call_failed");
    assert_eq!(
        (reply(&step).grpc_status, reply(&step).body.as_slice()),
        (Some(14), &b"unavailable"[..])
    );
    assert!(step.notes.contains(&count(
        "tollgate_requests_total;route=/public/*;outcome=denied;code=unavailable;"
    )));

    let mut passed = public();
    passed.on(request("GET", "/public", &[]), &host);
    let step = passed.on(failed(Direction::Response, HostFailure::ResponseUnreadable), &host);
    refused(&step, "response_unreadable");
    assert!(String::from_utf8_lossy(&reply(&step).body).contains("\"request_id\":\"r1\""));
    let counted = "tollgate_responses_refused_total;route=/public/*;reason=response_unreadable;";
    assert!(step.notes.contains(&count(counted)), "{step:?}");
}

#[test]
fn a_request_that_waits_is_refused_where_the_host_fails_and_leaves_its_place() {
    let host = Simulated::default();
    let worker = waiting(&json!({}));
    let mut exchange = begun(&worker);
    assert_eq!(
        exchange.on(request("GET", "/", &[("x-user-id", "a")]), &host),
        Step::wait()
    );
    let step = exchange.on(
        Event::HostFailed(Direction::Request, HostFailure::TrailersUnreadable),
        &host,
    );
    assert_eq!(reply(&step).details, "tollgate{unavailable:trailers_unreadable}");
    assert_eq!(names(&step), [b"x-user-id"]);
    assert!(step.notes.contains(&count(
        "tollgate_requests_total;route=/*;outcome=denied;code=unavailable;"
    )));
    host.now.set(60_000);
    assert_eq!(worker.attend(&host).wakeups, []);
}

#[test]
fn grpc_is_told_by_its_content_type() {
    let grpc_status = |content_type: &str| {
        let step = on(&mut public(), "/private", &[("content-type", content_type)]);
        reply(&step).grpc_status
    };
    for grpc in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
    ] {
        assert_eq!(grpc_status(grpc), Some(7), "{grpc}");
    }
    for other in [
        "application/json",
        "application/grpc-web",
        "application/grpcx",
        "text/application/grpc",
    ] {
        assert_eq!(grpc_status(other), None, "{other}");
    }
}

#[test]
fn trailers_lose_managed_names_and_other_methods_only() {
    let step = public().on(trailers(&forged_trailers()), &Simulated::default());
    assert_eq!(names(&step), FORGED.map(str::as_bytes));
    assert!(step.notes.is_empty() && step.then == Then::Continue);
}

const FORGED: [&str; 3] = ["x-user-id", "x_user_roles", "x-http-method-override"];

fn forged_trailers() -> Headers {
    let trailers = ["x-user-id", "x_user_roles", "grpc-status", "x-http-method-override"];
    trailers.into_iter().map(|name| (name, "0")).collect()
}

fn trailers(trailers: &Headers) -> Event<'_> {
    Event::RequestTrailers {
        trailers,
        body: Chunk {
            size: 2,
            ends: true,
            read: &|| Some(b"{}".to_vec()),
        },
    }
}

proptest! {
    /// Body and trailers come while a request is suspended, with `allow_on_headers_stop_iteration`, or after.
    #[test]
    fn trailers_are_stripped_in_every_order_of_events(
        pieces in 0usize..4,
        resumed_after in 0usize..6,
        validate in prop::sample::select(vec![json!({}), json!({"max_bytes": 9}), json!({"max_bytes": 1}), json!({"schema": {}})]),
        waits in any::<bool>(),
    ) {
        let worker = waiting(&validate);
        let host = Simulated::default();
        let mut exchange = if waits { begun(&worker) } else { Exchange::impatient(worker, StreamId(0)) };
        let mut is_held = exchange.on(request("POST", "/", &[]), &host).then == Then::Wait;
        prop_assert_eq!(is_held, waits);
        let forged = forged_trailers();
        for place in 0..=pieces {
            if is_held && place == resumed_after {
                prop_assert!(exchange.wake(Wakeup::TimeOver, &host).is_some());
                is_held = false;
            }
            if place < pieces {
                if exchange.watches(Direction::Request) {
                    let piece = Chunk { size: place, ends: false, read: &|| Some(Vec::new()) };
                    exchange.on(Event::RequestBody(piece), &host);
                }
                continue;
            }
            let step = exchange.on(trailers(&forged), &host);
            for name in FORGED {
                prop_assert!(step.headers.get(name.as_bytes()).is_some_and(Vec::is_empty), "{:?}", step);
            }
            prop_assert!(!is_held || step.then == Then::Hold, "what waits does not go on with its trailers");
        }
    }
}

/// A worker whose requests wait for a rate limit service without an answer, with `on_fault: allow`.
fn waiting(validate: &serde_json::Value) -> Rc<Worker> {
    worker(&json!({
        "version": 1,
        "rate_limit_service": {"cluster": "rls"},
        "rate_limits": [{"name": "all", "key": ["route"], "limit": 5, "window": "1m", "backend": "rls", "on_fault": "allow"}],
        "routes": [{"match": {"path_prefix": "/"}, "public": true, "rate_limits": ["all"], "validate": validate}],
    }))
}

#[test]
fn the_route_name_is_asked_for_only_where_a_rule_needs_it() {
    assert!(!public().needs_route_name());
    assert!(exchange(json!([{"match": {"route": "r"}, "public": true}])).needs_route_name());
}

#[test]
fn a_request_waits_for_keys_once_and_is_counted_once() {
    let worker = worker(&json!({
        "version": 1,
        "jwt": {"issuers": [{
            "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"],
            "jwks": {"remote": {"cluster": "c", "url": "https://i/keys"}},
        }]},
        "rate_limits": [{"name": "ip", "key": ["ip"], "limit": 5, "window": "1m", "entries": 8}],
        "defaults": {"auth": {"any": ["jwt"]}, "rate_limits": ["ip"]},
    }));
    // {"alg":"ES256","kid":"b"} and {"iss":"i"}
    let token = "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImIifQ.eyJpc3MiOiJpIn0.AAAA";
    let host = Simulated::default();
    let mut exchange = begun(&worker);
    let event = request("GET", "/", &[("authorization", token), ("x-user-id", "a")]);
    assert_eq!(exchange.on(event, &host), Step::wait());
    let agenda = worker.attend(&host);
    assert!(agenda.wakeups.is_empty());
    let [(call, _)] = agenda.calls.as_slice() else {
        panic!("{agenda:?}");
    };
    let body = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "a", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]});
    let answer = Answer::new("200", body.to_string());
    let agenda = worker.answered(*call, Ok(answer), &host);
    assert_eq!(agenda.wakeups, [(StreamId(0), Wakeup::Due)]);
    let woken = exchange.wake(Wakeup::Due, &host).unwrap();
    assert_eq!(woken.direction, Direction::Request);
    let step = woken.step;
    assert_eq!(reply(&step).status, 401);
    assert_eq!(reply(&step).headers.first("ratelimit"), Some("\"ip\";r=4;t=120"));
    let counted = count("tollgate_rate_limit_total;limit=ip;outcome=allowed;");
    assert_eq!(step.notes.iter().filter(|note| **note == counted).count(), 1);
    assert_eq!(step.headers.get(b"x-user-id"), Some(&Vec::new()));
}

/// One request waits in two policies, then once more for its response.
#[test]
fn all_waits_of_a_request_share_one_deadline() {
    let limit = |name: &str, key: &str| json!({"name": name, "key": [key], "limit": 5, "window": "1m", "backend": "rls", "on_fault": "allow"});
    let worker = worker(&json!({
        "version": 1,
        "jwt": {"issuers": [{
            "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"],
            "jwks": {"remote": {"cluster": "c", "url": "https://i/keys"}},
        }]},
        "rate_limit_service": {"cluster": "rls"},
        "rate_limits": [limit("first", "ip")],
        "routes": [{
            "match": {"path_prefix": "/"}, "auth": {"any": ["jwt"], "optional": true}, "rate_limits": ["first"],
            "fallback": {"cluster": {"name": "other"}, "answer": {"status": 299}},
        }],
    }));
    let host = Simulated::default();
    let mut exchange = begun(&worker);
    assert_eq!(exchange.on(request("GET", "/", &[]), &host), Step::wait());
    let calls = worker.attend(&host).calls;
    let (call, _) = calls.iter().find(|(_, call)| call.cluster == "rls").unwrap();
    host.now.set(500);
    assert_eq!(
        worker.answered(*call, Err(Lost::Unsent), &host).wakeups,
        [(StreamId(0), Wakeup::Due)]
    );
    assert_eq!(exchange.wake(Wakeup::Due, &host).unwrap().step.then, Then::Continue);
    // The upstream's time does not count, only the time for which the gateway suspends the request.
    host.now.set(60_000);
    host.flags.set(Some(2));
    let failed = |exchange: &mut Exchange| {
        let event = Event::ResponseHeaders {
            headers: Rc::new([(":status", "503")].into_iter().collect()),
            has_body: true,
        };
        exchange.on(event, &host)
    };
    assert_eq!(failed(&mut exchange), Step::wait());
    let answered = [60_000, 61_499].map(|now| {
        host.now.set(now);
        worker.attend(&host).wakeups
    });
    assert_eq!(answered, [[], []]);
    host.now.set(61_500);
    assert_eq!(worker.attend(&host).wakeups, [(StreamId(0), Wakeup::TimeOver)]);
    let woken = exchange.wake(Wakeup::TimeOver, &host).unwrap();
    assert_eq!(woken.step.headers.get(b":status"), Some(&vec![b"299".to_vec()]));
}

#[test]
fn where_there_is_no_place_a_request_is_decided_about_as_it_is() {
    let worker = waiting(&json!({}));
    let host = Simulated::default();
    let held = (0..300).filter(|number| {
        let mut exchange = Exchange::new(Rc::clone(&worker), StreamId(*number));
        exchange.on(request("GET", "/", &[]), &host) == Step::wait()
    });
    assert_eq!(held.count(), 64, "one source");
}

#[test]
fn a_body_that_comes_early_is_held_and_never_passes_unseen() {
    let chunk = || Chunk {
        size: 2,
        ends: true,
        read: &|| Some(b"{}".to_vec()),
    };
    for (validate, refused) in [(json!({}), None), (json!({"max_bytes": 9}), Some(503))] {
        let mut exchange = begun(&waiting(&validate));
        let host = Simulated::default();
        assert_eq!(exchange.on(request("POST", "/", &[]), &host), Step::wait());
        assert!(exchange.watches(Direction::Request));
        assert!(
            !exchange.watches(Direction::Response),
            "Envoy may answer by itself meanwhile"
        );
        assert_eq!(exchange.on(Event::RequestBody(chunk()), &host).then, Then::Hold);
        // The service has not answered in time.
        let step = exchange.wake(Wakeup::TimeOver, &host).unwrap().step;
        assert_eq!(step.reply().map(|reply| reply.status), refused, "{step:?}");
    }
}
