use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::auth::jwks::RemoteKeys;
use crate::clock::Seconds;
use crate::config::{Environment, Report};
use crate::policy::jwt::{Issuers, JwtConfig};
use crate::seam::simulated::Simulated;
use crate::seam::{Answer, Caller as _};

const NOW: u64 = 1_700_000_000;

/// A host that accepts every signature until told otherwise.
fn host() -> Simulated {
    let host = Simulated::default();
    host.verdict.set(Some(true));
    at(&host, NOW);
    host
}

/// Sets the time, in seconds since the epoch.
fn at(host: &Simulated, now: u64) {
    host.now.set(now * 1000);
}

fn issuers(change: Value) -> Issuers {
    let mut issuer = json!({
        "name": "main", "issuer": "i", "audiences": ["a", "b"], "algorithms": ["ES256"],
        "jwks": {"inline": {"keys": [{
            "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }]}},
    });
    for (name, value) in change.as_object().unwrap() {
        issuer[name] = value.clone();
    }
    let config: JwtConfig = serde_json::from_value(json!({"issuers": [issuer]})).unwrap();
    let mut report = Report::default();
    let issuers = Issuers::compile(&config, &Environment::new(), &mut report);
    report.finish().unwrap();
    issuers
}

fn accept(issuers: &Issuers, audiences: &[&str]) -> Accept {
    let audiences: Vec<_> = audiences.iter().map(ToString::to_string).collect();
    issuers.accept(None, &audiences, &mut Report::default()).unwrap()
}

fn token(claims: Value) -> String {
    let mut all = json!({"iss": "i", "aud": "a", "sub": "u", "exp": NOW + 100});
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        encode(r#"{"alg":"ES256"}"#),
        encode(&all.to_string()),
        URL_SAFE_NO_PAD.encode([1; 64])
    )
}

fn verify(accept: &Accept, token: &str, host: &Simulated) -> Result<Verified, &'static str> {
    accept
        .verify(token.as_bytes(), &Source::bearer(), false, &host.cx())
        .map_err(|failure| match failure {
            Failure::Invalid(invalid) => invalid.reason,
            other => panic!("{other:?}"),
        })
}

#[test]
fn a_known_token_costs_no_signature_and_is_still_checked() {
    let (issuers, host) = (issuers(json!({})), host());
    let (here, elsewhere) = (accept(&issuers, &[]), accept(&issuers, &["b"]));
    let token = token(json!({}));
    for _ in 0..3 {
        assert_eq!(verify(&here, &token, &host).unwrap().subject.user_id, "u");
    }
    assert_eq!(host.asked.get(), 1);
    assert_eq!(verify(&elsewhere, &token, &host).unwrap_err(), "audience_not_of_route");
    at(&host, NOW + 160);
    assert_eq!(verify(&here, &token, &host).unwrap_err(), "expired");
    at(&host, NOW - 10_000);
    assert!(verify(&here, &token, &host).is_ok(), "the clock went back");
    assert_eq!(host.asked.get(), 1);
}

#[test]
fn a_token_that_is_not_yet_valid_becomes_valid() {
    let (issuers, host) = (issuers(json!({})), host());
    let here = accept(&issuers, &[]);
    let token = token(json!({"nbf": NOW + 70}));
    assert_eq!(verify(&here, &token, &host).unwrap_err(), "not_yet_valid");
    at(&host, NOW + 10);
    assert!(verify(&here, &token, &host).is_ok());
    assert_eq!(host.asked.get(), 1);
}

#[test]
fn a_replayed_bad_token_costs_one_signature() {
    let (issuers, host) = (issuers(json!({})), host());
    let here = accept(&issuers, &[]);
    host.verdict.set(Some(false));
    for _ in 0..5 {
        assert_eq!(
            verify(&here, &token(json!({})), &host).unwrap_err(),
            "signature_mismatch"
        );
    }
    assert_eq!(host.asked.get(), 1);
    host.verdict.set(Some(true));
    for _ in 0..5 {
        assert_eq!(
            verify(&here, &token(json!({"sub": "a\nb"})), &host).unwrap_err(),
            "claim_malformed"
        );
        assert_eq!(
            verify(&here, &token(json!({"exp": NOW - 1000})), &host).unwrap_err(),
            "expired"
        );
    }
    assert_eq!(host.asked.get(), 3);
    at(&host, NOW + 10);
    assert!(
        verify(&here, &token(json!({})), &host).is_ok(),
        "a bad verdict is forgotten"
    );
}

#[test]
fn another_signature_is_another_token() {
    let (issuers, host) = (issuers(json!({})), host());
    let here = accept(&issuers, &[]);
    let good = token(json!({}));
    assert!(verify(&here, &good, &host).is_ok());
    host.verdict.set(Some(false));
    let signature = good.rsplit('.').next().unwrap();
    let forged = good.replace(signature, &URL_SAFE_NO_PAD.encode([2; 64]));
    assert_eq!(verify(&here, &forged, &host).unwrap_err(), "signature_mismatch");
}

#[test]
fn without_a_cache_every_token_is_verified() {
    let mut config = json!({"issuers": [], "cache_bytes": 0});
    config["issuers"] = json!([{
        "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"],
        "jwks": {"inline": {"keys": [{
            "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }]}},
    }]);
    let config: JwtConfig = serde_json::from_value(config).unwrap();
    let issuers = Issuers::compile(&config, &Environment::new(), &mut Report::default());
    let (here, host) = (accept(&issuers, &[]), host());
    for _ in 0..3 {
        assert!(verify(&here, &token(json!({})), &host).is_ok());
    }
    assert_eq!(host.asked.get(), 3);
}

#[test]
fn the_payload_is_passed_on_where_it_is_wanted() {
    let (issuers, host) = (issuers(json!({"payload_header": "x-jwt-payload"})), host());
    let token = token(json!({}));
    let (name, payload) = verify(&accept(&issuers, &[]), &token, &host).unwrap().payload.unwrap();
    assert_eq!(
        (name.as_str(), payload.as_ref()),
        ("x-jwt-payload", token.split('.').nth(1).unwrap())
    );
}

fn key_set(kid: &str) -> Vec<u8> {
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": kid, "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]})
    .to_string()
    .into_bytes()
}

/// Publishes a key set at `now`, and advances the clock beyond.
fn publish(keys: &RemoteKeys, kid: &str, now: u64, host: &Simulated) {
    let before = host.now.get();
    let call = keys.next_call(&host.at(now * 1000)).unwrap();
    let answer = Answer::new("200", key_set(kid));
    keys.answer(&call, Ok(answer), &host.cx());
    host.now.set(before);
}

fn token_of(kid: &str) -> String {
    let token = token(json!({}));
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": kid}).to_string());
    format!("{header}.{}", token.split_once('.').unwrap().1)
}

#[test]
fn a_known_token_is_not_believed_once_its_key_has_left_the_set() {
    let issuers = issuers(json!({"jwks": {"remote": {"cluster": "c", "url": "https://i/keys"}}}));
    let (here, host) = (accept(&issuers, &[]), host());
    let keys = Arc::clone(issuers.remote_keys().next().unwrap());
    publish(&keys, "old", NOW, &host);
    let token = token_of("old");
    assert!(verify(&here, &token, &host).is_ok() && verify(&here, &token, &host).is_ok());
    assert_eq!(host.asked.get(), 1);
    at(&host, NOW + 50);
    publish(&keys, "new", NOW + 700, &host);
    assert_eq!(verify(&here, &token, &host).unwrap_err(), "key_unknown");
    assert!(verify(&here, &token_of("new"), &host).is_ok());
}

#[test]
fn an_unknown_key_is_waited_for_where_the_host_can_wait() {
    let issuers = issuers(json!({"jwks": {"remote": {"cluster": "c", "url": "https://i/keys"}}}));
    let (here, host) = (accept(&issuers, &[]), host());
    let keys = issuers.remote_keys().next().unwrap();
    let ask = |token: &str, may_wait| {
        here.verify(token.as_bytes(), &Source::bearer(), may_wait, &host.cx())
            .map(|_| ())
    };
    assert!(
        matches!(ask(&token_of("a"), true), Err(Failure::Wait(_))),
        "no keys yet"
    );
    let cold = ask(&token_of("a"), false);
    assert!(matches!(cold, Err(Failure::KeysUnavailable(pause)) if pause == Seconds::new(1)));
    publish(keys, "a", NOW, &host);
    assert!(matches!(ask(&token_of("a"), true), Ok(())));
    assert!(matches!(ask(&token_of("b"), true), Err(Failure::Wait(_))));
    assert!(matches!(
        ask(&token_of("b"), false),
        Err(Failure::Invalid(crate::policy::verdict::Invalid {
            reason: "key_unknown",
            ..
        }))
    ));
    assert!(
        matches!(ask(&token(json!({"jti": "1"})), true), Ok(())),
        "without a kid, the key that fits"
    );
    assert_eq!(host.asked.get(), 2);
}
