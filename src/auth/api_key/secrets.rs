//! Hashes of API keys: HMAC-SHA256 with a secret that the store of keys does not have. A stolen store reveals no key
//! and does not help to guess one.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::wire::MAX_HASHES;
use crate::config::{self, Environment, Report};
use crate::schema::schema;

/// A secret for hashing keys, named by the environment variable that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub struct SecretConfig {
    /// The secret's id, with which its hashes begin: letters and digits.
    pub id: String,
    /// The environment variable that holds the secret, at least 32 bytes.
    pub env: String,
}

/// All secrets, the newest first. New keys are hashed with the newest, presented keys with each.
#[derive(Clone)]
pub struct Secrets(Vec<Secret>);

/// One secret for hashing keys.
#[derive(Clone)]
pub struct Secret {
    /// The secret's id.
    pub id: String,
    mac: Hmac<Sha256>,
}

/// The hash under which a key is stored. Comparison takes constant time.
#[derive(Debug, Clone)]
pub struct KeyHash {
    /// The id of the secret that it was made with.
    pub secret: String,
    /// HMAC-SHA256 of the whole key.
    pub digest: Digest,
}

/// The bytes of an HMAC-SHA256.
pub type Digest = [u8; 32];

impl Secrets {
    /// Reads every secret from the environment.
    pub fn compile(config: &[SecretConfig], environment: &Environment, report: &mut Report) -> Self {
        let mut secrets: Vec<Secret> = Vec::new();
        if config.is_empty() {
            report.error("is empty; name at least one secret: `{ id: v1, env: NAME }`");
        }
        if config.len() > MAX_HASHES {
            report.error(format!("has {} secrets; {MAX_HASHES} are the most", config.len()));
        }
        for (index, SecretConfig { id, env }) in config.iter().enumerate() {
            report.within(format!("[{index}]"), |report| {
                if !is_name(id) {
                    report.error_at("id", format!("\"{id}\" is not 1 to 16 letters and digits"));
                }
                if secrets.iter().any(|earlier| earlier.id == *id) {
                    report.error_at("id", format!("\"{id}\" is there twice"));
                }
                if let Err(message) = config::long_secret(environment, env, MIN_SECRET) {
                    report.error_at("env", message);
                }
                // A short one is kept: the keys made with it are no further errors.
                let Ok(value) = config::secret(environment, env) else {
                    return;
                };
                // This never fails: HMAC accepts secrets of any length.
                if let Ok(mac) = Hmac::new_from_slice(value.as_bytes()) {
                    secrets.push(Secret { id: id.clone(), mac });
                }
            });
        }
        Self(secrets)
    }

    /// Every secret, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }

    /// A digest for other uses than keys, unpredictable without the newest secret; `label` separates the uses.
    pub fn digest(&self, label: &str, bytes: &[u8]) -> Digest {
        let labelled = [label.as_bytes(), b"\0", bytes].concat();
        self.0
            .first()
            .map(|secret| secret.digest(&labelled))
            .unwrap_or_default()
    }

    /// The hash of a new key, made with the newest secret.
    pub fn newest(&self, key: &[u8]) -> Option<KeyHash> {
        self.0.first().map(|secret| secret.hash(key))
    }

    /// Whether a hash was made with one of these secrets.
    pub fn have(&self, hash: &KeyHash) -> bool {
        self.0.iter().any(|secret| secret.id == hash.secret)
    }
}

impl Secret {
    /// HMAC-SHA256 of a whole key.
    pub fn digest(&self, key: &[u8]) -> Digest {
        self.mac.clone().chain_update(key).finalize().into_bytes().into()
    }

    /// The digest with the secret's id.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash {
            secret: self.id.clone(),
            digest: self.digest(key),
        }
    }
}

fn is_name(id: &str) -> bool {
    (1..=16).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Minimum length of a secret in bytes: that of the hash.
const MIN_SECRET: usize = 32;

// === impl Debug: no secret is shown ===

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.0).finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.id)
    }
}

// === impl KeyHash ===

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret && bool::from(self.digest.ct_eq(&other.digest))
    }
}

impl Eq for KeyHash {}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.secret)?;
        self.digest.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl FromStr for KeyHash {
    type Err = String;

    /// `v1:` and 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a hash is the name of its secret, a colon and 64 hexadecimal digits of HMAC-SHA256".to_owned();
        let (secret, digits) = text.split_once(':').ok_or_else(wrong)?;
        let mut digest = Digest::default();
        if !is_name(secret) || digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self {
            secret: secret.to_owned(),
            digest,
        })
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        // The error does not repeat the value, which may be a key by mistake.
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

schema!(KeyHash, "KeyHash", {"type": "string", "pattern": "^[0-9A-Za-z]{1,16}:[0-9A-Fa-f]{64}$"});

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[(&str, &str)]) -> Result<Secrets, String> {
        let config: Vec<_> = values
            .iter()
            .map(|(id, _)| SecretConfig {
                id: (*id).into(),
                env: format!("SECRET_{id}"),
            })
            .collect();
        let environment = values
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(id, value)| (format!("SECRET_{id}"), (*value).to_owned()))
            .collect();
        let mut report = Report::default();
        let secrets = Secrets::compile(&config, &environment, &mut report);
        report.finish().map(|_| secrets).map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            errors.join("\n")
        })
    }

    #[test]
    fn a_hash_is_hmac_sha256() {
        // RFC 4231, test case 6: a key of 131 bytes 0xaa, which is no UTF-8; so test case 2's construction by a text key.
        let secrets = secrets(&[("v1", &"k".repeat(32))]).unwrap();
        let hash = secrets.newest(b"what do ya want for nothing?").unwrap();
        let reference = Hmac::<Sha256>::new_from_slice(&[b'k'; 32])
            .unwrap()
            .chain_update(b"what do ya want for nothing?")
            .finalize()
            .into_bytes();
        assert_eq!(hash.digest[..], reference[..]);
    }

    #[test]
    fn a_hash_survives_its_text() {
        let secrets = secrets(&[("v2", &"b".repeat(32)), ("v1", &"a".repeat(32))]).unwrap();
        let hash = secrets.newest(b"key").unwrap();
        assert_eq!(hash.secret, "v2");
        assert_eq!(hash.to_string().parse::<KeyHash>().unwrap(), hash);
        let other: Vec<_> = secrets.iter().map(|secret| secret.hash(b"key")).collect();
        assert!(other[0] == hash && other[1] != hash && secrets.have(&other[1]));
        for bad in [
            "",
            "v1",
            "v1:",
            "v1:00",
            &format!("v 1:{}", "0".repeat(64)),
            &format!("v1:{}", "g".repeat(64)),
            &format!("v1:{}", "é".repeat(32)),
        ] {
            assert!(bad.parse::<KeyHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not_shown() {
        let error = |values: &[(&str, &str)]| secrets(values).unwrap_err();
        assert!(error(&[]).contains("is empty"));
        assert!(error(&[("v1", "")]).starts_with("[0].env: the environment has no `SECRET_v1`"));
        assert!(error(&[("v1", "short")]).contains("`SECRET_v1` has 5 bytes"));
        let long = "s".repeat(32);
        assert!(error(&[("v1", &long), ("v1", &long)]).contains("[1].id: \"v1\" is there twice"));
        assert!(error(&[("v-1", &long)]).starts_with("[0].id"));
        let shown = format!("{:?}", secrets(&[("v1", &long)]).unwrap());
        assert_eq!(shown, "[v1]");
    }
}
