//! One issuer: its keys, its rules and its names.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cache::Known;
use super::config::{IssuerConfig, JwksConfig};
use super::keys::Keys;
use super::subject::SubjectRules;
use crate::auth::credential::Source;
use crate::auth::jose::claims::{ClaimRules, Claims};
use crate::auth::jose::jwk::KeyId;
use crate::auth::jose::jws::is_media_type;
use crate::auth::jose::verify::verify;
use crate::auth::jose::{Algorithm, Jws, Key};
use crate::auth::jwks::RemoteKeys;
use crate::clock::Seconds;
use crate::config::values::HeaderName;
use crate::config::{Environment, Report};
use crate::policy::verdict::{Failure, Invalid};
use crate::seam::Context;

#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) from: Vec<Source>,
    pub(super) forward_token: bool,
    algorithms: Vec<Algorithm>,
    typ: Vec<String>,
    pub(super) keys: Keys,
    pub(super) claims: ClaimRules,
    pub(super) payload_header: Option<HeaderName>,
    subject: SubjectRules,
}

impl Issuer {
    pub(super) fn compile(
        config: &IssuerConfig,
        max_claim: usize,
        environment: &Environment,
        report: &mut Report,
    ) -> Self {
        check_values(config, report);
        let keys = report.within("jwks", |report| Keys::load(config, environment, report));
        check_algorithms(config, keys.as_ref(), report);
        Self {
            name: config.name.clone(),
            issuer: config.issuer.clone(),
            from: config.from.iter().cloned().map(Source::normalized).collect(),
            forward_token: config.forward_token,
            algorithms: config.algorithms.clone(),
            typ: config.typ.clone(),
            keys: keys.unwrap_or_else(|| Keys::Fixed(Arc::default())),
            payload_header: config.payload_header.clone(),
            claims: ClaimRules {
                audiences: config.audiences.clone(),
                leeway: config.leeway.seconds(),
                require: config.require.clone(),
                max_lifetime: config.max_lifetime.map(|span| span.seconds()),
            },
            subject: SubjectRules::new(&config.claims, max_claim, config.tenant.clone(), config.plan.clone()),
        }
    }

    /// The key that signed a token, or `None` where none of those that may have did. Algorithm and type come first.
    pub(super) fn verify_signature(
        &self,
        jws: &Jws<'_>,
        may_wait: bool,
        cx: &Context<'_>,
    ) -> Result<Option<KeyId>, Failure> {
        if !self.algorithms.contains(&jws.algorithm) {
            return Err("algorithm_not_allowed".into());
        }
        if let Some(typ) = &jws.typ
            && !self.typ.iter().any(|accepted| is_media_type(typ, accepted))
        {
            return Err("type_not_allowed".into());
        }
        let keys = self.keys.current(may_wait, cx)?;
        let mut candidates = keys.candidates(jws.kid.as_deref(), jws.algorithm).peekable();
        if candidates.peek().is_none() {
            // A key that nobody has heard of may be a new one. A token that names no key says nothing new.
            let awaited = jws.kid.as_ref().and_then(|_| self.keys.demand(cx)).filter(|_| may_wait);
            return Err(awaited.map_or("key_unknown".into(), Failure::Wait));
        }
        let signer = candidates.find(|key| verify(cx.host, key, jws.algorithm, jws.signed, &jws.signature));
        Ok(signer.map(Key::id))
    }

    /// What a token with a good signature says.
    pub(super) fn read(self: &Arc<Self>, claims: &Claims, jws: &Jws<'_>, key: KeyId) -> Result<Known, Invalid> {
        let payload = self
            .payload_header
            .as_ref()
            .map(|_| URL_SAFE_NO_PAD.encode(&jws.payload).into());
        Ok(Known {
            issuer: Arc::clone(self),
            key,
            claims: self.claims.read(claims)?,
            subject: Arc::new(self.subject.read(claims, &self.issuer)?),
            payload,
        })
    }

    pub(super) fn remote_keys(&self) -> Option<&Arc<RemoteKeys>> {
        match &self.keys {
            Keys::Fixed(_) => None,
            Keys::Remote(remote) => Some(remote),
        }
    }
}

/// What an issuer says of itself and of its tokens.
fn check_values(config: &IssuerConfig, report: &mut Report) {
    report.not_empty("name", config.name.is_empty());
    report.not_empty("issuer", config.issuer.is_empty());
    if config.issuer.chars().any(char::is_control) {
        report.error_at("issuer", "has control characters, which no header can carry");
    }
    report.not_empty(
        "audiences",
        config.audiences.is_empty() || config.audiences.iter().any(String::is_empty),
    );
    report.not_empty("algorithms", config.algorithms.is_empty());
    report.not_empty("from", config.from.is_empty());
    report.not_empty("typ", config.typ.is_empty());
    if config.leeway.seconds() > MAX_LEEWAY {
        report.error_at(
            "leeway",
            format!(
                "is above {}s: tokens would live far beyond their expiry",
                MAX_LEEWAY.get()
            ),
        );
    }
    check_exact_names(config, report);
}

/// Issuers and audiences are compared exactly: what other systems read as a pattern would be nobody's name.
fn check_exact_names(config: &IssuerConfig, report: &mut Report) {
    let placeholder = |text: &str| text.contains(['*', '{', '}']);
    if placeholder(&config.issuer) {
        report.error_at(
            "issuer",
            format!(
                "\"{}\" is compared exactly, so no token is from it; name each issuer",
                config.issuer
            ),
        );
    }
    for (index, audience) in config.audiences.iter().enumerate() {
        if placeholder(audience) {
            report.error_at(
                format!("audiences[{index}]"),
                format!("\"{audience}\" is compared exactly, so no token is for it; name each audience"),
            );
        }
    }
}

/// Each algorithm once, and each with a key for it. `keys` are those that could be loaded.
fn check_algorithms(config: &IssuerConfig, keys: Option<&Keys>, report: &mut Report) {
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
        } else if matches!(config.jwks, JwksConfig::Remote(_)) && algorithm.is_symmetric() {
            report.error_at(
                format!("algorithms[{index}]"),
                format!(
                    "{} wants a shared secret, which nobody publishes; name it under `jwks.secrets`",
                    algorithm.name()
                ),
            );
        } else if let Some(Keys::Fixed(keys)) = keys
            && !keys.has_key_for(algorithm)
        {
            report.error_at(
                format!("algorithms[{index}]"),
                format!("no key under `jwks` can verify {}", algorithm.name()),
            );
        }
    }
}

const MAX_LEEWAY: Seconds = Seconds::new(900);
