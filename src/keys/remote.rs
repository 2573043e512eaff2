//! An issuer's published keys, as one worker sees them and as all workers fetch them together.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::config::RemoteConfig;
use super::fetched::{MAX_BODY, discovered, interval, keys, split_url};
use super::schedule::Schedule;
use crate::config::Report;
use crate::effect::Effect;
use crate::jose::KeySet;
use crate::jose::jwk::KeyError;
use crate::json;
use crate::remote::{Answer, Awaited, Call, Outcome, Remote, document};
use crate::store::{Store, update};

/// One issuer's published keys.
#[derive(Debug)]
pub struct RemoteKeys {
    /// For logs and metrics.
    pub name: String,
    issuer: String,
    cluster: String,
    authority: String,
    path: String,
    discovery: bool,
    timeout: u64,
    refresh: u64,
    cooldown: u64,
    max_stale: u64,
    /// The beginning of this issuer's keys in the store. It tells configurations apart that fetch elsewhere.
    prefix: String,
    /// What this worker knows; a copy of what is in the store.
    known: RefCell<Known>,
    /// Whether a request waits for a key that is not in the set.
    demanded: Cell<bool>,
}

#[derive(Debug, Default)]
struct Known {
    schedule: Schedule,
    keys: Rc<KeySet>,
}

/// What a request gets that needs keys.
#[derive(Debug)]
pub enum Lookup {
    /// These.
    Keys(Rc<KeySet>),
    /// None yet; they are on their way.
    Soon,
    /// None, and none in sight for this many seconds.
    Unavailable(u64),
}

/// Keys that a request waits for, since this version of them.
#[derive(Debug)]
struct AwaitedKeys {
    keys: Rc<RemoteKeys>,
    version: u64,
}

/// The topics of calls.
const DISCOVERY: u64 = 0;
const KEYS: u64 = 1;

/// What an answer led to.
#[derive(Debug, PartialEq, Eq)]
enum Fetched {
    /// Keys were published; what is wrong with those that cannot be used.
    Published(Vec<KeyError>),
    /// The discovery document named where the keys are: fetch this now.
    Next(Call),
    /// Nothing that can be used; the reason, and what is wrong with each key. The old keys stay.
    Failed(&'static str, Vec<KeyError>),
}

impl RemoteKeys {
    /// Checks where to fetch from.
    pub fn compile(config: &RemoteConfig, name: &str, issuer: &str, report: &mut Report) -> Self {
        if config.cluster.is_empty() {
            report.error_at("cluster", "must not be empty");
        }
        let url = match (&config.url, config.discovery) {
            (Some(url), _) => url.clone(),
            (None, true) => format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
            (None, false) => {
                report.error("needs the `url` of the key set, or `discovery: true`");
                String::new()
            }
        };
        let (authority, path) = split_url(&url).unwrap_or_else(|| {
            if !url.is_empty() {
                report.error_at(
                    "url",
                    format!("\"{url}\" is not an http or https URL without user and fragment"),
                );
            }
            Default::default()
        });
        for (key, span, least) in [
            ("timeout", config.timeout, 1),
            ("refresh", config.refresh, 1000),
            ("cooldown", config.cooldown, 1000),
            ("max_stale", config.max_stale, 1000),
        ] {
            if span.as_millis() < least {
                report.error_at(key, format!("must be at least {least}ms"));
            }
        }
        let place = format!("{}\n{url}\n{issuer}\n{}", config.cluster, config.discovery);
        let digest: String = Sha256::digest(place)
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            name: name.into(),
            issuer: issuer.into(),
            cluster: config.cluster.clone(),
            authority,
            path,
            discovery: config.discovery,
            timeout: config.timeout.as_millis(),
            refresh: config.refresh.as_millis(),
            cooldown: config.cooldown.as_millis(),
            max_stale: config.max_stale.as_millis(),
            prefix: format!("tollgate.jwks.{digest}"),
            known: RefCell::default(),
            demanded: Cell::new(false),
        }
    }

    // === for requests ===

