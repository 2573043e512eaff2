//! Lookups by the key service: one call for all requests with the same key, cached for all workers.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::changes;
use super::config::LookupConfig;
use super::service::{Known, Service, Unsettled};
use super::throttle::Throttle;
use crate::auth::api_key::secrets::Digest;
use crate::auth::api_key::wire::{LookupAnswer, LookupRequest};
use crate::auth::api_key::{KeyHash, KeyRecord, Presented};
use crate::clock::{Millis, Seconds};
use crate::message::request::Request;
use crate::seam::store::Store;
use crate::seam::{Answer, Call, Caller, Context, Local, Lost, Note, Outcome, Ticket, Wait, WaitKind, document};
use crate::shared::calls::Calls;
use crate::shared::table::Entry;

/// The caller that looks up keys. Times are of the wall clock.
#[derive(Debug)]
pub(super) struct Lookups {
    service: Arc<Service>,
    path: String,
    cache: Millis,
    negative_cache: Millis,
    max_stale: Millis,
    /// What requests have asked, of all workers that share this memory, and nobody has sent yet.
    asked: Mutex<VecDeque<Question>>,
    own: Local<Own>,
}

#[derive(Debug, Default)]
struct Own {
    calls: Calls<Question>,
    /// The tickets of waiting requests, by the newest hash of a key that any worker is looking up.
    awaited: RefCell<BTreeMap<Digest, Ticket>>,
}

/// A lookup of one key: its hashes with all secrets, and the tracing headers of the first request.
#[derive(Debug)]
struct Question {
    hashes: Vec<KeyHash>,
    trace: Vec<(&'static str, String)>,
    tries: Cell<u32>,
}

/// The result of [`Lookups::find`].
#[derive(Debug)]
pub(super) enum Found {
    /// The key's record, and `hit` or `stale` for a metric.
    Known(Box<KeyRecord>, &'static str),
    /// The service does not know the key.
    Unknown,
    /// The key is being looked up.
    Soon(Wait),
    /// The key service is unavailable; retry after this time.
    Unavailable(Seconds),
    /// Too many different keys with this id were looked up; retry after this time.
    TooMany(Seconds),
}

impl Question {
    fn new(hashes: &[KeyHash], request: &Request) -> Self {
        Self {
            hashes: hashes.to_vec(),
            trace: request.trace(),
            tries: Cell::new(0),
        }
    }
}

impl Lookups {
    pub(super) fn new(config: &LookupConfig, service: &Arc<Service>) -> Self {
        Self {
            service: Arc::clone(service),
            path: config.path.clone(),
            cache: config.cache.millis(),
            negative_cache: config.negative_cache.millis(),
            max_stale: config.max_stale.millis(),
            asked: Mutex::default(),
            own: Local::default(),
        }
    }

    /// Finds a key by its hashes, the newest secret's first; looks it up if it is not cached.
    pub(super) fn find(
        &self,
        presented: Presented<'_>,
        hashes: &[KeyHash],
        throttle: &Throttle,
        request: &Request,
        cx: &Context<'_>,
    ) -> Found {
        let (now, store) = (cx.wall(), cx.store());
        let remembered = || hashes.iter().find_map(|hash| self.remembered(hash, now, store));
        let stale = match remembered() {
            Some((record, true)) => return Found::Known(record, "hit"),
            Some((record, false)) => Some(record),
            None => None,
        };
        let Some(name) = hashes.first().map(|hash| hash.digest) else {
            return Found::Unknown;
        };
        let may_be_old = |stale: Option<Box<KeyRecord>>, pause| match stale {
            Some(record) => Found::Known(record, "stale"),
            None => Found::Unavailable(pause),
        };
        let unsettled = |hash: &KeyHash| self.unsettled(&hash.digest, now, store);
        match hashes.first().and_then(unsettled) {
            Some(Unsettled::Pending) if request.may_wait => return self.soon(name, cx),
            Some(Unsettled::Pending) => return may_be_old(stale, SHORT_PAUSE),
            Some(Unsettled::Unknown(_)) if hashes.iter().skip(1).all(|hash| unsettled(hash).is_some()) => {
                return Found::Unknown;
            }
            _ => {}
        }
        if let Some(pause) = self.service.breaker.open_for(now, store) {
            return may_be_old(stale, pause);
        }
        if !request.may_wait {
            return may_be_old(stale, SHORT_PAUSE);
        }
        // A cached key is looked up in any case, so that an attacker who knows its id cannot lock out its owner.
        if stale.is_none()
            && let Some(id) = presented.id
            && let Err(pause) = throttle.lookup(id, now, store)
        {
            return Found::TooMany(pause);
        }
        if self.take(&name, now, store) {
            let question = Question::new(hashes, request);
            if let Some((record, true)) = remembered() {
                // Another worker's lookup ended in between.
                self.settle(&question, None, cx);
                return Found::Known(record, "hit");
            }
            if !self.ask(question) {
                self.service.unsettled.remove(&name, now, store);
                return may_be_old(stale, SHORT_PAUSE);
            }
        }
        self.soon(name, cx)
    }

