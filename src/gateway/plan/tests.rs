use std::rc::Rc;

use serde_json::{Value, json};

use super::*;
use crate::gateway::decode;
use crate::http::headers::Headers;

fn keys() -> Value {
    // The public key of RFC 7515 A.3.1.
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]})
}

fn config() -> Value {
    json!({
        "version": 1,
        "jwt": {"issuers": [issuer("main")]},
        "routes": [{"match": {"path_prefix": "/"}, "auth": {"any": ["jwt"]}}],
    })
}

fn issuer(name: &str) -> Value {
    json!({
        "name": name, "issuer": format!("https://{name}.example"), "audiences": ["api"], "algorithms": ["ES256"],
        "jwks": {"inline": keys()},
    })
}

/// The errors of the good configuration with one place replaced, by JSON pointer.
fn errors(pointer: &str, value: Value) -> String {
    let mut config = config();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.insert(member.into(), value)),
        Value::Array(items) => items.push(value),
        _ => panic!("{pointer}"),
    }
    Plan::of(&config, &Environment::new()).err().unwrap_or_default()
}

#[test]
fn a_good_configuration_is_taken() {
    assert_eq!(errors("/version", json!(1)), "");
}

#[test]
fn each_mistake_has_its_path_and_says_what_would_be_right() {
    let inline = |key: Value| json!({"inline": {"keys": [key]}});
    for (pointer, value, expected) in [
        ("/version", json!(2), "version: is 2; this is a plugin for version 1"),
        ("/jwt/issuers", json!([]), "jwt.issuers: is empty"),
        (
            "/jwt/issuers/-",
            issuer("main"),
            "jwt.issuers[1].name: \"main\" is there twice",
        ),
        (
            "/jwt/issuers/-",
            issuer("main"),
            "jwt.issuers[1].issuer: \"https://main.example\" is there twice",
        ),
        (
            "/jwt/issuers/-",
            issuer("other"),
            "routes[0].auth.any[0]: `jwt` means one of 2 issuers; say which: `{ jwt: [main, other] }`",
        ),
        (
            "/jwt/issuers/0/audiences",
            json!([]),
            "jwt.issuers[0].audiences: must not be empty",
        ),
        (
            "/jwt/issuers/0/audiences",
            json!([""]),
            "jwt.issuers[0].audiences: must not be empty",
        ),
        (
            "/jwt/issuers/0/issuer",
            json!(""),
            "jwt.issuers[0].issuer: must not be empty",
        ),
        (
            "/jwt/issuers/0/algorithms",
            json!([]),
            "jwt.issuers[0].algorithms: must not be empty",
        ),
        (
            "/jwt/issuers/0/algorithms",
            json!(["RS257"]),
            "jwt.issuers[0].algorithms[0]: unknown variant `RS257`, expected one of `RS256`",
        ),
        (
            "/jwt/issuers/0/algorithms",
            json!(["none"]),
            "jwt.issuers[0].algorithms[0]: unknown variant `none`",
        ),
        (
            "/jwt/issuers/0/algorithms",
            json!(["ES256", "ES256"]),
            "jwt.issuers[0].algorithms[1]: ES256 is there twice",
        ),
        (
            "/jwt/issuers/0/algorithms",
            json!(["RS256"]),
            "jwt.issuers[0].algorithms[0]: no key under `jwks` can verify RS256",
        ),
        (
            "/jwt/issuers/0/from",
            json!([]),
            "jwt.issuers[0].from: must not be empty",
        ),
        (
            "/jwt/issuers/0/from",
            json!([{"header": {"name": "X_User_Id"}}]),
            "jwt.issuers[0].from[0]: `x_user_id` is an identity header",
        ),
        (
            "/jwt/issuers/0/from",
            json!([{"body": "x"}]),
            "jwt.issuers[0].from[0]: unknown variant `body`",
        ),
        (
            "/jwt/issuers/0/leeway",
            json!("60"),
            "jwt.issuers[0].leeway: invalid value: string \"60\", expected a duration such as",
        ),
        (
            "/jwt/issuers/0/leeway",
            json!(60),
            "jwt.issuers[0].leeway: invalid type",
        ),
        (
            "/jwt/issuers/0/leeway",
            json!("1h"),
            "jwt.issuers[0].leeway: is above 900s",
        ),
        (
            "/jwt/issuers/0/max_lifetime",
            json!(null),
            "jwt.issuers[0].max_lifetime: invalid type: null",
        ),
        ("/jwt/issuers/0/jwks", json!({}), "jwt.issuers[0].jwks"),
        (
            "/jwt/issuers/0/jwks",
            json!({"inline": {}}),
            "jwt.issuers[0].jwks.inline: is not a JWK set",
        ),
        (
            "/jwt/issuers/0/jwks",
            inline(json!({"kty": "oct", "k": "AAAA"})),
            "jwt.issuers[0].jwks.inline.keys[0]: `kty` \"oct\" is a secret",
        ),
        (
            "/jwt/issuers/0/jwks",
            inline(json!({"kty": "RSA", "d": "AA"})),
            "jwt.issuers[0].jwks.inline.keys[0]: holds `d`, a private member",
        ),
        (
            "/jwt/issuers/0/jwks",
            json!({"secrets": [{"env": "NONE"}]}),
            "jwt.issuers[0].jwks.secrets[0]: the environment has no `NONE`",
        ),
        (
            "/jwt/issuers/0/jwks",
            json!({"secrets": []}),
            "jwt.issuers[0].jwks.secrets: must not be empty",
        ),
        (
            "/jwt/issuers/0/claims",
            json!({"user_id": "a..b"}),
            "jwt.issuers[0].claims.user_id: a claim path has no empty parts",
        ),
        (
            "/jwt/issuers/0/claims",
            json!({"attributes": {"a": "b"}}),
            "jwt.issuers[0].claims.attributes.a: nothing defines \"a\"",
        ),
        (
            "/jwt/realm",
            json!("a\"b"),
            "jwt.realm: must be printable ASCII without quotes",
        ),
        (
            "/identity",
            json!({"headers": {"user_id": "host"}}),
            "identity.headers.user_id: invalid value: string \"host\"",
        ),
        (
            "/identity",
            json!({"headers": {"user_id": "x-user-roles"}}),
            "identity.headers.roles: `x-user-roles` is the header of another field",
        ),
        ("/routes", json!([]), "refuses every request"),
        (
            "/routes/-",
            json!({"match": {"path": "/a"}, "public": true}),
            "routes[1].match: is never reached: routes[0] takes all of its requests",
        ),
        (
            "/routes/0/match",
            json!({}),
            "routes[0].match: is empty, so it would match every request",
        ),
        (
            "/routes/0/public",
            json!(true),
            "routes[0]: is `public`, so it has neither `auth` nor `require`",
        ),
        ("/routes/0/auth", json!(null), "routes[0].auth: invalid type: null"),
        (
            "/routes/0/auth",
            json!({"any": []}),
            "routes[0].auth.any: is empty, so nobody could pass",
        ),
        ("/routes/0/auth", json!([]), "routes[0].auth: invalid type: a list"),
        (
            "/routes/0/auth",
            json!({"any": ["basic"]}),
            "routes[0].auth.any[0]: unknown variant `basic`, expected `api_key` or `jwt`",
        ),
        (
            "/routes/0/auth",
            json!({"any": ["jwt", "jwt"]}),
            "routes[0].auth.any[1]: `jwt` is there twice",
        ),
        (
            "/routes/0/auth",
            json!({"any": [{"jwt": ["x"]}]}),
            "routes[0].auth.any[0].jwt[0]: no issuer is called \"x\"; there is main",
        ),
        (
            "/routes/0/auth",
            json!({"any": [{"jwt": []}]}),
            "routes[0].auth.any[0].jwt: is empty",
        ),
        ("/routes/0/require", json!({}), "routes[0].require: requires nothing"),
        (
            "/routes/0/require",
            json!({"scopes": {"all": ["a b"]}}),
            "routes[0].require.scopes.all[0]: \"a b\" is not one name",
        ),
        ("/defaults", json!({"auth": null}), "defaults.auth: invalid type: null"),
        ("/limits", json!({}), "limits: unknown field `limits`"),
    ] {
        let found = errors(pointer, value.clone());
        assert!(
            found.contains(expected),
            "{pointer} = {value}\n  expected: {expected}\n  found: {found}"
        );
    }
}