    /// The keys, as this worker knows them at `now`, in seconds since the epoch.
    pub fn lookup(&self, now: u64) -> Lookup {
        let now = now.saturating_mul(1000);
        let known = self.known.borrow();
        let schedule = known.schedule;
        if schedule.version > 0 && now <= schedule.fetched_at.saturating_add(self.max_stale) {
            return Lookup::Keys(Rc::clone(&known.keys));
        }
        if schedule.failures == 0 {
            return Lookup::Soon;
        }
        let pause = schedule.refresh_at.saturating_sub(now).div_ceil(1000);
        Lookup::Unavailable(pause.clamp(1, MAX_RETRY_AFTER))
    }

    /// A token names a key that is not in the set: whether to wait for a fetch, which this asks for.
    pub fn demand(&self, now: u64) -> bool {
        let now = now.saturating_mul(1000);
        let schedule = self.known.borrow().schedule;
        let worthwhile = schedule.lease_until > now || schedule.may_demand(now, self.cooldown);
        if worthwhile {
            self.demanded.set(true);
        }
        worthwhile
    }

    /// The next set, to wait for.
    pub fn awaited(self: &Rc<Self>) -> Box<dyn Awaited> {
        Box::new(AwaitedKeys {
            keys: Rc::clone(self),
            version: self.version(),
        })
    }

    /// Counts the sets that this worker has seen.
    fn version(&self) -> u64 {
        self.known.borrow().schedule.version
    }

    /// Whether a request that began to wait at this version should look again: there is another set, or the first
    /// fetch has failed.
    fn is_settled(&self, version: u64) -> bool {
        let schedule = self.known.borrow().schedule;
        schedule.version != version || (version == 0 && schedule.failures > 0)
    }

    // === for the host's timer; times in milliseconds since the epoch ===

    /// Takes over what other workers have published.
    fn take_over(&self, store: &dyn Store) {
        let Some(schedule) = self.read_schedule(store) else {
            return;
        };
        if schedule.version != self.version() {
            // The body is written before the version that announces it.
            let body = store.read(&self.body_key()).map(|(body, _)| body).unwrap_or_default();
            let document = json::parse(json::without_byte_order_mark(&body)).ok();
            let Some((set, _)) = document.and_then(|document| keys(&document).ok()) else {
                return;
            };
            self.known.borrow_mut().keys = Rc::new(set);
            self.demanded.set(false);
        }
        self.known.borrow_mut().schedule = schedule;
    }

    /// What to fetch now, if anything: at most one worker gets an answer at a time.
    fn begin(&self, now: u64, store: &dyn Store) -> Option<Call> {
        let demanded = self.demanded.get();
        let steps = if self.discovery { 2 } else { 1 };
        let lease = self.timeout.saturating_mul(steps).saturating_add(LEASE_SLACK);
        let Some(schedule) = self.update(store, |schedule| schedule.begin(now, demanded, lease, self.cooldown)) else {
            // What the bucket does not grant now is asked for anew by the next token, not by the timer.
            let schedule = self.known.borrow().schedule;
            if schedule.lease_until <= now && !schedule.may_demand(now, self.cooldown) {
                self.demanded.set(false);
            }
            return None;
        };
        self.known.borrow_mut().schedule = schedule;
        self.demanded.set(false);
        let topic = if self.discovery { DISCOVERY } else { KEYS };
        Some(self.fetch(&self.authority, &self.path, topic))
    }

    /// Takes an answer: publishes its keys to all workers, or notes the failure.
    fn end(&self, topic: u64, now: u64, answer: &Answer, store: &dyn Store) -> Fetched {
        let result = document(answer, MAX_BODY).and_then(|document| {
            if topic == DISCOVERY {
                let (authority, path) = discovered(&document, &self.issuer)?;
                if authority != self.authority {
                    return Err("discovery_other_host");
                }
                return Ok(Fetched::Next(self.fetch(&authority, &path, KEYS)));
            }
            let (keys, unused) = keys(&document)?;
            if keys.is_empty() {
                self.fail(now, store);
                return Ok(Fetched::Failed("no_usable_key", unused));
            }
            let interval = interval(&answer.headers, self.cooldown, self.refresh);
            self.publish(now, interval, &answer.body, store)?;
            Ok(Fetched::Published(unused))
        });
        result.unwrap_or_else(|reason| {
            self.fail(now, store);
            Fetched::Failed(reason, Vec::new())
        })
    }