    /// `false` if too much is asked already.
    fn ask(&self, question: Question) -> bool {
        let mut asked = self.asked();
        let has_room = asked.len() < MOST_ASKED;
        if has_room {
            asked.push_back(question);
        }
        has_room
    }

    fn asked(&self) -> MutexGuard<'_, VecDeque<Question>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cached key, and whether it is still fresh.
    fn remembered(&self, hash: &KeyHash, now: Millis, store: &dyn Store) -> Option<(Box<KeyRecord>, bool)> {
        let entry = self.service.known.find(&hash.digest, now, store)?;
        let Known { fetched_at, record, .. } = Known::decode(&entry.value)?;
        let record: Box<KeyRecord> = serde_json::from_slice(record).ok()?;
        // An entry from the future is ignored, as the clock was set back; another worker's may be a little ahead.
        let trusted = record.hash == *hash && fetched_at <= now.saturating_add(SKEW);
        trusted.then(|| (record, now < fetched_at.saturating_add(self.cache)))
    }

    fn unsettled(&self, name: &Digest, now: Millis, store: &dyn Store) -> Option<Unsettled> {
        let entry = self.service.unsettled.find(name, now, store)?;
        Unsettled::decode(&entry.value)
    }

    /// Marks a key as being looked up; `false` if it already is.
    fn take(&self, name: &Digest, now: Millis, store: &dyn Store) -> bool {
        let until = now.saturating_add(self.service.timeout).saturating_add(LEASE_SLACK);
        let taken = self.service.unsettled.change(name, now, store, |found| match found {
            Some(entry) if Unsettled::decode(&entry.value) == Some(Unsettled::Pending) => Err(false),
            _ => Ok((
                Some(Entry {
                    until,
                    value: Unsettled::Pending.encode(),
                }),
                true,
            )),
        });
        taken == Some(true)
    }

    fn soon(&self, name: Digest, cx: &Context<'_>) -> Found {
        let own = cx.local(&self.own);
        let ticket = *own
            .awaited
            .borrow_mut()
            .entry(name)
            .or_insert_with(|| cx.wakes().ticket());
        Found::Soon(Wait {
            kind: WaitKind::Authentication,
            tickets: vec![ticket],
            until: None,
        })
    }

    fn call(&self, topic: u64, question: &Question) -> Option<Call> {
        let body = serde_json::to_vec(&LookupRequest {
            hashes: question.hashes.clone(),
        });
        let path = self.path.clone();
        let call = self
            .service
            .call("POST", path, &question.trace, body.ok()?, Millis::ZERO);
        Some(Call { topic, ..call })
    }

    /// Caches a successful answer; `false` if a change has overtaken it. Changes are applied by first writing their
    /// version and then removing older entries, so that at least one of the two sees the other.
    fn remember(&self, question: &Question, answer: &LookupAnswer, record: &[u8], cx: &Context<'_>) -> bool {
        let (now, store) = (cx.wall(), cx.store());
        let known = &self.service.known;
        match &answer.key {
            Some(key) => {
                let until = now.saturating_add(self.max_stale);
                let known_key = Known {
                    fetched_at: now,
                    version: answer.version,
                    record,
                };
                let value = known_key.encode();
                known.put(&key.hash.digest, &Entry { until, value }, now, store);
            }
            None => self.remember_unknown(question, answer.version, cx),
        }
        let is_true = changes::version(&self.service, store).is_none_or(|version| version <= answer.version);
        if !is_true {
            for hash in &question.hashes {
                known.remove(&hash.digest, now, store);
            }
        }
        is_true
    }

    /// Caches a key as unknown under all hashes but the newest, which [`settle`](Self::settle) stores.
    fn remember_unknown(&self, question: &Question, version: u64, cx: &Context<'_>) {
        let now = cx.wall();
        for hash in question.hashes.iter().skip(1) {
            self.service
                .unsettled
                .put(&hash.digest, &self.unknown(version, now), now, cx.store());
        }
    }

    fn unknown(&self, version: u64, now: Millis) -> Entry {
        Entry {
            until: now.saturating_add(self.negative_cache),
            value: Unsettled::Unknown(version).encode(),
        }
    }

    /// Ends a lookup: stores the entry, and wakes the waiting requests.
    fn settle(&self, question: &Question, entry: Option<Entry>, cx: &Context<'_>) {
        let (now, store) = (cx.wall(), cx.store());
        let Some(name) = question.hashes.first().map(|hash| &hash.digest) else {
            return;
        };
        match entry {
            Some(entry) => self.service.unsettled.put(name, &entry, now, store),
            None => self.service.unsettled.remove(name, now, store),
        }
        let awaited = cx.local(&self.own).awaited.borrow_mut().remove(name);
        awaited.into_iter().for_each(|ticket| cx.wakes().wake(ticket));
    }

