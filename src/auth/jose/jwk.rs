//! Keys to verify with: a JSON Web Key Set (RFC 7517) or shared secrets, checked once when they are loaded.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use rsa::BoxedUint;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::algorithm::Family;
use super::{Algorithm, roca};

/// Keys that a token may be signed with.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// One key, with what it may be used for.
pub struct Key {
    id: KeyId,
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    pub(super) material: Material,
    /// SubjectPublicKeyInfo, DER: what the host's cryptography takes. Empty where the host cannot help.
    pub(super) spki: Vec<u8>,
}

/// Tells keys apart by everything that they are: two sets with the same key have the same `KeyId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 32]);

pub(super) enum Material {
    Rsa(Box<rsa::PublicKey>),
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
    P521(Box<p521::ecdsa::VerifyingKey>),
    Ed25519(ed25519_compact::PublicKey),
    Hmac(Vec<u8>),
}

/// Why a key of a set is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// Its place in `keys`.
    pub index: usize,
    /// What it says of itself: `kid` and `kty`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Whether it is a sound key for other purposes or of another kind, which issuers publish beside those for signatures.
    pub is_foreign: bool,
}

impl fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index, key, message, ..
        } = self;
        write!(formatter, "keys[{index}] ({key}): {message}")
    }
}

// === impl KeySet ===

impl KeySet {
    /// The keys of a set that can be used, and what is wrong with the others, one by one. `Err` where it is no set or has too many keys.
    /// Keys of one name are told apart by their algorithm; the same key twice is one.
    pub fn from_jwks(document: &Value) -> Result<(Self, Vec<KeyError>), String> {
        let items = document.get("keys").and_then(Value::as_array);
        let items = items.ok_or("is not a JWK set: an object with `keys`, a list")?;
        if items.len() > MAX_KEYS {
            return Err(format!("has {} keys; {MAX_KEYS} are allowed", items.len()));
        }
        let mut set = Self::default();
        let mut unused = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match Key::from_jwk(item) {
                Ok(key) => set.insert(key),
                Err(message) => unused.push(KeyError {
                    index,
                    key: described(item),
                    message,
                    is_foreign: is_foreign(item),
                }),
            }
        }
        Ok((set, unused))
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds a key, unless it is there.
    pub fn insert(&mut self, key: Key) {
        if !self.contains(&key.id) {
            self.keys.push(key);
        }
    }

    /// The keys that a token with this `kid` and algorithm may be signed with, a handful at most. A key without a
    /// `kid` fits every token, as in Envoy's own filter.
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.keys
            .iter()
            .filter(move |key| key.fits(algorithm))
            .filter(move |key| match (kid, key.kid.as_deref()) {
                (Some(wanted), Some(own)) => wanted == own,
                _ => true,
            })
            .take(MAX_TRIES)
    }

    /// Whether this very key is in the set.
    pub fn contains(&self, id: &KeyId) -> bool {
        self.keys.iter().any(|key| key.id == *id)
    }

    /// Whether any key can be used with this algorithm.
    pub fn has_key_for(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.fits(algorithm))
    }
}

// === impl Key ===

