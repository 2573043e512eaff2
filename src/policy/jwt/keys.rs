//! The keys of an issuer, from any source.

use std::sync::Arc;

use super::config::{IssuerConfig, JwksConfig};
use crate::auth::jose::{Key, KeySet};
use crate::auth::jwks::{Lookup, RemoteKeys};
use crate::clock::Seconds;
use crate::config::{self, Environment, Report};
use crate::policy::verdict::Failure;
use crate::seam::{Context, Wait};

#[derive(Debug)]
pub(super) enum Keys {
    Fixed(Arc<KeySet>),
    Remote(Arc<RemoteKeys>),
}

impl Keys {
    /// Loads the keys. `None` after an error, so that the same mistake causes no further errors.
    pub(super) fn load(config: &IssuerConfig, environment: &Environment, report: &mut Report) -> Option<Self> {
        match &config.jwks {
            JwksConfig::Remote(remote) => Some(Self::Remote(Arc::new(report.within("remote", |report| {
                RemoteKeys::compile(remote, &config.name, &config.issuer, report)
            })))),
            JwksConfig::Inline(document) => report.within("inline", |report| inline(document, report)),
            JwksConfig::Secrets(secrets) => {
                let mut keys = KeySet::default();
                if secrets.is_empty() {
                    report.error_at("secrets", "must not be empty");
                    return None;
                }
                let mut sound = true;
                for (index, secret) in secrets.iter().enumerate() {
                    let value = config::secret(environment, &secret.env);
                    let key = value.and_then(|value| Key::from_secret(value.into(), secret.kid.clone()));
                    match key {
                        Ok(key) => keys.insert(key),
                        Err(message) => {
                            report.error_at(format!("secrets[{index}]"), message);
                            sound = false;
                        }
                    }
                }
                sound.then_some(Self::Fixed(Arc::new(keys)))
            }
        }
    }

    pub(super) fn current(&self, may_wait: bool, cx: &Context<'_>) -> Result<Arc<KeySet>, Failure> {
        match self {
            Self::Fixed(keys) => Ok(Arc::clone(keys)),
            Self::Remote(remote) => match remote.lookup(cx) {
                Lookup::Keys(keys) => Ok(keys),
                Lookup::Soon if may_wait => Err(Failure::Wait(remote.awaited(cx))),
                Lookup::Soon => Err(Failure::KeysUnavailable(Seconds::new(1))),
                Lookup::Unavailable(pause) => Err(Failure::KeysUnavailable(pause)),
            },
        }
    }

    /// Asks for a fetch, as a token's key is not in the set. Returns a wait if that is worthwhile.
    pub(super) fn demand(&self, cx: &Context<'_>) -> Option<Wait> {
        match self {
            Self::Fixed(_) => None,
            Self::Remote(remote) => remote.demand(cx).then(|| remote.awaited(cx)),
        }
    }
}

/// Loads a set from the configuration. Keys for other purposes are skipped; malformed keys are errors.
fn inline(document: &serde_json::Value, report: &mut Report) -> Option<Keys> {
    let (keys, unused) = KeySet::from_jwks(document)
        .map_err(|message| report.error(message))
        .ok()?;
    for error in &unused {
        let place = format!("keys[{}]", error.index);
        match error.is_foreign {
            true => report.warn_at(place, format!("is not used: {}", error.message)),
            false => report.error_at(place, error.message.as_str()),
        }
    }
    if keys.is_empty() && unused.iter().all(|error| error.is_foreign) {
        report.error_at("keys", "has no key to verify signatures with");
    }
    let is_sound = unused.iter().all(|error| error.is_foreign) && !keys.is_empty();
    is_sound.then(|| Keys::Fixed(Arc::new(keys)))
}