    /// Whether a key is being looked up. Not for ever: the worker that does it may have died.
    fn is_pending(&self, name: &Digest, cx: &Context<'_>) -> bool {
        self.unsettled(name, cx.wall(), cx.store()) == Some(Unsettled::Pending)
    }
}

/// Parses the answer to a lookup; returns it with the record to cache.
fn read(
    question: &Question,
    answer: Result<&Answer, Lost>,
    max_body: usize,
) -> Result<(LookupAnswer, Vec<u8>), &'static str> {
    let document = document(answer.map_err(|_| "cluster")?, max_body)?;
    let read: Result<LookupAnswer, _> = serde_json::from_value(document.clone());
    let answer = read.map_err(
        |_| match document.get("key").is_some_and(serde_json::Value::is_object) {
            true => "bad_record",
            false => "not_an_answer",
        },
    )?;
    let Some(key) = &answer.key else {
        return Ok((answer, Vec::new()));
    };
    if !question.hashes.contains(&key.hash) {
        return Err("other_key");
    }
    key.check().map_err(|_| "bad_record")?;
    let record = serde_json::to_vec(key).map_err(|_| "bad_record")?;
    Ok((answer, record))
}

impl Caller for Lookups {
    fn prepare(&self, cx: &Context<'_>) {
        self.service.known.prepare(cx.store());
        self.service.unsettled.prepare(cx.store());
    }

    /// Wakes up requests whose keys another worker has looked up meanwhile.
    fn synchronize(&self, cx: &Context<'_>) {
        let own = cx.local(&self.own);
        own.awaited.borrow_mut().retain(|name, ticket| {
            let is_pending = self.is_pending(name, cx);
            if !is_pending {
                cx.wakes().wake(*ticket);
            }
            is_pending
        });
    }

    fn next_call(&self, cx: &Context<'_>) -> Option<Call> {
        let own = cx.local(&self.own);
        if own.calls.room() > 0 {
            own.calls.ask(self.asked().pop_front()?, cx.wakes());
        }
        let (topic, entry) = own.calls.send()?;
        self.call(topic, &entry.about)
    }

    fn answer(&self, call: &Call, answer: Result<Answer, Lost>, cx: &Context<'_>) -> Outcome {
        let own = cx.local(&self.own);
        let Some(entry) = own.calls.answered(call.topic) else {
            return Outcome::default();
        };
        let (question, now, store) = (&entry.about, cx.wall(), cx.store());
        let count = |outcome, reason| {
            Note::Count(format!("tollgate_key_lookups_total;outcome={outcome};reason={reason};").into())
        };
        let mut outcome = Outcome::default();
        match read(question, answer.as_ref().map_err(|lost| *lost), call.max_body) {
            Ok((answer, record)) => {
                self.service.breaker.succeeded(store);
                if !self.remember(question, &answer, &record, cx) {
                    // A change has overtaken the answer. The lookup is repeated, at most `MAX_TRIES` times.
                    question.tries.set(question.tries.get().saturating_add(1));
                    if question.tries.get() < MAX_TRIES {
                        outcome.next = self.call(own.calls.send_again(&entry), question);
                    } else {
                        self.settle(question, None, cx);
                    }
                    outcome.notes.push(count("outdated", "changed"));
                    return outcome;
                }
                let entry = answer.key.is_none().then(|| self.unknown(answer.version, now));
                self.settle(question, entry, cx);
                outcome
                    .notes
                    .push(count(if answer.key.is_some() { "known" } else { "unknown" }, "ok"));
            }
            Err(reason) if OF_ONE_KEY.contains(&reason) => {
                // The service is available: an error in one record must not affect other keys.
                self.service.breaker.succeeded(store);
                self.remember_unknown(question, 0, cx);
                self.settle(question, Some(self.unknown(0, now)), cx);
                let message =
                    format!("key service: the record of an API key cannot be used ({reason}): that key is refused");
                outcome.notes = vec![count("failed", reason), Note::Log(log::Level::Warn, message)];
            }
            Err(reason) => {
                self.service.breaker.failed(now, store);
                self.settle(question, None, cx);
                let message = format!(
                    "key service: a lookup failed ({reason}): cached keys are used for up to {} s, other keys are refused (503)",
                    self.max_stale.seconds().get()
                );
                outcome.notes = vec![count("failed", reason), Note::Log(log::Level::Warn, message)];
            }
        }
        outcome
    }

    fn is_awaited(&self, cx: &Context<'_>) -> bool {
        !self.asked().is_empty() || !cx.local(&self.own).calls.is_empty()
    }

    fn is_background(&self) -> bool {
        true
    }
}

/// Maximum number of questions that are not sent yet.
const MOST_ASKED: usize = 1024;

/// Reasons that concern one key's record, not the service.
const OF_ONE_KEY: [&str; 3] = ["bad_record", "other_key", "too_large"];

/// How far one worker's clock may be ahead of another's: each reads it once per callback.
const SKEW: Millis = Millis::new(1000);

/// How long a lookup counts as pending beyond its timeout.
const LEASE_SLACK: Millis = Millis::new(500);

/// When to try again what is only busy.
const SHORT_PAUSE: Seconds = Seconds::new(1);

const MAX_TRIES: u32 = 3;
