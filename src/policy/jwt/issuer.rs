//! One issuer: its keys, its rules and its names.

use std::rc::Rc;

use super::subject::SubjectRules;
use super::{Failure, IssuerConfig, JwksConfig};
use crate::config::{Environment, Report};
use crate::credential::Source;
use crate::identity::Subject;
use crate::jose::claims::{ClaimRules, Claims};
use crate::jose::jws::is_media_type;
use crate::jose::verify::verify;
use crate::jose::{Algorithm, Jws, Key, KeySet};
use crate::keys::{Lookup, RemoteKeys};
use crate::world::World;

#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) from: Vec<Source>,
    pub(super) forward_token: bool,
    algorithms: Vec<Algorithm>,
    typ: Vec<String>,
    keys: Keys,
    claims: ClaimRules,
    subject: SubjectRules,
}

#[derive(Debug)]
enum Keys {
    Fixed(KeySet),
    Remote(Rc<RemoteKeys>),
}

impl Issuer {
    pub(super) fn compile(config: &IssuerConfig, environment: &Environment, report: &mut Report) -> Self {
        not_empty(report, "name", config.name.is_empty());
        not_empty(report, "issuer", config.issuer.is_empty());
        not_empty(
            report,
            "audiences",
            config.audiences.is_empty() || config.audiences.iter().any(String::is_empty),
        );
        not_empty(report, "algorithms", config.algorithms.is_empty());
        not_empty(report, "from", config.from.is_empty());
        not_empty(report, "typ", config.typ.is_empty());
        if config.leeway.as_secs() > MAX_LEEWAY {
            report.error_at(
                "leeway",
                format!("is above {MAX_LEEWAY}s: tokens would live far beyond their expiry"),
            );
        }
        let keys = report.within("jwks", |report| load_keys(config, environment, report));
        for (index, &algorithm) in config.algorithms.iter().enumerate() {
            if config
                .algorithms
                .iter()
                .take(index)
                .any(|&earlier| earlier == algorithm)
            {
                report.error_at(
                    format!("algorithms[{index}]"),
                    format!("{} is there twice", algorithm.name()),
                );
            } else if let Some(Keys::Fixed(keys)) = &keys
                && !keys.has_key_for(algorithm)
            {
                report.error_at(
                    format!("algorithms[{index}]"),
                    format!("no key under `jwks` can verify {}", algorithm.name()),
                );
            }
        }
        Self {
            name: config.name.clone(),
            issuer: config.issuer.clone(),
            from: config.from.iter().cloned().map(Source::normalized).collect(),
            forward_token: config.forward_token,
            algorithms: config.algorithms.clone(),
            typ: config.typ.clone(),
            keys: keys.unwrap_or(Keys::Fixed(KeySet::default())),
            claims: ClaimRules {
                audiences: config.audiences.clone(),
                leeway: config.leeway.as_secs(),
                require: config.require.clone(),
                max_lifetime: config.max_lifetime.map(|span| span.as_secs()),
            },
            subject: SubjectRules::new(&config.claims, config.tenant.clone()),
        }
    }

    /// Everything but the choice of the issuer: algorithm, type, signature, registered claims, and who it is.
    pub(super) fn verify(
        &self,
        jws: &Jws<'_>,
        claims: &Claims,
        may_wait: bool,
        world: &dyn World,
    ) -> Result<Subject, Failure> {
        if !self.algorithms.contains(&jws.algorithm) {
            return Err("algorithm_not_allowed".into());
        }
        if let Some(typ) = &jws.typ
            && !self.typ.iter().any(|accepted| is_media_type(typ, accepted))
        {
            return Err("type_not_allowed".into());
        }
        match &self.keys {
            Keys::Fixed(keys) => verify_signature(keys, jws, world)?,
            Keys::Remote(remote) => {
                let now = world.now();
                let keys = match remote.lookup(now) {
                    Lookup::Keys(keys) => keys,
                    Lookup::Soon if may_wait => return Err(Failure::Wait(Rc::clone(remote))),
                    Lookup::Soon => return Err(Failure::KeysUnavailable(1)),
                    Lookup::Unavailable(seconds) => return Err(Failure::KeysUnavailable(seconds)),
                };
                let verified = verify_signature(&keys, jws, world);
                // A key that nobody has heard of may be a new one. A token that names no key says nothing new.
                if verified == Err(KEY_UNKNOWN) && jws.kid.is_some() && remote.demand(now) && may_wait {
                    return Err(Failure::Wait(Rc::clone(remote)));
                }
                verified?;
            }
        }
        self.claims.check(claims, world.now())?;
        Ok(self.subject.read(claims, &self.issuer)?)
    }

    pub(super) fn remote_keys(&self) -> Option<&Rc<RemoteKeys>> {
        match &self.keys {
            Keys::Fixed(_) => None,
            Keys::Remote(remote) => Some(remote),
        }
    }
}

fn verify_signature(keys: &KeySet, jws: &Jws<'_>, world: &dyn World) -> Result<(), &'static str> {
    let mut candidates = keys.candidates(jws.kid.as_deref(), jws.algorithm).peekable();
    candidates.peek().ok_or(KEY_UNKNOWN)?;
    if candidates.any(|key| verify(world, key, jws.algorithm, jws.signed, &jws.signature)) {
        Ok(())
    } else {
        Err("signature_mismatch")
    }
}

fn not_empty(report: &mut Report, key: &str, is_empty: bool) {
    if is_empty {
        report.error_at(key, "must not be empty");
    }
}

/// `None` where something is wrong with it, so that no further error follows from the same mistake.
fn load_keys(config: &IssuerConfig, environment: &Environment, report: &mut Report) -> Option<Keys> {
    match &config.jwks {
        JwksConfig::Remote(remote) => Some(Keys::Remote(Rc::new(report.within("remote", |report| {
            RemoteKeys::compile(remote, &config.name, &config.issuer, report)
        })))),
        JwksConfig::Inline(document) => KeySet::from_jwks(document)
            .map_err(|errors| {
                for error in errors {
                    let place = error
                        .index
                        .map_or("inline".into(), |index| format!("inline.keys[{index}]"));
                    report.error_at(place, error.message);
                }
            })
            .ok()
            .map(Keys::Fixed),
        JwksConfig::Secrets(secrets) => {
            let mut keys = KeySet::default();
            if secrets.is_empty() {
                report.error_at("secrets", "must not be empty");
                return None;
            }
            let mut sound = true;
            for (index, secret) in secrets.iter().enumerate() {
                let value = environment.get(&secret.env).ok_or_else(|| {
                    format!(
                        "the environment has no `{}`; name it in the VM's `environment_variables`",
                        secret.env
                    )
                });
                let key = value.and_then(|value| Key::from_secret(value.clone().into_bytes(), secret.kid.clone()));
                if let Err(message) = key.and_then(|key| keys.insert(key)) {
                    report.error_at(format!("secrets[{index}]"), message);
                    sound = false;
                }
            }
            sound.then_some(Keys::Fixed(keys))
        }
    }
}

const KEY_UNKNOWN: &str = "key_unknown";

/// Seconds.
const MAX_LEEWAY: u64 = 900;