#[test]
fn a_rule_says_who_may_pass_or_inherits_it() {
    let compile = |config: Value| {
        let config = decode(config.to_string().as_bytes()).unwrap();
        Plan::compile(&config, &Environment::new())
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let mut silent = config();
    silent["routes"][0].as_object_mut().unwrap().remove("auth");
    assert_eq!(
        compile(silent.clone()).unwrap_err(),
        ["routes[0]: says neither `auth` nor `public: true`, and `defaults` has no `auth`"]
    );
    silent["defaults"] = json!({"auth": {"any": ["jwt"]}});
    assert!(compile(silent).is_ok());
    let mut optional = config();
    optional["routes"][0]["auth"]["optional"] = true.into();
    optional["routes"][0]["require"] = json!({"roles": {"any": ["a"]}});
    assert_eq!(
        compile(optional).unwrap_err(),
        ["routes[0].require: contradicts `auth.optional`: an anonymous caller would never pass"]
    );
    let mut without = config();
    without.as_object_mut().unwrap().remove("jwt");
    assert_eq!(
        compile(without).unwrap_err(),
        ["routes[0].auth.any[0]: needs a `jwt` section with at least one issuer"]
    );
}

#[test]
fn every_meaning_error_is_found_at_once() {
    let mut config = config();
    config["version"] = 3.into();
    config["jwt"]["issuers"][0]["audiences"] = json!([]);
    config["routes"][0]["match"] = json!({"path": "x"});
    config["routes"][0]["auth"] = json!({"any": [{"jwt": ["nobody"]}]});
    let config = decode(config.to_string().as_bytes()).unwrap();
    let errors = Plan::compile(&config, &Environment::new()).unwrap_err();
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "version",
            "jwt.issuers[0].audiences",
            "routes[0].match.path",
            "routes[0].auth.any[0].jwt[0]"
        ]
    );
}

#[test]
fn policies_run_by_stage_whatever_their_place_in_the_registry() {
    let mut config = config();
    config["routes"][0]["require"] = json!({"roles": {"any": ["a"]}});
    let config = decode(config.to_string().as_bytes()).unwrap();
    let plan = Plan::compile(&config, &Environment::new()).unwrap();
    let headers: Headers = [(":method", "GET"), (":authority", "h"), (":path", "/")]
        .into_iter()
        .collect();
    let request = Received::new(Rc::new(headers), None, false, &plan.managed).unwrap();
    let Selection::Route(route) = plan.select(&request) else {
        panic!("no route")
    };
    let names: Vec<_> = route
        .policies
        .iter()
        .map(|policy| policy.name().rsplit("::").next().unwrap())
        .collect();
    assert_eq!(names, ["Authenticate", "Authorize", "SetIdentity"]);
}

#[test]
fn labels_have_no_separators() {
    assert_eq!(label("a;b=c d/é*"), "a_b_c_d/_*");
}
