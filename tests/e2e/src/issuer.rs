//! An issuer of tokens, good and bad ones; its keys are new for every process.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::Hmac;
use p256::elliptic_curve::Generate as _;
use p256::pkcs8::EncodePublicKey as _;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Sha256, Sha384, Sha512};

/// An issuer's private keys by name: `rsa`, `p256`, `p384`, `p521`, `ed25519`, `hmac`, and `stranger`, a P-256 key that it
/// does not publish.
pub struct Issuer {
    keys: BTreeMap<&'static str, PrivateKey>,
}

enum PrivateKey {
    Rsa(Box<rsa::PrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    Ed25519(Box<ed25519_compact::KeyPair>),
    Hmac(String),
}

/// A token to be made, as a case file says it. What is not said is good.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSpec {
    /// The key that signs; `p256` otherwise.
    pub key: Option<String>,
    /// The algorithm that signs, the first of the key's otherwise.
    pub algorithm: Option<String>,
    /// Members that replace or extend `{"alg", "kid", "typ": "JWT"}`.
    pub header: Map<String, Value>,
    /// Members to leave out of the header.
    pub header_without: Vec<String>,
    /// The header as text, whatever else is said.
    pub raw_header: Option<String>,
    /// Claims that replace or extend the good ones; `now+60` is a time.
    pub claims: Map<String, Value>,
    /// Claims to leave out.
    pub without: Vec<String>,
    /// The payload as text, whatever else is said; `NOW+60` is a time here too.
    pub raw_claims: Option<String>,
    /// A change of the finished token; see `edit` below.
    pub edit: Option<String>,
}

impl Issuer {
    /// The issuer of this process.
    pub fn shared() -> &'static Self {
        static ISSUER: OnceLock<Issuer> = OnceLock::new();
        ISSUER.get_or_init(Self::generate)
    }

    fn generate() -> Self {
        let rsa = rsa::PrivateKey::new(&mut rand::rng(), 2048).expect("an RSA key");
        let secret: String = (0..64).map(|_| char::from(b'a' + rand::random::<u8>() % 26)).collect();
        Self {
            keys: [
                ("rsa", PrivateKey::Rsa(Box::new(rsa))),
                ("p256", PrivateKey::P256(p256::ecdsa::SigningKey::generate())),
                ("p384", PrivateKey::P384(p384::ecdsa::SigningKey::generate())),
                ("p521", PrivateKey::P521(p521::ecdsa::SigningKey::generate())),
                (
                    "ed25519",
                    PrivateKey::Ed25519(Box::new(ed25519_compact::KeyPair::generate())),
                ),
                ("hmac", PrivateKey::Hmac(secret)),
                ("stranger", PrivateKey::P256(p256::ecdsa::SigningKey::generate())),
            ]
            .into(),
        }
    }

    /// The shared secret of `hmac`.
    pub fn secret(&self) -> &str {
        match &self.keys["hmac"] {
            PrivateKey::Hmac(secret) => secret,
            _ => unreachable!("hmac is a secret"),
        }
    }

    /// The public keys that it publishes, as a JWK set.
    pub fn jwks(&self) -> Value {
        let published = self.keys.iter().filter(|(name, _)| **name != "stranger");
        let keys: Vec<Value> = published.filter_map(|(name, key)| key.jwk(name)).collect();
        json!({ "keys": keys })
    }

    /// The public key of `rsa` or `p256`, as PEM.
    pub fn pem(&self, name: &str) -> String {
        let der = match &self.keys[name] {
            PrivateKey::Rsa(key) => key.to_public_key().to_public_key_der(),
            PrivateKey::P256(key) => key.verifying_key().to_public_key_der(),
            _ => unreachable!("{name} has no PEM here"),
        };
        let body = STANDARD.encode(der.expect("DER"));
        let lines: Vec<_> = body
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// A token that nothing is wrong with.
    pub fn good_token(&self) -> String {
        self.token(&TokenSpec::default())
    }

    /// The value of `Authorization` with a good token, which has these claims too.
    pub fn bearer(&self, claims: &Value) -> String {
        let claims = claims.as_object().cloned().expect("an object");
        let spec = TokenSpec {
            claims,
            ..TokenSpec::default()
        };
        format!("Bearer {}", self.token(&spec))
    }

    /// Makes a token.
    pub fn token(&self, spec: &TokenSpec) -> String {
        let name = spec.key.as_deref().unwrap_or("p256");
        let key = self.keys.get(name).unwrap_or_else(|| panic!("no key is called {name}"));
        let algorithm = spec.algorithm.as_deref().unwrap_or(key.algorithm());
        let header = spec.raw_header.clone().unwrap_or_else(|| {
            let mut header = json!({"alg": algorithm, "kid": name, "typ": "JWT"});
            merge(&mut header, &spec.header, &spec.header_without);
            header.to_string()
        });
        let claims = spec.raw_claims.as_deref().map_or_else(|| good_claims(spec), with_times);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = key.sign(algorithm, signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&signature));
        match &spec.edit {
            None => token,
            Some(name) => edit(name, &signed, &signature),
        }
    }
}