impl Key {
    /// Reads one public key (RFC 7518 section 6, RFC 8037 section 2).
    pub fn from_jwk(jwk: &Value) -> Result<Self, String> {
        let jwk = jwk.as_object().ok_or("is not an object")?;
        if let Some(private) = PRIVATE.iter().find(|&&member| jwk.contains_key(member)) {
            return Err(format!(
                "holds `{private}`, a private member: only public keys belong here, and this one must be replaced"
            ));
        }
        check_purpose(jwk)?;
        let (material, spki) = match text(jwk, "kty")? {
            "RSA" => rsa_key(jwk)?,
            "EC" => ec_key(jwk)?,
            "OKP" => okp_key(jwk)?,
            "oct" => return Err("`kty` \"oct\" is a secret: name an environment variable under `secrets`".into()),
            other => return Err(format!("`kty` \"{other}\" is unknown; use RSA, EC or OKP")),
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(Value::String(name)) => Some(
                Algorithm::from_name(name)
                    .ok_or_else(|| format!("`alg` \"{name}\" is not a supported signature algorithm"))?,
            ),
            Some(_) => return Err("`alg` is not a string".into()),
        };
        if let Some(algorithm) = algorithm.filter(|algorithm| algorithm.family() != material.family()) {
            return Err(format!("`alg` {} does not fit the key's type", algorithm.name()));
        }
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("`kid` is not a string".into()),
        };
        Ok(Self::new(kid, algorithm, material, spki))
    }

    /// A shared secret. It must be as long as the shortest hash; [`Key::fits`] checks the algorithm's own.
    pub fn from_secret(secret: Vec<u8>, kid: Option<String>) -> Result<Self, String> {
        let least = Algorithm::HS256.hash().size();
        if secret.len() < least {
            return Err(format!(
                "the secret has {} bytes; HMAC keys need at least {least} (RFC 7518 section 3.2)",
                secret.len()
            ));
        }
        Ok(Self::new(kid, None, Material::Hmac(secret), Vec::new()))
    }

    /// What tells it from other keys.
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn new(kid: Option<String>, algorithm: Option<Algorithm>, material: Material, spki: Vec<u8>) -> Self {
        let own: &[u8] = match &material {
            Material::Ed25519(public) => public.as_ref(),
            Material::Hmac(secret) => secret,
            Material::Rsa(_) | Material::P256(_) | Material::P384(_) | Material::P521(_) => &spki,
        };
        let hash = Sha256::new()
            .chain_update(kid.as_deref().unwrap_or_default())
            .chain_update([0])
            .chain_update(algorithm.map_or("", Algorithm::name))
            .chain_update([0])
            .chain_update(own);
        let id = KeyId(hash.finalize().into());
        Self {
            id,
            kid,
            algorithm,
            material,
            spki,
        }
    }

    /// Whether this key may verify signatures of this algorithm.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        algorithm.family() == self.material.family()
            && self.algorithm.is_none_or(|own| own == algorithm)
            && match &self.material {
                Material::Hmac(secret) => secret.len() >= algorithm.hash().size(),
                _ => true,
            }
    }
}

impl fmt::Debug for Key {
    /// Never shows the material: it may be a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("family", &self.material.family())
            .finish_non_exhaustive()
    }
}

impl Material {
    fn family(&self) -> Family {
        match self {
            Self::Rsa(_) => Family::Rsa,
            Self::P256(_) => Family::P256,
            Self::P384(_) => Family::P384,
            Self::P521(_) => Family::P521,
            Self::Ed25519(_) => Family::Ed25519,
            Self::Hmac(_) => Family::Hmac,
        }
    }
}

// === reading a JWK ===

/// `use` and `key_ops`, where present, must allow verifying (RFC 7517 sections 4.2 and 4.3).
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), String> {
    match jwk.get("use") {
        None => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(other) => return Err(format!("`use` is {other}; a key to verify with says \"sig\"")),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(_) => Err("`key_ops` does not list \"verify\"".into()),
    }
}

fn rsa_key(jwk: &Map<String, Value>) -> Result<(Material, Vec<u8>), String> {
    let modulus = unsigned(jwk, "n")?;
    let bits = modulus.first().map_or(0, |first| {
        modulus
            .len()
            .saturating_mul(8)
            .saturating_sub(first.leading_zeros() as usize)
    });
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(format!(
            "the RSA modulus has {bits} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are allowed"
        ));
    }
    if unsigned(jwk, "e")? != RSA_EXPONENT {
        return Err("the RSA exponent `e` must be 65537 (\"AQAB\")".into());
    }
    if roca::is_vulnerable(&modulus) {
        return Err("the RSA modulus is one of the weak ones of ROCA (CVE-2017-15361): replace the key".into());
    }
    let key = rsa::PublicKey::new_with_size_limits(
        BoxedUint::from_be_slice_vartime(&modulus),
        BoxedUint::from_be_slice_vartime(&RSA_EXPONENT),
        MIN_RSA_BITS..=MAX_RSA_BITS,
    )
    .map_err(|_| "is not an RSA public key")?;
    let spki = spki(&key)?;
    Ok((Material::Rsa(Box::new(key)), spki))
}

fn ec_key(jwk: &Map<String, Value>) -> Result<(Material, Vec<u8>), String> {
    let off_curve = "`x` and `y` are not a point on the curve";
    match text(jwk, "crv")? {
        "P-256" => {
            let key = p256::PublicKey::from_sec1_bytes(&point(jwk, 32)?).map_err(|_| off_curve)?;
            let spki = spki(&key)?;
            Ok((Material::P256(Box::new(key.into())), spki))
        }
        "P-384" => {
            let key = p384::PublicKey::from_sec1_bytes(&point(jwk, 48)?).map_err(|_| off_curve)?;
            let spki = spki(&key)?;
            Ok((Material::P384(Box::new(key.into())), spki))
        }
        "P-521" => {
            let key = p521::PublicKey::from_sec1_bytes(&point(jwk, 66)?).map_err(|_| off_curve)?;
            let spki = spki(&key)?;
            Ok((Material::P521(Box::new(key.into())), spki))
        }
        other => Err(format!("`crv` \"{other}\" is not supported; use P-256, P-384 or P-521")),
    }
}

