use serde_json::json;

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
    for (x, y) in [
        (Y, X),
        (X, X),
        ("AA", Y),
        (X, ""),
        (&format!("AA{X}"), Y),
        (&format!("{X}="), Y),
    ] {
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
        rsa(&[vec![0], modulus(256)].concat(), "AQAB").is_err(),
        "a leading zero"
    );
    for exponent in ["AQ", "Aw", "AAAB", "AQABAA", "", "AAEAAQ"] {
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
fn a_set_names_every_bad_key() {
    let good = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "k"});
    let errors = KeySet::from_jwks(&json!({"keys": [good, good, 7, {"kty": "RSA"}]})).unwrap_err();
    assert_eq!(
        errors.iter().map(|error| error.index).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3)]
    );
    assert!(errors[0].message.contains("twice"));
    for bad in [
        json!({}),
        json!([]),
        json!({"keys": []}),
        json!({"keys": {}}),
        json!(null),
    ] {
        assert!(KeySet::from_jwks(&bad).is_err(), "{bad}");
    }
}

#[test]
fn of_a_published_set_what_can_be_used_is_used() {
    let key = |kid: &str| json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": kid});
    let usable =
        |keys: Value| KeySet::usable(&json!({ "keys": keys })).map(|(set, warnings)| (set.keys.len(), warnings.len()));
    assert_eq!(usable(json!([key("a"), key("b")])), Some((2, 0)));
    assert_eq!(
        usable(json!([key("a"), key("b"), key("a")])),
        Some((1, 2)),
        "which of the two is a guess"
    );
    assert_eq!(
        usable(json!([key("a"), 7, {"kty": "oct", "k": "AAAA"}, {"kty": "EC", "d": "AA"}])),
        Some((1, 3))
    );
    assert_eq!(usable(json!([])), Some((0, 0)));
    let many = |count: usize| Value::from((0..count).map(|kid| key(&kid.to_string())).collect::<Vec<_>>());
    assert_eq!(usable(many(100)), Some((100, 0)));
    assert_eq!(usable(many(101)), None);
    assert!(KeySet::usable(&json!({"keys": {}})).is_none() && KeySet::usable(&json!([])).is_none());
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
        set.insert(named(Some(kid))).unwrap();
    }
    assert_eq!(set.candidates(Some("b"), Algorithm::ES256).count(), 1);
    assert_eq!(set.candidates(Some("x"), Algorithm::ES256).count(), 0);
    assert_eq!(set.candidates(None, Algorithm::ES256).count(), 5);
    assert_eq!(set.candidates(Some("b"), Algorithm::ES384).count(), 0);
    set.insert(named(None)).unwrap();
    assert_eq!(
        set.candidates(Some("x"), Algorithm::ES256).count(),
        1,
        "a key without a name fits any"
    );
}
