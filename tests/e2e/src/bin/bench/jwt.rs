//! Tokens: known ones, first-seen ones, and the host calls that they cost.

use serde_json::json;
use tollgate_e2e::bootstrap::{Bare, direct, jwt_authn, listener, one_issuer};
use tollgate_e2e::echo::Echo;
use tollgate_e2e::envoy::Envoy;
use tollgate_e2e::issuer::{Issuer, TokenSpec};

use crate::measure::{ROUNDS, cost, host_calls, median, message};
use crate::{Row, calibration, floor, nothing_but};

/// What Tollgate asks of Envoy for a known token that names its user alone.
const CALLS: &str = "headers
clock
replace";

const EMPTY: usize = 1;
const NATIVE: usize = 2;
const NATIVE_CACHED: usize = 3;
const CALIBRATION: usize = 4;
const FLOORS: usize = 5;

pub(crate) fn run() -> Vec<Row> {
    let mut config = one_issuer(json!([{"name": "all", "match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}}]));
    let issuer = &mut config["jwt"]["issuers"][0];
    issuer["algorithms"] = json!(["RS256", "PS256", "ES256", "EdDSA"]);
    let keys = Issuer::shared().jwks();
    let mut bare = Bare::new(config, &Echo::start("upstream"));
    bare.routes = Some(vec![direct()]);
    bare.listeners = vec![
        listener("empty", vec![], vec![direct()]),
        listener(
            "native",
            vec![jwt_authn(&[("https://issuer.example", &["api"], keys.clone())], false)],
            vec![direct()],
        ),
        listener(
            "native-cached",
            vec![jwt_authn(&[("https://issuer.example", &["api"], keys)], true)],
            vec![direct()],
        ),
        calibration(CALLS),
    ];
    bare.listeners.extend(VERIFIED_BY_ENVOY.map(|(key, algorithm)| {
        let token = Issuer::shared().token(&claims(key, algorithm, 0));
        nothing_but(algorithm, &floor::calls(&bare.config, &token))
    }));
    let envoy = Envoy::alone(1, &bare.bootstrap());
    let mut rows = known_token(&envoy);
    for (place, (key, algorithm)) in VERIFIED_BY_ENVOY.into_iter().enumerate() {
        rows.extend(first_seen(&envoy, key, algorithm, Some(FLOORS + place)));
    }
    for (key, algorithm) in [("rsa", "PS256"), ("ed25519", "EdDSA")] {
        rows.extend(first_seen(&envoy, key, algorithm, None));
    }
    rows.extend(calls());
    rows
}

/// A token that both filters have seen: what each adds over an empty chain.
fn known_token(envoy: &Envoy) -> Vec<Row> {
    let authorization = format!("Bearer {}", Issuer::shared().token(&claims("rsa", "RS256", 0)));
    let messages = vec![message("authorization", &authorization); 10_000];
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  known token, round {} of {ROUNDS}", round + 1);
        rounds.push([0, EMPTY, NATIVE_CACHED, CALIBRATION].map(|place| cost(envoy, place, &messages)));
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&[f64; 4]) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let added = column(0) - column(1);
    vec![
        Row::new("jwt", "empty chain", column(1), "us/request"),
        Row::new("jwt", "known token, whole chain", column(0), "us/request").against(
            column(3),
            &pairs(|[ours, _, _, calibration]| ours / calibration),
            Some(1.25),
        ),
        Row::new(
            "jwt",
            "known token, added over the empty chain, against jwt_authn with its cache",
            added,
            "us/request",
        )
        .against(
            column(2) - column(1),
            &pairs(|[ours, empty, native, _]| (ours - empty) / (native - empty)),
            None,
        ),
    ]
}

/// Tokens that nobody has seen, the same for both filters, and for the least that a plugin must do where `floor` is its
/// listener.
fn first_seen(envoy: &Envoy, key: &str, algorithm: &str, floor: Option<usize>) -> Vec<Row> {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("  first-seen {algorithm}, round {} of {ROUNDS}", round + 1);
        let messages: Vec<_> = (0..FIRST_SEEN)
            .map(|number| {
                let spec = claims(key, algorithm, 1 + round * FIRST_SEEN + number);
                message("authorization", &format!("Bearer {}", Issuer::shared().token(&spec)))
            })
            .collect();
        let ours = cost(envoy, 0, &messages);
        let native = cost(envoy, NATIVE, &messages);
        rounds.push([ours, native, floor.map_or(0.0, |floor| cost(envoy, floor, &messages))]);
    }
    let column = |place: usize| median(&rounds.iter().map(|round| round[place]).collect::<Vec<_>>());
    let pairs = |ratio: fn(&[f64; 3]) -> f64| rounds.iter().map(ratio).collect::<Vec<_>>();
    let row = |what: &str, value| Row::new("jwt", format!("first-seen {algorithm}, {what}"), value, "us/request");
    let mut rows = vec![row("each token once, against jwt_authn", column(0)).against(
        column(1),
        &pairs(|[ours, native, _]| ours / native),
        floor.map(|_| 1.05),
    )];
    if floor.is_some() {
        rows.push(
            row(
                "nothing but the calls that a plugin needs, against jwt_authn",
                column(2),
            )
            .against(column(1), &pairs(|[_, native, floor]| floor / native), None),
        );
        rows.push(
            row("each token once, against nothing but the calls", column(0)).against(
                column(2),
                &pairs(|[ours, _, floor]| ours / floor),
                Some(1.25),
            ),
        );
    }
    rows
}

fn calls() -> Vec<Row> {
    let config = one_issuer(json!([{"name": "all", "match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}}]));
    let mut bare = Bare::new(config, &Echo::start("upstream"));
    bare.routes = Some(vec![direct()]);
    let envoy = Envoy::alone(1, &bare.bootstrap());
    let whole = json!({"tenant_id": "t", "roles": ["a"], "scope": "s", "plan": "p"});
    [("the user alone", json!({})), ("every claim", whole)]
        .into_iter()
        .map(|(what, claims)| {
            let token = Issuer::shared().token(&TokenSpec {
                claims: claims.as_object().cloned().unwrap_or_default(),
                ..TokenSpec::default()
            });
            let calls = host_calls(&envoy, &message("authorization", &format!("Bearer {token}")));
            Row::calls("jwt", format!("host calls for a known token with {what}"), &calls)
        })
        .collect()
}

fn claims(key: &str, algorithm: &str, number: usize) -> TokenSpec {
    TokenSpec {
        key: Some(key.into()),
        algorithm: Some(algorithm.into()),
        claims: json!({"jti": number.to_string()})
            .as_object()
            .cloned()
            .unwrap_or_default(),
        ..TokenSpec::default()
    }
}

const FIRST_SEEN: usize = 1000;

const VERIFIED_BY_ENVOY: [(&str, &str); 2] = [("rsa", "RS256"), ("p256", "ES256")];
