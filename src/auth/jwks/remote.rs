//! An issuer's published keys: each worker's copy, and the fetch that all workers share.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::config::RemoteConfig;
use super::fetched::{MAX_BODY, discovered, interval, keys, split_url};
use super::schedule::Schedule;
use crate::auth::jose::KeySet;
use crate::auth::jose::jwk::KeyError;
use crate::clock::{Millis, Seconds};
use crate::config::Report;
use crate::json;
use crate::seam::store::{Store, update};
use crate::seam::{Answer, Call, Caller, Context, Local, Lost, Note, Outcome, Ticket, Wait, WaitKind, document};

/// One issuer's published keys.
#[derive(Debug)]
pub struct RemoteKeys {
    /// The issuer's name in logs and metrics.
    pub name: String,
    issuer: String,
    cluster: String,
    authority: String,
    path: String,
    discovery: bool,
    timeout: Millis,
    refresh: Millis,
    cooldown: Millis,
    max_stale: Millis,
    /// The prefix of this issuer's keys in the store. It differs for configurations that fetch from another place.
    prefix: String,
    own: Local<Own>,
}

/// One worker's state for an issuer.
#[derive(Debug, Default)]
struct Own {
    /// A copy of the state in the store.
    known: RefCell<Known>,
    /// The ticket that requests wait for, and the version of the keys at that time.
    awaited: Cell<Option<(Ticket, u64)>>,
}

#[derive(Debug, Default)]
struct Known {
    schedule: Schedule,
    keys: Arc<KeySet>,
}

/// The result of a lookup of an issuer's keys.
#[derive(Debug)]
pub enum Lookup {
    /// The current keys.
    Keys(Arc<KeySet>),
    /// No keys yet; the first fetch has not ended.
    Soon,
    /// No usable keys; the next fetch is this far away.
    Unavailable(Seconds),
}

// The topics of calls.
const DISCOVERY: u64 = 0;
const KEYS: u64 = 1;

/// The result of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Fetched {
    /// Keys were published to all workers; with the errors of unusable keys.
    Published(Vec<KeyError>),
    /// The discovery document gave the URL of the keys: the call to make now.
    Next(Call),
    /// The fetch failed, and old keys stay; with the reason, and the errors of unusable keys.
    Failed(&'static str, Vec<KeyError>),
}

impl RemoteKeys {
    /// Checks the configuration.
    pub fn compile(config: &RemoteConfig, name: &str, issuer: &str, report: &mut Report) -> Self {
        report.not_empty("cluster", config.cluster.is_empty());
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
            if span.millis() < Millis::new(least) {
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
            timeout: config.timeout.millis(),
            refresh: config.refresh.millis(),
            cooldown: config.cooldown.millis(),
            max_stale: config.max_stale.millis(),
            prefix: format!("tollgate.jwks.{digest}"),
            own: Local::default(),
        }
    }

    // === for requests ===

    /// The keys that this worker has.
    pub fn lookup(&self, cx: &Context<'_>) -> Lookup {
        let now = cx.wall();
        let own = cx.local(&self.own);
        let known = own.known.borrow();
        let schedule = known.schedule;
        if schedule.version > 0 && now <= schedule.fetched_at.saturating_add(self.max_stale) {
            return Lookup::Keys(Arc::clone(&known.keys));
        }
        if schedule.failures == 0 {
            return Lookup::Soon;
        }
        let pause = schedule.refresh_at.saturating_sub(now).seconds_up();
        Lookup::Unavailable(pause.clamp(Seconds::new(1), MAX_RETRY_AFTER))
    }

    /// Asks for a fetch, because a token's key is not in the set. `true` if the request should wait for it.
    pub fn demand(&self, cx: &Context<'_>) -> bool {
        let now = cx.wall();
        let own = cx.local(&self.own);
        let schedule = own.known.borrow().schedule;
        let worthwhile = schedule.lease_until > now || schedule.may_demand(now, self.cooldown);
        if worthwhile && !schedule.is_demanded {
            self.set_demanded(true, cx);
        }
        worthwhile
    }

    /// A wait for the next key set.
    pub fn awaited(&self, cx: &Context<'_>) -> Wait {
        let own = cx.local(&self.own);
        let ticket = match own.awaited.get() {
            Some((ticket, version)) if version == own.version() => ticket,
            _ => cx.wakes().ticket(),
        };
        own.awaited.set(Some((ticket, own.version())));
        Wait {
            kind: WaitKind::Authentication,
            tickets: vec![ticket],
            until: None,
        }
    }

    // === for the worker's timer ===

    /// Copies what other workers have published.
    fn take_over(&self, cx: &Context<'_>) {
        let (own, store) = (cx.local(&self.own), cx.store());
        let Some(schedule) = self.read_schedule(store) else {
            return;
        };
        if schedule.version != own.version() {
            // The body is written before the version that announces it.
            let body = store.read(&self.body_key()).map(|(body, _)| body).unwrap_or_default();
            let document = json::parse(json::without_byte_order_mark(&body)).ok();
            let Some((set, _)) = document.and_then(|document| keys(&document).ok()) else {
                return;
            };
            *own.known.borrow_mut() = Known {
                schedule,
                keys: Arc::new(set),
            };
        }
        own.learn(schedule, cx);
    }