fn good_claims(spec: &TokenSpec) -> String {
    let now = now();
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "api", "sub": "u1", "iat": now, "exp": now + 600,
    });
    let timed = spec
        .claims
        .iter()
        .map(|(name, value)| (name.clone(), time(value)))
        .collect();
    merge(&mut claims, &timed, &spec.without);
    claims.to_string()
}

fn merge(object: &mut Value, members: &Map<String, Value>, without: &[String]) {
    let object = object.as_object_mut().expect("an object");
    for (name, value) in members {
        object.insert(name.clone(), value.clone());
    }
    for name in without {
        object.remove(name);
    }
}

/// `now`, `now+60` and `now-60` become seconds since the epoch; everything else stays.
fn time(value: &Value) -> Value {
    let offset = value.as_str().and_then(|text| text.strip_prefix("now"));
    let seconds = offset.and_then(|offset| {
        if offset.is_empty() {
            Some(0)
        } else {
            offset.parse::<i64>().ok()
        }
    });
    seconds.map_or_else(|| value.clone(), |seconds| json!(now() as i64 + seconds))
}

fn with_times(text: &str) -> String {
    text.replace("NOW+600", &(now() + 600).to_string())
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// Changes that make a token malformed or its signature another one.
fn edit(name: &str, signed: &str, signature: &[u8]) -> String {
    let with = |signature: &[u8]| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let token = with(signature);
    let half = signature.len() / 2;
    match name {
        "pad" => format!("{token}=="),
        "trailing_dot" => format!("{token}."),
        "leading_dots" => format!("..{token}"),
        "fifth_part" => format!("{token}.AA.AA"),
        "no_signature" => signed.to_owned(),
        "empty_signature" => format!("{signed}."),
        "empty_payload" => token.replacen(signed.split_once('.').expect("a dot").1, "", 1),
        "inner_space" => token.replacen('.', ". ", 1),
        "plus" => format!("{}+", &token[..token.len() - 1]),
        "percent" => format!("%65{}", &token[1..]),
        "json_serialization" => json!({"payload": "e30"}).to_string(),
        "non_canonical" => {
            // The last character of 64 bytes carries four unused bits.
            let last = token.chars().next_back().expect("not empty");
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let index = alphabet.find(last).expect("base64url");
            format!(
                "{}{}",
                &token[..token.len() - 1],
                alphabet.as_bytes()[index ^ 1] as char
            )
        }
        "first_bit" => with(&[&[signature[0] ^ 0x80], &signature[1..]].concat()),
        "last_bit" => with(&[&signature[..signature.len() - 1], &[signature[signature.len() - 1] ^ 1]].concat()),
        "one_byte_less" => with(&signature[..signature.len() - 1]),
        "one_byte_more" => with(&[signature, &[0]].concat()),
        "zeros" => with(&vec![0; signature.len()]),
        "ones" => with(&vec![0xff; signature.len()]),
        "double_width" => {
            let zeros = vec![0; half];
            with(&[&zeros, &signature[..half], &zeros, &signature[half..]].concat())
        }
        "r_zero" => with(&[&vec![0; half], &signature[half..]].concat()),
        "s_zero" => with(&[&signature[..half], &vec![0; half]].concat()),
        "der" => {
            let parsed = p256::ecdsa::Signature::from_slice(signature).expect("a P-256 signature");
            with(parsed.to_der().as_bytes())
        }
        "other_payload" => {
            let (header, _) = signed.split_once('.').expect("a dot");
            let claims = good_claims(&TokenSpec {
                claims: json!({"sub": "admin"}).as_object().cloned().unwrap_or_default(),
                ..TokenSpec::default()
            });
            format!(
                "{header}.{}.{}",
                URL_SAFE_NO_PAD.encode(claims),
                URL_SAFE_NO_PAD.encode(signature)
            )
        }
        "long" => format!("{signed}.{}", "A".repeat(48 * 1024)),
        other => panic!("no edit is called {other}"),
    }
}

impl PrivateKey {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::P521(_) => "ES512",
            Self::Ed25519(_) => "EdDSA",
            Self::Hmac(_) => "HS256",
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let rng = &mut rand::rng();
        match (self, algorithm) {
            (Self::Rsa(key), "RS256") => rsa::pkcs1v15::SigningKey::<Sha256>::new(*key.clone())
                .sign(message)
                .to_vec(),
            (Self::Rsa(key), "RS384") => rsa::pkcs1v15::SigningKey::<Sha384>::new(*key.clone())
                .sign(message)
                .to_vec(),
            (Self::Rsa(key), "RS512") => rsa::pkcs1v15::SigningKey::<Sha512>::new(*key.clone())
                .sign(message)
                .to_vec(),
            (Self::Rsa(key), "PS256") => rsa::pss::SigningKey::<Sha256>::new(*key.clone())
                .sign_with_rng(rng, message)
                .to_vec(),
            (Self::Rsa(key), "PS384") => rsa::pss::SigningKey::<Sha384>::new(*key.clone())
                .sign_with_rng(rng, message)
                .to_vec(),
            (Self::Rsa(key), "PS512") => rsa::pss::SigningKey::<Sha512>::new(*key.clone())
                .sign_with_rng(rng, message)
                .to_vec(),
            (Self::Rsa(key), "PS256 without salt") => {
                rsa::pss::SigningKey::<Sha256>::new_with_salt_len(*key.clone(), 0)
                    .sign_with_rng(rng, message)
                    .to_vec()
            }
            // An attacker's secret: the public key's modulus, which everybody knows.
            (Self::Rsa(key), "HS256") => hmac::<Hmac<Sha256>>(&key.n_bytes(), message),
            (Self::P256(key), "ES256") => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            (Self::P384(key), "ES384") => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            (Self::P521(key), "ES512") => {
                let signature: p521::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            (Self::Ed25519(key), "EdDSA") => key.sk.sign(message, None).to_vec(),
            (Self::Hmac(secret), "HS256") => hmac::<Hmac<Sha256>>(secret.as_bytes(), message),
            (Self::Hmac(secret), "HS384") => hmac::<Hmac<Sha384>>(secret.as_bytes(), message),
            (Self::Hmac(secret), "HS512") => hmac::<Hmac<Sha512>>(secret.as_bytes(), message),
            (_, "none") => b"none".to_vec(),
            (_, other) => panic!("this key cannot sign {other}"),
        }
    }

    /// `None` for a secret.
    fn jwk(&self, kid: &str) -> Option<Value> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let ec = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y), "kid": kid, "use": "sig"})
        };
        match self {
            Self::Rsa(key) => Some(json!({
                "kty": "RSA", "n": encode(&key.n_bytes()), "e": encode(&key.e_bytes()), "kid": kid, "use": "sig",
            })),
            Self::P256(key) => Some(ec("P-256", key.verifying_key().to_sec1_point(false).as_bytes())),
            Self::P384(key) => Some(ec("P-384", key.verifying_key().to_sec1_point(false).as_bytes())),
            Self::P521(key) => Some(ec("P-521", key.verifying_key().to_sec1_point(false).as_bytes())),
            Self::Ed25519(key) => {
                Some(json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.pk.as_ref()), "kid": kid}))
            }
            Self::Hmac(_) => None,
        }
    }
}

fn hmac<M: hmac::Mac + hmac::KeyInit>(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = <M as hmac::KeyInit>::new_from_slice(secret).expect("any length");
    mac.chain_update(message).finalize().into_bytes().to_vec()
}