fn okp_key(jwk: &Map<String, Value>) -> Result<(Material, Vec<u8>), String> {
    match text(jwk, "crv")? {
        "Ed25519" => {
            let key = ed25519_compact::PublicKey::from_slice(&bytes(jwk, "x")?).map_err(|_| "`x` is not 32 bytes")?;
            Ok((Material::Ed25519(key), Vec::new()))
        }
        other => Err(format!("`crv` \"{other}\" is not supported; use Ed25519")),
    }
}

/// An uncompressed point (SEC 1 section 2.3.3); both coordinates have the field's full size (RFC 7518 section 6.2.1.2).
fn point(jwk: &Map<String, Value>, size: usize) -> Result<Vec<u8>, String> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != size || y.len() != size {
        return Err(format!(
            "`x` and `y` have {} and {} bytes instead of {size}",
            x.len(),
            y.len()
        ));
    }
    Ok([&[4], x.as_slice(), &y].concat())
}

fn spki(key: &impl rsa::pkcs8::EncodePublicKey) -> Result<Vec<u8>, String> {
    let document = key.to_public_key_der().map_err(|_| "cannot be encoded")?;
    Ok(document.into_vec())
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> Result<&'a str, String> {
    jwk.get(member)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("`{member}` is missing or not a string"))
}

/// Padding has no place here (RFC 7515 section 2), but issuers publish it.
fn bytes(jwk: &Map<String, Value>, member: &str) -> Result<Vec<u8>, String> {
    PADDING_INDIFFERENT
        .decode(text(jwk, member)?)
        .map_err(|_| format!("`{member}` is not base64url"))
}

/// An unsigned number. Leading zero bytes have no place here (RFC 7518 section 2), but issuers whose numbers have signs publish one.
fn unsigned(jwk: &Map<String, Value>, member: &str) -> Result<Vec<u8>, String> {
    let mut bytes = bytes(jwk, member)?;
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.drain(..zeros);
    Ok(bytes)
}

/// Whether what a key says of itself makes it one for something else.
fn is_foreign(jwk: &Value) -> bool {
    let says =
        |member: &str, foreign: &dyn Fn(&str) -> bool| jwk.get(member).and_then(Value::as_str).is_some_and(foreign);
    let is_private = PRIVATE.iter().any(|member| jwk.get(member).is_some());
    !is_private
        && (says("use", &|purpose| purpose != "sig")
            || says("kty", &|kind| !KINDS.contains(&kind))
            || says("crv", &|curve| !CURVES.contains(&curve))
            || says("alg", &|name| Algorithm::from_name(name).is_none())
            || jwk.get("key_ops").is_some_and(Value::is_array) && check_purpose_of(jwk).is_err())
}

fn check_purpose_of(jwk: &Value) -> Result<(), String> {
    jwk.as_object().map_or(Ok(()), check_purpose)
}

/// `kid "a", kty RSA`, of what an issuer published: it may be long, or anything but text.
fn described(jwk: &Value) -> String {
    let text = |member: &str| {
        let value = jwk.get(member).and_then(Value::as_str);
        value.map(|value| value.chars().take(MOST_SHOWN).collect::<String>())
    };
    let kid = text("kid").map_or("no kid".into(), |kid| format!("kid {kid:?}"));
    let kty = text("kty").map_or("no kty".into(), |kty| format!("kty {}", kty.escape_debug()));
    format!("{kid}, {kty}")
}

/// Reads what has padding, and what has none.
const PADDING_INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Values of `kty` that are understood; a secret is one that has no place in a set.
const KINDS: [&str; 4] = ["RSA", "EC", "OKP", "oct"];

/// Values of `crv` that are understood.
const CURVES: [&str; 4] = ["P-256", "P-384", "P-521", "Ed25519"];

/// Characters of what a key says of itself, in a log.
const MOST_SHOWN: usize = 64;

/// More keys than any real issuer publishes.
const MAX_KEYS: usize = 100;

/// Keys tried for a token that names none.
const MAX_TRIES: usize = 5;

const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Private members of RSA, EC and OKP keys (RFC 7518 sections 6.2.2 and 6.3.2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

#[cfg(test)]
mod tests;
