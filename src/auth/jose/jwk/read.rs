//! Reading a JSON Web Key: what it is, what it says of itself, and whether it is one to verify with.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use rsa::BoxedUint;
use serde_json::{Map, Value};

use super::{Key, Material};
use crate::auth::jose::{Algorithm, roca};

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
}

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
pub(super) fn is_foreign(jwk: &Value) -> bool {
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
pub(super) fn described(jwk: &Value) -> String {
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

const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Private members of RSA, EC and OKP keys (RFC 7518 sections 6.2.2 and 6.3.2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];
