use std::env;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tollgate::auth::jose::verify::verify;
use tollgate::auth::jose::{Jws, Key, KeySet};

use tollgate::seam::simulated::Simulated;

#[test]
fn json_web_signature() {
    run("json_web_signature_test.json", 401, |id| match id {
        367 | 370 => Expectation::Accept("byte-identical to 357, which is labelled valid"),
        372 | 373 => Expectation::Refuse("a `?` inside the encoded text is not base64url, whatever the MAC covers"),
        346 | 347 | 350 | 351 => Expectation::Refuse("the key's `alg` is not the header's"),
        _ => Expectation::AsLabelled,
    });
}

#[test]
fn json_web_key() {
    run("json_web_key_test.json", 26, |_| Expectation::AsLabelled);
}

#[test]
fn json_web_crypto() {
    run("json_web_crypto_test.json", 83, |_| Expectation::AsLabelled);
}

/// What must come of a vector, where its label is not the last word.
enum Expectation {
    AsLabelled,
    Accept(&'static str),
    Refuse(&'static str),
}

fn run(file: &str, count: usize, expectation: impl Fn(u64) -> Expectation) {
    let Ok(folder) = env::var("TOLLGATE_VECTORS") else {
        println!("skipped: TOLLGATE_VECTORS names no folder with {file}");
        return;
    };
    let path = Path::new(&folder).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let document: Value = serde_json::from_str(&text).unwrap();
    let (mut seen, mut accepted, mut differences) = (0, 0, Vec::new());
    for group in document["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            seen += 1;
            let id = test["tcId"].as_u64().unwrap();
            let comment = test["comment"].as_str().unwrap_or_default();
            let valid = match expectation(id) {
                Expectation::AsLabelled => test["result"] == "valid",
                Expectation::Accept(reason) => {
                    println!("{file} {id} ({comment}): accepted: {reason}");
                    true
                }
                Expectation::Refuse(reason) => {
                    println!("{file} {id} ({comment}): refused: {reason}");
                    false
                }
            };
            // A JWE is no JWS: whatever its label, it must be refused.
            // So is the JSON serialization, which is written down as an object.
            let serialized = [&test["jws"], &test["jwe"]]
                .into_iter()
                .find(|token| !token.is_null())
                .unwrap();
            let token = serialized.as_str().map_or_else(|| serialized.to_string(), Into::into);
            let valid = valid && test["jws"].is_string();
            let found = accepts(group, &token);
            accepted += usize::from(found);
            if found != valid {
                differences.push(format!(
                    "{id} ({comment}, {}): accepted is {found} instead of {valid}",
                    test["flags"]
                ));
            }
        }
    }
    assert_eq!(seen, count, "{file} is another version of the vectors");
    assert!(
        differences.is_empty(),
        "{} of {seen} in {file}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    println!("{file}: {seen} vectors, {accepted} accepted");
}

/// As an issuer would: the keys are loaded, and those that fit are tried.
fn accepts(group: &Value, token: &str) -> bool {
    let Ok(keys) = load(group) else {
        return false;
    };
    Jws::parse(token.as_bytes()).is_ok_and(|jws| {
        keys.candidates(jws.kid.as_deref(), jws.algorithm)
            .any(|key| verify(&Simulated::default(), key, jws.algorithm, jws.signed, &jws.signature))
    })
}

/// The group's public keys as a set, or its secrets one by one, as an operator names them.
fn load(group: &Value) -> Result<KeySet, String> {
    let document = [&group["public"], &group["private"]]
        .into_iter()
        .find(|keys| keys.is_object())
        .unwrap();
    let keys = document["keys"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![document.clone()]);
    if keys.iter().all(|key| key["kty"] == "oct") {
        let mut set = KeySet::default();
        for key in keys {
            // No `oct` key is ever read from a set; what one says of its own use is checked here, in its place.
            let hmac = key["alg"].as_str().is_none_or(|alg| alg.starts_with("HS"));
            let length = key["alg"]
                .as_str()
                .and_then(|alg| alg.strip_prefix("HS"))
                .and_then(|bits| bits.parse::<usize>().ok());
            let secret = URL_SAFE_NO_PAD
                .decode(key["k"].as_str().unwrap_or_default())
                .map_err(|error| error.to_string())?;
            if !hmac || length.is_some_and(|bits| secret.len() < bits / 8) {
                return Err("not a key for HMAC".into());
            }
            set.insert(Key::from_secret(secret, key["kid"].as_str().map(Into::into))?);
        }
        return Ok(set);
    }
    let (set, unused) = KeySet::from_jwks(&json!({ "keys": keys }))?;
    match unused.as_slice() {
        [] => Ok(set),
        [first, ..] => Err(first.to_string()),
    }
}
