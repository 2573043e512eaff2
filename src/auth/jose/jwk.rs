//! Keys to verify with: a JSON Web Key Set (RFC 7517) or shared secrets, checked once when they are loaded.

mod read;

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Algorithm;
use super::algorithm::Family;
use crate::seam::Prepared;
use read::{described, is_foreign};

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
    /// SubjectPublicKeyInfo, DER: what the host's cryptography takes. Empty for other keys than RSA's and ECDSA's.
    pub(super) spki: Vec<u8>,
    /// What the host's cryptography has made of it, for each algorithm.
    prepared: [Prepared; Algorithm::ALL.len()],
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
            prepared: Default::default(),
        }
    }

    /// A place for what the host makes of it.
    pub(super) fn prepared(&self, algorithm: Algorithm) -> Option<&Prepared> {
        self.prepared.get(algorithm as usize)
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

/// More keys than any real issuer publishes.
const MAX_KEYS: usize = 100;

/// Keys tried for a token that names none.
const MAX_TRIES: usize = 5;

#[cfg(test)]
mod tests;
