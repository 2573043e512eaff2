//! Verification of presented keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::changes::Changes;
use super::config::ApiKeysConfig;
use super::lookup::{Found, Lookups};
use super::service::Service;
use super::throttle::{Charge, Throttle};
use crate::auth::api_key::record::Validity;
use crate::auth::api_key::secrets::Digest;
use crate::auth::api_key::{Format, KeyHash, KeyRecord, Secrets};
use crate::auth::credential::Source;
use crate::client_network::ClientNetwork;
use crate::clock::Millis;
use crate::config::values::is_realm;
use crate::config::{Environment, Report};
use crate::message::identity::Subject;
use crate::message::request::Request;
use crate::policy::verdict::{Failure, Verified};
use crate::seam::store::Store;
use crate::seam::{Caller, Context, Note};

/// All API keys of a configuration.
#[derive(Debug)]
pub struct ApiKeys {
    realm: String,
    sources: Vec<Source>,
    format: Option<Format>,
    secrets: Secrets,
    inline: HashMap<Digest, Inline>,
    lookups: Option<Arc<Lookups>>,
    changes: Option<Arc<Changes>>,
    throttle: Throttle,
}

/// Marks a request that is charged as a failed attempt of its source, which it is until a lookup succeeds.
struct Charged(Option<Charge>);

/// A key from the configuration.
#[derive(Debug)]
struct Inline {
    hash: KeyHash,
    validity: Validity,
    subject: Arc<Subject>,
}

impl ApiKeys {
    /// Compiles an `api_keys` section.
    pub fn compile(config: &ApiKeysConfig, environment: &Environment, report: &mut Report) -> Self {
        if !is_realm(&config.realm) {
            report.error_at("realm", "must be printable ASCII without quotes");
        }
        if config.from.is_empty() {
            report.error_at("from", "must not be empty");
        }
        let format = Format::new(&config.prefix, &config.environment, config.opaque)
            .map_err(|message| report.error(message))
            .ok();
        let secrets = report.within("secrets", |report| {
            Secrets::compile(&config.secrets, environment, report)
        });
        let inline = report.within("keys", |report| compile_keys(&config.keys, &secrets, report));
        let throttle = config.throttle;
        if throttle.limit == 0 || throttle.window.millis() < Millis::new(1000) {
            report.error_at(
                "throttle",
                "needs a `limit` of at least 1 and a `window` of at least 1s",
            );
        }
        let service = config.lookup.as_ref().map(|lookup| {
            let service = report.within("lookup", |report| Service::compile(lookup, environment, report));
            (lookup, Arc::new(service))
        });
        let lookups = service
            .as_ref()
            .map(|(lookup, service)| Arc::new(Lookups::new(lookup, service)));
        let changes = service
            .as_ref()
            .map(|(lookup, service)| Arc::new(Changes::new(lookup, service)));
        let trust = config
            .lookup
            .as_ref()
            .map_or(DEFAULT_TRUST, |lookup| lookup.cache.millis());
        Self {
            realm: config.realm.clone(),
            sources: config.from.iter().cloned().map(Source::normalized).collect(),
            format,
            throttle: Throttle::new(throttle, trust, &secrets, "tollgate.keys"),
            secrets,
            inline,
            lookups,
            changes,
        }
    }

    /// The credential sources for keys.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The callers of the key service.
    pub fn callers(&self) -> impl Iterator<Item = Arc<dyn Caller>> {
        let lookups = self
            .lookups
            .iter()
            .map(|lookups| Arc::clone(lookups) as Arc<dyn Caller>);
        let changes = self
            .changes
            .iter()
            .map(|changes| Arc::clone(changes) as Arc<dyn Caller>);
        lookups.chain(changes)
    }

    /// Creates the tables that workers share, before there is traffic.
    pub fn prepare(&self, store: &dyn Store) {
        self.throttle.prepare(store);
    }

