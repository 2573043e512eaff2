//! Tests of issuers with the same users, racing workers and configuration errors.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::seam::simulated::Sharing;
use crate::seam::store::Store;
use crate::seam::store::memory::Memory;

/// Users with the same name from two issuers are counted separately.
#[test]
fn issuers_do_not_mix() {
    let issuer = |name: &str| {
        json!({
            "name": name, "issuer": name, "audiences": ["a"], "algorithms": ["ES256"],
            "jwks": {"inline": {"keys": [{
                "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            }]}},
        })
    };
    let config = json!({
        "version": 1,
        "jwt": {"issuers": [issuer("one"), issuer("two")]},
        "rate_limits": [limit("user", json!(["user"]), 1, json!({})), limit("tenant", json!(["tenant"]), 1, json!({}))],
        "routes": [
            {"match": {"path": "/user"}, "auth": {"any": [{"jwt": ["one", "two"]}]}, "rate_limits": ["user"]},
            {"match": {"path": "/tenant"}, "auth": {"any": [{"jwt": ["one", "two"]}]}, "rate_limits": ["tenant"]},
        ],
    });
    let plan = Plan::of(&config, &Environment::new()).unwrap();
    let gateway = Gateway::with(plan, Simulated::default());
    gateway.world.verdict.set(Some(true));
    let bearer = |issuer: &str| {
        let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let claims = json!({"iss": issuer, "aud": "a", "exp": 1000, "sub": "ada", "tenant_id": "acme"});
        let signature = URL_SAFE_NO_PAD.encode([1; 64]);
        format!(
            "Bearer {}.{}.{signature}",
            encode(json!({"alg": "ES256"})),
            encode(claims)
        )
    };
    for path in ["/user", "/tenant"] {
        let ask = |issuer: &str| gateway.send("GET", path, &[("authorization", &bearer(issuer))]).status;
        assert_eq!(
            [ask("one"), ask("two"), ask("one"), ask("two")],
            [200, 200, 429, 429],
            "{path}"
        );
    }
}

/// A store in which every write loses a race.
#[derive(Debug)]
struct Contended(Memory);

impl Store for Contended {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.read(key)
    }

    fn write(&self, _: &str, _: &[u8], _: u32) -> bool {
        false
    }
}

#[test]
fn who_loses_the_race_for_a_slot_is_refused_and_counted() {
    let plan = compile(json!([limit("ip", json!(["ip"]), 5, json!({}))]), json!(["ip"])).unwrap();
    let headers: Headers = [(":method", "GET"), (":authority", "h"), (":path", "/open")]
        .into_iter()
        .collect();
    let event = Event::RequestHeaders {
        headers: Rc::new(headers),
        route_name: None,
        has_body: false,
    };
    let sharing = Sharing {
        host: &Simulated::default(),
        store: &Contended(Memory::default()),
    };
    let worker = Rc::new(Worker::new(plan));
    let step = Exchange::new(worker, StreamId(0)).on(event, &sharing);
    assert_eq!(step.reply().map(|reply| reply.status), Some(429), "{step:?}");
    assert!(step.notes.contains(&Note::Count(
        "tollgate_rate_limit_total;limit=ip;outcome=contended;".into()
    )));
}

#[test]
fn each_mistake_says_where_it_is() {
    let wrong = |more: Value| {
        compile(json!([limit("l", json!(["ip"]), 1, more)]), json!(["l"]))
            .map(|_| ())
            .unwrap_err()
    };
    for (more, expected) in [
        (json!({"name": ""}), "rate_limits[0].name: must be"),
        (json!({"key": []}), "rate_limits[0].key: is empty"),
        (
            json!({"key": ["adress"]}),
            "rate_limits[0].key[0]: \"adress\" is not a part of a key",
        ),
        (
            json!({"key": ["claim:email"]}),
            "rate_limits[0].key[0]: nothing defines \"email\"",
        ),
        (json!({"limit": 0}), "rate_limits[0].limit: must be at least 1"),
        (json!({"window": "0s"}), "rate_limits[0].window: must be at least 1ms"),
        (json!({"burst": 3}), "rate_limits[0].burst: is only for `token_bucket`"),
        (
            json!({"algorithm": "exact_window", "limit": 101}),
            "rate_limits[0].limit: is above 100",
        ),
        (
            json!({"algorithm": "leaky"}),
            "rate_limits[0].algorithm: unknown variant",
        ),
        (
            json!({"plans": {"pro": {"limit": 0}}}),
            "rate_limits[0].plans.pro.limit: must be at least 1",
        ),
        (
            json!({"exempt": ["10.0.0.0/99"]}),
            "rate_limits[0].exempt[0]: \"10.0.0.0/99\" is not a network",
        ),
        (json!({"entries": 0}), "rate_limits[0].entries: must be from 1"),
        (json!({"mode": "off"}), "rate_limits[0].mode: unknown variant"),
    ] {
        let found = wrong(more.clone());
        assert!(
            found.contains(expected),
            "{more}\n  expected: {expected}\n  found: {found}"
        );
    }
    let found = compile(json!([limit("l", json!(["ip"]), 1, json!({}))]), json!(["m"]))
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        found.matches("no limit is called \"m\"; there is l").count(),
        2,
        "{found}"
    );
    let large = compile(
        json!([limit("l", json!(["ip"]), 3_000_000_000, json!({}))]),
        json!(["l"]),
    );
    assert!(large.is_ok());
}