    /// Notes that a fetch led to nothing.
    fn fail(&self, now: u64, store: &dyn Store) {
        if let Some(schedule) = self.update(store, |schedule| Some(schedule.fail(now))) {
            self.known.borrow_mut().schedule = schedule;
        }
    }

    fn publish(&self, now: u64, interval: u64, body: &[u8], store: &dyn Store) -> Result<(), &'static str> {
        // Who holds the lease is alone here: nothing has to be read to be compared.
        if !store.write(&self.body_key(), body, 0) {
            return Err("store");
        }
        self.update(store, |schedule| Some(schedule.succeed(now, interval)))
            .ok_or("store")?;
        self.take_over(store);
        Ok(())
    }

    fn fetch(&self, authority: &str, path: &str, topic: u64) -> Call {
        let header = |name: &'static str, value: &str| (name.into(), value.to_owned());
        Call {
            cluster: self.cluster.clone(),
            headers: vec![
                header(":method", "GET"),
                header(":path", path),
                header(":authority", authority),
                header("accept", "application/json"),
                header("user-agent", "tollgate"),
            ],
            body: Vec::new(),
            timeout: std::time::Duration::from_millis(self.timeout),
            max_body: MAX_BODY,
            topic,
        }
    }

    fn read_schedule(&self, store: &dyn Store) -> Option<Schedule> {
        store.read(&self.prefix).and_then(|(bytes, _)| Schedule::decode(&bytes))
    }

    fn update(&self, store: &dyn Store, change: impl Fn(Schedule) -> Option<Schedule>) -> Option<Schedule> {
        update(store, &self.prefix, |bytes| {
            let schedule = bytes.and_then(Schedule::decode).unwrap_or_default();
            change(schedule).map(|schedule| (schedule.encode(), schedule))
        })
    }

    fn body_key(&self) -> String {
        format!("{}.keys", self.prefix)
    }
}

impl Remote for RemoteKeys {
    fn prepare(&self, store: &dyn Store) {
        if store.read(&self.prefix).is_none() {
            store.write(&self.prefix, &Schedule::default().encode(), 0);
        }
        self.take_over(store);
    }

    fn synchronize(&self, store: &dyn Store) {
        self.take_over(store);
    }

    fn call(&self, now: u64, store: &dyn Store) -> Option<Call> {
        self.begin(now, store)
    }

    fn answer(&self, call: &Call, answer: Option<&Answer>, now: u64, store: &dyn Store) -> Outcome {
        let fetched = match answer {
            Some(answer) => self.end(call.topic, now, answer, store),
            None => {
                self.fail(now, store);
                Fetched::Failed("cluster", Vec::new())
            }
        };
        let name = &self.name;
        let count = |outcome, reason| {
            Effect::Count(format!("tollgate_jwks_fetch_total;issuer={name};outcome={outcome};reason={reason};").into())
        };
        let not_used = |unused: Vec<KeyError>| {
            unused.into_iter().map(move |error| {
                let message = format!("issuer {name}: a published key is not used: {error}");
                Effect::Log(log::Level::Warn, message)
            })
        };
        let mut outcome = Outcome::default();
        match fetched {
            Fetched::Published(unused) => {
                let fetched = format!("issuer {name}: keys fetched");
                outcome.effects = vec![count("ok", "ok"), Effect::Log(log::Level::Info, fetched)];
                outcome.effects.extend(not_used(unused));
            }
            Fetched::Next(call) => outcome.next = Some(call),
            Fetched::Failed(reason, unused) => {
                let message = format!("issuer {name}: keys could not be fetched ({reason}); the old ones stay");
                outcome.effects = vec![count("failed", reason), Effect::Log(log::Level::Warn, message)];
                outcome.effects.extend(not_used(unused));
            }
        }
        outcome
    }

    fn is_awaited(&self, now: u64) -> bool {
        let schedule = self.known.borrow().schedule;
        self.demanded.get() || schedule.lease_until > now || (schedule.version == 0 && schedule.failures == 0)
    }
}

impl Awaited for AwaitedKeys {
    fn is_settled(&self, _: &dyn Store) -> bool {
        self.keys.is_settled(self.version)
    }
}

/// Milliseconds beyond the timeout of a fetch, for its answer to be read.
const LEASE_SLACK: u64 = 1000;

/// Seconds.
const MAX_RETRY_AFTER: u64 = 60;

#[cfg(test)]
mod tests;