    /// Verifies a key: its form, then its source's failed attempts, and only then its record. A wrong secret and an
    /// unknown id are handled alike.
    pub(crate) fn verify(&self, key: &[u8], request: &mut Request, cx: &Context<'_>) -> Result<Verified, Failure> {
        let (now, store) = (cx.wall(), cx.store());
        let origin = ClientNetwork::from(request.client_address(cx.host));
        let known = self.identify(key, origin, request, cx);
        match known {
            Ok((digest, subject)) => {
                self.give_back(origin, request, now, store);
                self.throttle.trust(origin, &digest, cx);
                Ok(Verified {
                    subject,
                    forward: false,
                    payload: None,
                })
            }
            Err(failure) => {
                // A client that disconnects during the lookup has made an attempt too; an unavailable service gives it
                // back.
                let is_attempt = matches!(failure, Failure::Invalid(_) | Failure::Wait(_));
                if is_attempt && request.memory.get::<Charged>().is_none() {
                    request.memory.put(Charged(self.throttle.count(origin, now, store)));
                } else if matches!(failure, Failure::KeysUnavailable(_)) {
                    self.give_back(origin, request, now, store);
                }
                Err(failure)
            }
        }
    }

    fn give_back(&self, origin: ClientNetwork, request: &mut Request, now: Millis, store: &dyn Store) {
        if let Some(Charged(Some(charge))) = request.memory.take() {
            self.throttle.give_back(origin, charge, now, store);
        }
    }

    fn identify(
        &self,
        key: &[u8],
        origin: ClientNetwork,
        request: &mut Request,
        cx: &Context<'_>,
    ) -> Result<(Digest, Arc<Subject>), Failure> {
        let now = cx.wall();
        let read = self
            .format
            .as_ref()
            .ok_or("malformed")
            .and_then(|format| format.read(key));
        // A malformed key is never trusted.
        let digest = read.map_or(Digest::default(), |presented| {
            let newest = self.secrets.iter().next();
            newest.map(|secret| secret.digest(presented.key)).unwrap_or_default()
        });
        if request.memory.get::<Charged>().is_none() {
            let checked = self.throttle.check(origin, &digest, cx);
            checked.map_err(Failure::TooManyAttempts)?;
        }
        let presented = read?;
        let mut hashes = Vec::new();
        for (place, secret) in self.secrets.iter().enumerate() {
            let digest = if place == 0 {
                digest
            } else {
                secret.digest(presented.key)
            };
            let hash = KeyHash {
                secret: secret.id.clone(),
                digest,
            };
            if let Some(inline) = self.inline.get(&digest).filter(|inline| inline.hash == hash) {
                inline.validity.check(now.seconds())?;
                return Ok((digest, Arc::clone(&inline.subject)));
            }
            hashes.push(hash);
        }
        let Some(lookups) = &self.lookups else {
            return Err("unknown".into());
        };
        match lookups.find(presented, &hashes, &self.throttle, request, cx) {
            Found::Known(record, outcome) => {
                let count = format!("tollgate_key_cache_total;outcome={outcome};");
                request.notes.push(Note::Count(count.into()));
                record.validity().check(now.seconds())?;
                Ok((digest, Arc::new(record.subject())))
            }
            Found::Unknown => Err("unknown".into()),
            Found::Soon(wait) => Err(Failure::Wait(wait)),
            Found::Unavailable(pause) => Err(Failure::KeysUnavailable(pause)),
            Found::TooMany(pause) => Err(Failure::TooManyAttempts(pause)),
        }
    }

    /// The value of `WWW-Authenticate`, the same as Kong's.
    pub(crate) fn challenge(&self) -> String {
        format!("Key realm=\"{}\"", self.realm)
    }
}

fn compile_keys(keys: &[KeyRecord], secrets: &Secrets, report: &mut Report) -> HashMap<Digest, Inline> {
    let mut ids = HashSet::new();
    let mut inline = HashMap::new();
    for (index, key) in keys.iter().enumerate() {
        report.within(format!("[{index}]"), |report| {
            if let Err((field, message)) = key.check() {
                report.error_at(field, message);
            }
            if !ids.insert(&key.id) {
                report.error_at("id", format!("\"{}\" is there twice", key.id));
            }
            if !secrets.have(&key.hash) {
                report.error_at("hash", format!("no secret is called \"{}\"", key.hash.secret));
            }
            let validity = key.validity();
            if validity.is_empty() {
                report.error_at("expires_at", "is not after `not_before`: the key would never be valid");
            }
            let entry = Inline {
                hash: key.hash.clone(),
                validity,
                subject: Arc::new(key.subject()),
            };
            if inline.insert(key.hash.digest, entry).is_some() {
                report.error_at("hash", "is there twice: a key has one holder");
            }
        });
    }
    inline
}

/// How long a key stays trusted from a source without a key service.
const DEFAULT_TRUST: Millis = Millis::new(60_000);
