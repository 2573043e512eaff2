use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, json};

use super::*;

// The public key of RFC 7515 A.3.1.
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn ec(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Key, String> {
    let mut jwk = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "k"});
    change(jwk.as_object_mut().unwrap());
    Key::from_jwk(&jwk)
}

fn set(member: &'static str, value: Value) -> impl FnOnce(&mut Map<String, Value>) {
    move |jwk| {
        jwk.insert(member.into(), value);
    }
}

fn rsa(modulus: &[u8], exponent: &str) -> Result<Key, String> {
    Key::from_jwk(&json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": exponent}))
}

#[test]
fn a_public_key_is_read_and_fits_its_algorithm_only() {
    let key = ec(|_| {}).unwrap();
    assert!(key.fits(Algorithm::ES256));
    assert!(!key.fits(Algorithm::ES384) && !key.fits(Algorithm::HS256) && !key.fits(Algorithm::RS256));
    for good in [
        ("alg", json!("ES256")),
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("x5c", json!(["?"])),
    ] {
        assert!(ec(set(good.0, good.1.clone())).is_ok(), "{good:?}");
    }
}

#[test]
fn what_a_key_says_of_its_purpose_is_honoured() {
    for bad in [
        ("use", json!("enc")),
        ("use", json!(1)),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!([])),
        ("key_ops", json!("verify")),
        ("alg", json!("ES384")),
        ("alg", json!("HS256")),
        ("alg", json!("ES521")),
        ("alg", json!("none")),
        ("alg", Value::Null),
        ("kid", json!(1)),
        ("kty", json!("ec")),
        ("crv", json!("secp256k1")),
        ("crv", json!("P-384")),
        ("d", json!("AA")),
    ] {
        assert!(ec(set(bad.0, bad.1.clone())).is_err(), "{bad:?}");
    }
}

#[test]
fn points_off_the_curve_or_of_another_size_are_refused() {
    for (x, y) in [(Y, X), (X, X), ("AA", Y), (X, ""), (&format!("AA{X}"), Y)] {
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        assert!(Key::from_jwk(&jwk).is_err(), "{x} {y}");
    }
}

#[test]
fn rsa_keys_are_bounded() {
    let modulus = |bytes: usize| {
        let mut modulus = vec![0xa5; bytes];
        modulus[bytes - 1] = 0x01;
        modulus
    };
    assert!(rsa(&modulus(256), "AQAB").is_ok());
    assert!(rsa(&modulus(1024), "AQAB").is_ok());
    assert!(rsa(&modulus(255), "AQAB").unwrap_err().contains("2040 bits"));
    assert!(rsa(&modulus(1025), "AQAB").is_err());
    assert!(
        rsa(&[vec![0], modulus(255)].concat(), "AQAB").is_err(),
        "a leading zero is no length"
    );
    for exponent in ["AQ", "Aw", "AAAB", "AQABAA", ""] {
        assert!(rsa(&modulus(256), exponent).is_err(), "{exponent}");
    }
    let mut even = modulus(256);
    even[255] = 0;
    assert!(rsa(&even, "AQAB").is_err());
}

#[test]
fn secrets_are_as_long_as_the_hash_and_never_in_a_set() {
    let key = Key::from_secret(vec![7; 48], None).unwrap();
    assert!(key.fits(Algorithm::HS256) && key.fits(Algorithm::HS384) && !key.fits(Algorithm::HS512));
    assert!(Key::from_secret(vec![7; 31], None).is_err());
    assert!(Key::from_jwk(&json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 64])})).is_err());
    assert!(!format!("{key:?}").contains("7, 7"));
}

#[test]
fn keys_are_read_as_issuers_write_them() {
    let modulus = [vec![0xa5; 255], vec![1]].concat();
    let plain = rsa(&modulus, "AQAB").unwrap();
    let zero = rsa(&[vec![0], modulus.clone()].concat(), "AAEAAQ").unwrap();
    assert_eq!(plain.id(), zero.id());
    let padded = json!({"kty": "RSA", "n": base64::engine::general_purpose::URL_SAFE.encode(&modulus), "e": "AQAB"});
    assert!(padded["n"].as_str().unwrap().ends_with("=="));
    assert_eq!(Key::from_jwk(&padded).unwrap().id(), plain.id());
    assert_eq!(
        ec(set("x", json!(format!("{X}=")))).unwrap().id(),
        ec(|_| {}).unwrap().id()
    );
    for bad in ["=", "AQ=AB", "AQAB====", "AQ+/", " AQAB"] {
        assert!(rsa(&modulus, bad).is_err(), "{bad}");
    }
}

