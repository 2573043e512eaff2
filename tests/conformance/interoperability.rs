//! Tokens and keys made by another library are accepted: nobody else has to know how ours are made.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::{Value, json};
use tollgate::auth::jose::verify::verify;
use tollgate::auth::jose::{Algorithm, Jws, Key};

use tollgate::seam::simulated::Simulated;

fn accepted(algorithm: Algorithm, key: &Key, token: &str) {
    let jws = Jws::parse(token.as_bytes()).unwrap();
    assert_eq!(jws.algorithm, algorithm);
    assert!(
        verify(&Simulated::default(), key, algorithm, jws.signed, &jws.signature),
        "{algorithm:?}"
    );
    let mut other = jws.signed.to_vec();
    other[5] ^= 1;
    assert!(
        !verify(&Simulated::default(), key, algorithm, &other, &jws.signature),
        "{algorithm:?}: another message"
    );
}

fn claims() -> JWTClaims<NoCustomClaims> {
    Claims::create(Duration::from_mins(5)).with_subject("u1")
}

fn public(jwk: Value) -> Key {
    Key::from_jwk(&jwk).unwrap()
}

#[test]
fn rsa() {
    let der = RS256KeyPair::generate(2048).unwrap().to_der().unwrap();
    let pair = RS256KeyPair::from_der(&der).unwrap();
    let parts = pair.public_key().to_components();
    let key =
        public(json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(&parts.n), "e": URL_SAFE_NO_PAD.encode(&parts.e)}));
    accepted(Algorithm::RS256, &key, &pair.sign(claims()).unwrap());
    accepted(
        Algorithm::RS384,
        &key,
        &RS384KeyPair::from_der(&der).unwrap().sign(claims()).unwrap(),
    );
    accepted(
        Algorithm::RS512,
        &key,
        &RS512KeyPair::from_der(&der).unwrap().sign(claims()).unwrap(),
    );
    accepted(
        Algorithm::PS256,
        &key,
        &PS256KeyPair::from_der(&der).unwrap().sign(claims()).unwrap(),
    );
    accepted(
        Algorithm::PS384,
        &key,
        &PS384KeyPair::from_der(&der).unwrap().sign(claims()).unwrap(),
    );
    accepted(
        Algorithm::PS512,
        &key,
        &PS512KeyPair::from_der(&der).unwrap().sign(claims()).unwrap(),
    );
}

#[test]
fn elliptic_curves() {
    let es256 = ES256KeyPair::generate();
    let jwk = |text: String| public(serde_json::from_str(&text).unwrap());
    accepted(
        Algorithm::ES256,
        &jwk(es256.public_key().to_jwk()),
        &es256.sign(claims()).unwrap(),
    );
    let es384 = ES384KeyPair::generate();
    accepted(
        Algorithm::ES384,
        &jwk(es384.public_key().to_jwk()),
        &es384.sign(claims()).unwrap(),
    );
    let eddsa = Ed25519KeyPair::generate();
    accepted(
        Algorithm::EdDSA,
        &jwk(eddsa.public_key().to_jwk()),
        &eddsa.sign(claims()).unwrap(),
    );
}

#[test]
fn shared_secrets() {
    let secret = [7; 64];
    let key = Key::from_secret(secret.to_vec(), None).unwrap();
    accepted(
        Algorithm::HS256,
        &key,
        &HS256Key::from_bytes(&secret).authenticate(claims()).unwrap(),
    );
    accepted(
        Algorithm::HS384,
        &key,
        &HS384Key::from_bytes(&secret).authenticate(claims()).unwrap(),
    );
    accepted(
        Algorithm::HS512,
        &key,
        &HS512Key::from_bytes(&secret).authenticate(claims()).unwrap(),
    );
}
