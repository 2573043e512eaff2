use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::{Environment, decode};
use crate::remote::Answer;
use crate::store::memory::Memory;
use crate::world::simulated::Simulated;

fn exchange(routes: serde_json::Value) -> Exchange {
    let config = decode(json!({"version": 1, "routes": routes}).to_string().as_bytes()).unwrap();
    Exchange::new(Rc::new(Plan::compile(&config, &Environment::new()).unwrap()))
}

fn public() -> Exchange {
    exchange(json!([{"match": {"path_prefix": "/public"}, "public": true}]))
}

fn on(exchange: &mut Exchange, path: &str, more: &[(&str, &str)]) -> Vec<Effect> {
    let headers: Headers = [
        (":method", "GET"),
        (":authority", "h"),
        (":path", path),
        ("x-request-id", "r1"),
    ]
    .iter()
    .chain(more)
    .copied()
    .collect();
    exchange.on(
        Event::RequestHeaders {
            headers: &headers,
            route_name: None,
            may_wait: false,
            has_body: false,
        },
        &Simulated::default(),
    )
}

#[test]
fn a_passing_request_loses_what_it_forged_and_is_counted() {
    let effects = on(
        &mut public(),
        "/public",
        &[("x-user-id", "a"), ("x-user_id", "b"), ("x-user-id", "c")],
    );
    assert_eq!(
        effects,
        [
            Effect::RemoveHeader(b"x-user-id".to_vec()),
            Effect::RemoveHeader(b"x-user_id".to_vec()),
            Effect::Count("tollgate_requests_total;route=/public/*;outcome=allowed;code=ok;".into()),
        ]
    );
}

#[test]
fn a_refused_request_is_counted_and_answered_and_shows_nothing_forged_to_the_log() {
    let effects = on(&mut public(), "/private", &[("x-user-id", "a")]);
    let [
        Effect::RemoveHeader(_),
        Effect::Count(count),
        Effect::Log(log::Level::Debug, message),
        Effect::Reply(reply),
    ] = effects.as_slice()
    else {
        panic!("{effects:?}");
    };
    assert_eq!(
        count.as_ref(),
        "tollgate_requests_total;route=none;outcome=denied;code=no_policy;"
    );
    assert_eq!(message, "refused: no_policy (no_rule) on route none");
    assert!(reply.body.contains("\"request_id\":\"r1\""));
}

#[test]
fn a_request_without_its_pseudo_headers_is_refused() {
    for missing in [":method", ":authority", ":path"] {
        let headers: Headers = [(":method", "GET"), (":authority", "h"), (":path", "/public")]
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        let effects = public().on(
            Event::RequestHeaders {
                headers: &headers,
                route_name: None,
                may_wait: false,
                has_body: false,
            },
            &Simulated::default(),
        );
        assert!(
            matches!(effects.last(), Some(Effect::Reply(reply)) if reply.status == 400),
            "{missing}: {effects:?}"
        );
    }
}

#[test]
fn grpc_is_told_by_its_content_type() {
    let grpc_status = |content_type: &str| match on(&mut public(), "/private", &[("content-type", content_type)]).last()
    {
        Some(Effect::Reply(reply)) => reply.grpc_status,
        other => panic!("{other:?}"),
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
    let effects = public().on(trailers(&forged_trailers()), &Simulated::default());
    assert_eq!(
        effects,
        ["x-user-id", "x_user_roles", "x-http-method-override"].map(|name| Effect::RemoveHeader(name.into()))
    );
}

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
    /// Envoy tells of pieces and of trailers while a request is held, with `allow_on_headers_stop_iteration`, or after.
    #[test]
    fn trailers_are_stripped_in_every_order_of_events(
        pieces in 0usize..4,
        resumed_after in 0usize..6,
        validate in prop::sample::select(vec![json!({}), json!({"max_bytes": 9}), json!({"max_bytes": 1}), json!({"schema": {}})]),
        waits in any::<bool>(),
    ) {
        let mut exchange = waiting(&validate);
        let headers: Headers = [(":method", "POST"), (":authority", "h"), (":path", "/")].into_iter().collect();
        let told = |exchange: &mut Exchange, may_wait| {
            let event = Event::RequestHeaders { headers: &headers, route_name: None, may_wait, has_body: true };
            exchange.on(event, &Simulated::default())
        };
        let forged = forged_trailers();
        let mut is_held = told(&mut exchange, waits) == [Effect::Wait];
        prop_assert_eq!(is_held, waits);
        for place in 0..=pieces {
            if is_held && place == resumed_after {
                told(&mut exchange, true);
                is_held = false;
            }
            if place < pieces {
                if exchange.watches(Direction::Request) {
                    let piece = Chunk { size: place, ends: false, read: &|| Some(Vec::new()) };
                    exchange.on(Event::RequestBody(piece), &Simulated::default());
                }
                continue;
            }
            let effects = exchange.on(trailers(&forged), &Simulated::default());
            for name in ["x-user-id", "x_user_roles", "x-http-method-override"] {
                prop_assert!(effects.contains(&Effect::RemoveHeader(name.into())), "{:?}", effects);
            }
            prop_assert!(!is_held || effects.last() == Some(&Effect::Hold), "what waits does not go on with its trailers");
        }
    }
}