#[test]
fn a_set_names_every_key_that_is_not_used() {
    let (good, private) = (key("k"), json!({"kty": "EC", "crv": "P-256", "d": "AA", "use": "enc"}));
    let unused = |item: &Value| {
        let (set, unused) = KeySet::from_jwks(&json!({"keys": [good, item]})).unwrap();
        assert_eq!(set.keys.len(), 1, "{item}");
        unused.into_iter().next().unwrap()
    };
    for item in [
        json!(7),
        json!({"kty": "RSA"}),
        json!({"kty": "oct", "k": "AAAA"}),
        private,
    ] {
        assert!(!unused(&item).is_foreign, "{item}");
    }
    let mut encrypting = key("k");
    encrypting["use"] = "enc".into();
    for item in [
        encrypting,
        json!({"kty": "AKP", "alg": "ML-DSA-44"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kty": "EC", "crv": "secp256k1"}),
        json!({"kty": "RSA", "alg": "RSA-OAEP", "n": "AA", "e": "AQAB"}),
        json!({"kty": "RSA", "key_ops": ["encrypt"]}),
    ] {
        assert!(unused(&item).is_foreign, "{item}");
    }
    let told = unused(&json!({"kty": "RSA", "kid": "r\n1", "n": "AA", "e": "AQAB"})).to_string();
    assert!(
        told.starts_with("keys[1] (kid \"r\\n1\", kty RSA): the RSA modulus has 0 bits"),
        "{told}"
    );
    assert!(
        unused(&json!({"kid": 7}))
            .to_string()
            .starts_with("keys[1] (no kid, no kty): ")
    );
    for bad in [json!({}), json!([]), json!({"keys": {}}), json!(null)] {
        assert!(KeySet::from_jwks(&bad).is_err(), "{bad}");
    }
    let many = |count: usize| json!({"keys": (0..count).map(|kid| key(&kid.to_string())).collect::<Vec<_>>()});
    assert_eq!(KeySet::from_jwks(&many(100)).unwrap().0.keys.len(), 100);
    assert!(KeySet::from_jwks(&many(101)).is_err());
}

fn key(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": kid})
}

#[test]
fn keys_of_one_name_are_told_apart_by_algorithm_and_tried_in_order() {
    let rsa = |last: u8, algorithm: Option<&str>| {
        let modulus = [vec![0xa5; 255], vec![last]].concat();
        let mut jwk = json!({"kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"});
        if let Some(algorithm) = algorithm {
            jwk["alg"] = algorithm.into();
        }
        jwk
    };
    let mut encrypting = rsa(1, None);
    encrypting["use"] = "enc".into();
    let candidates = |keys: Value| {
        let (set, _) = KeySet::from_jwks(&json!({ "keys": keys })).unwrap();
        [Algorithm::RS256, Algorithm::RS384].map(|algorithm| set.candidates(Some("r"), algorithm).count())
    };
    assert_eq!(
        candidates(json!([
            rsa(1, Some("RS256")),
            rsa(1, Some("RS384")),
            rsa(1, Some("RS512"))
        ])),
        [1, 1]
    );
    assert_eq!(candidates(json!([encrypting, rsa(1, Some("RS256"))])), [1, 0]);
    assert_eq!(candidates(json!([rsa(1, None), rsa(1, None)])), [1, 1]);
    assert_eq!(candidates(json!([rsa(1, None), rsa(3, Some("RS256"))])), [2, 1]);
}

#[test]
fn candidates_are_chosen_by_name_and_algorithm_and_few() {
    let named = |kid: Option<&str>| {
        let mut jwk = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y});
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        Key::from_jwk(&jwk).unwrap()
    };
    let mut set = KeySet::default();
    for kid in ["a", "b", "c", "d", "e", "f"] {
        set.insert(named(Some(kid)));
    }
    assert_eq!(set.candidates(Some("b"), Algorithm::ES256).count(), 1);
    assert_eq!(set.candidates(Some("x"), Algorithm::ES256).count(), 0);
    assert_eq!(set.candidates(None, Algorithm::ES256).count(), 5);
    assert_eq!(set.candidates(Some("b"), Algorithm::ES384).count(), 0);
    set.insert(named(None));
    assert_eq!(
        set.candidates(Some("x"), Algorithm::ES256).count(),
        1,
        "a key without a name fits any"
    );
}