    /// Begins a fetch if one is due. Only one worker at a time gets a call to make.
    fn begin(&self, cx: &Context<'_>) -> Option<Call> {
        let (own, now) = (cx.local(&self.own), cx.wall());
        let steps = if self.discovery { 2 } else { 1 };
        let lease = self.timeout.saturating_mul(steps).saturating_add(LEASE_SLACK);
        let begun = self.update(cx.store(), |schedule| schedule.begin(now, lease, self.cooldown));
        let Some(schedule) = begun else {
            // If the bucket grants no fetch now, the demand is dropped: the next token asks again.
            let schedule = own.known.borrow().schedule;
            if schedule.is_demanded && schedule.lease_until <= now && !schedule.may_demand(now, self.cooldown) {
                self.set_demanded(false, cx);
            }
            return None;
        };
        own.learn(schedule, cx);
        let topic = if self.discovery { DISCOVERY } else { KEYS };
        Some(self.fetch(&self.authority, &self.path, topic))
    }

    /// Handles an answer: publishes its keys to all workers, or records the failure.
    fn end(&self, topic: u64, answer: &Answer, cx: &Context<'_>) -> Fetched {
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
                self.fail(cx);
                return Ok(Fetched::Failed("no_usable_key", unused));
            }
            let interval = interval(&answer.headers, self.cooldown, self.refresh);
            self.publish(interval, &answer.body, cx)?;
            Ok(Fetched::Published(unused))
        });
        result.unwrap_or_else(|reason| {
            self.fail(cx);
            Fetched::Failed(reason, Vec::new())
        })
    }

    fn set_demanded(&self, is_demanded: bool, cx: &Context<'_>) {
        // Where there is a newer set already, it comes with the next look at it.
        let version = cx.local(&self.own).version();
        let changed = self.update(cx.store(), |schedule| {
            let is_news = schedule.version == version && schedule.is_demanded != is_demanded;
            is_news.then_some(Schedule {
                is_demanded,
                ..schedule
            })
        });
        if let Some(schedule) = changed {
            cx.local(&self.own).learn(schedule, cx);
        }
    }

    fn fail(&self, cx: &Context<'_>) {
        let now = cx.wall();
        if let Some(schedule) = self.update(cx.store(), |schedule| Some(schedule.fail(now))) {
            cx.local(&self.own).learn(schedule, cx);
        }
    }

    fn publish(&self, interval: Millis, body: &[u8], cx: &Context<'_>) -> Result<(), &'static str> {
        let (store, now) = (cx.store(), cx.wall());
        // Only the holder of the lease writes this key: no compare-and-swap is needed.
        if !store.write(&self.body_key(), body, 0) {
            return Err("store");
        }
        self.update(store, |schedule| Some(schedule.succeed(now, interval)))
            .ok_or("store")?;
        self.take_over(cx);
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
            timeout: self.timeout.duration(),
            max_body: MAX_BODY,
            topic,
            ticket: None,
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

impl Own {
    /// The version of the key set that this worker has.
    fn version(&self) -> u64 {
        self.known.borrow().schedule.version
    }

    /// Copies the shared schedule, but for that of a newer set, which is taken over with its keys. Wakes waiting requests if there is a new set, or if the first fetch has failed.
    fn learn(&self, schedule: Schedule, cx: &Context<'_>) {
        if schedule.version != self.version() {
            return;
        }
        self.known.borrow_mut().schedule = schedule;
        if let Some((ticket, version)) = self.awaited.get()
            && (schedule.version != version || (version == 0 && schedule.failures > 0))
        {
            self.awaited.set(None);
            cx.wakes().wake(ticket);
        }
    }
}

impl Caller for RemoteKeys {
    fn prepare(&self, cx: &Context<'_>) {
        let store = cx.store();
        if store.read(&self.prefix).is_none() {
            store.write(&self.prefix, &Schedule::default().encode(), 0);
        }
        self.take_over(cx);
    }

    fn synchronize(&self, cx: &Context<'_>) {
        self.take_over(cx);
    }

    fn next_call(&self, cx: &Context<'_>) -> Option<Call> {
        self.begin(cx)
    }

    fn answer(&self, call: &Call, answer: Result<Answer, Lost>, cx: &Context<'_>) -> Outcome {
        let fetched = match answer {
            Ok(answer) => self.end(call.topic, &answer, cx),
            Err(_) => {
                self.fail(cx);
                Fetched::Failed("cluster", Vec::new())
            }
        };
        let name = &self.name;
        let count = |outcome, reason| {
            Note::Count(format!("tollgate_jwks_fetch_total;issuer={name};outcome={outcome};reason={reason};").into())
        };
        let not_used = |unused: Vec<KeyError>| {
            unused.into_iter().map(move |error| {
                let message = format!("issuer {name}: a published key is not used: {error}");
                Note::Log(log::Level::Warn, message)
            })
        };
        let mut outcome = Outcome::default();
        match fetched {
            Fetched::Published(unused) => {
                let fetched = format!("issuer {name}: keys fetched");
                outcome.notes = vec![count("ok", "ok"), Note::Log(log::Level::Info, fetched)];
                outcome.notes.extend(not_used(unused));
            }
            Fetched::Next(call) => outcome.next = Some(call),
            Fetched::Failed(reason, unused) => {
                let message = format!(
                    "issuer {name}: keys could not be fetched ({reason}): keys fetched before are used until they are older than max_stale"
                );
                outcome.notes = vec![count("failed", reason), Note::Log(log::Level::Warn, message)];
                outcome.notes.extend(not_used(unused));
            }
        }
        outcome
    }

    fn is_awaited(&self, cx: &Context<'_>) -> bool {
        let own = cx.local(&self.own);
        let schedule = own.known.borrow().schedule;
        schedule.is_demanded || schedule.lease_until > cx.wall() || (schedule.version == 0 && schedule.failures == 0)
    }

    fn is_background(&self) -> bool {
        true
    }
}

/// How long a lease lasts beyond the timeout of the fetch.
const LEASE_SLACK: Millis = Millis::new(1000);

/// Maximum `Retry-After`.
const MAX_RETRY_AFTER: Seconds = Seconds::new(60);

#[cfg(test)]
mod tests;