/// Waits for a service that does not answer in time, which is allowed.
fn waiting(validate: &serde_json::Value) -> Exchange {
    let config = json!({
        "version": 1,
        "rate_limit_service": {"cluster": "rls"},
        "rate_limits": [{"name": "all", "key": ["route"], "limit": 5, "window": "1m", "backend": "rls", "on_fault": "allow"}],
        "routes": [{"match": {"path_prefix": "/"}, "public": true, "rate_limits": ["all"], "validate": validate}],
    });
    let config = decode(config.to_string().as_bytes()).unwrap();
    Exchange::new(Rc::new(Plan::compile(&config, &Environment::new()).unwrap()))
}

#[test]
fn the_route_name_is_asked_for_only_where_a_rule_needs_it() {
    assert!(!public().needs_route_name());
    assert!(exchange(json!([{"match": {"route": "r"}, "public": true}])).needs_route_name());
}

#[test]
fn a_request_waits_for_keys_once_and_is_counted_once() {
    let config = json!({
        "version": 1,
        "jwt": {"issuers": [{
            "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"],
            "jwks": {"remote": {"cluster": "c", "url": "https://i/keys"}},
        }]},
        "rate_limits": [{"name": "ip", "key": ["ip"], "limit": 5, "window": "1m", "entries": 8}],
        "defaults": {"auth": {"any": ["jwt"]}, "rate_limits": ["ip"]},
    });
    let plan = Rc::new(Plan::compile(&decode(config.to_string().as_bytes()).unwrap(), &Environment::new()).unwrap());
    let keys = Rc::clone(plan.remotes.first().unwrap());
    // {"alg":"ES256","kid":"b"} and {"iss":"i"}
    let token = "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImIifQ.eyJpc3MiOiJpIn0.AAAA";
    let headers: Headers = [
        (":method", "GET"),
        (":authority", "h"),
        (":path", "/"),
        ("authorization", token),
        ("x-user-id", "a"),
    ]
    .into_iter()
    .collect();
    let mut exchange = Exchange::new(plan);
    let event = || Event::RequestHeaders {
        headers: &headers,
        route_name: None,
        may_wait: true,
        has_body: false,
    };
    let world = Simulated::default();
    assert_eq!(exchange.on(event(), &world), [Effect::Wait]);
    let store = Memory::default();
    assert!(!exchange.is_ready(&store));

    let call = keys.call(0, &store).unwrap();
    let body = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "a", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]});
    let answer = Answer::new("200", body.to_string());
    keys.answer(&call, Some(&answer), 0, &store);
    assert!(exchange.is_ready(&store));
    let effects = exchange.on(event(), &world);
    let Some(Effect::Reply(reply)) = effects.last() else {
        panic!("{effects:?}");
    };
    assert_eq!(reply.status, 401);
    assert!(
        reply.headers.contains(&("ratelimit", "\"ip\";r=4;t=120".into())),
        "{reply:?}"
    );
    let counted = Effect::Count("tollgate_rate_limit_total;limit=ip;outcome=allowed;".into());
    assert_eq!(effects.iter().filter(|effect| **effect == counted).count(), 1);
    assert!(effects.contains(&Effect::RemoveHeader(b"x-user-id".to_vec())));
}

#[test]
fn a_body_that_comes_early_is_held_and_never_passes_unseen() {
    let chunk = || Chunk {
        size: 2,
        ends: true,
        read: &|| Some(b"{}".to_vec()),
    };
    for (validate, refused) in [(json!({}), None), (json!({"max_bytes": 9}), Some(503))] {
        let mut exchange = waiting(&validate);
        let headers: Headers = [(":method", "POST"), (":authority", "h"), (":path", "/")]
            .into_iter()
            .collect();
        let event = || Event::RequestHeaders {
            headers: &headers,
            route_name: None,
            may_wait: true,
            has_body: true,
        };
        let world = Simulated::default();
        assert_eq!(exchange.on(event(), &world), [Effect::Wait]);
        assert!(exchange.watches(Direction::Request));
        assert!(
            !exchange.watches(Direction::Response),
            "Envoy may answer by itself meanwhile"
        );
        assert_eq!(exchange.on(Event::RequestBody(chunk()), &world), [Effect::Hold]);
        // The service has not answered in time.
        let effects = exchange.on(event(), &world);
        let status = effects.iter().find_map(|effect| match effect {
            Effect::Reply(reply) => Some(reply.status),
            _ => None,
        });
        assert_eq!(status, refused, "{effects:?}");
    }
}
