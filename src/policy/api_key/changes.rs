//! Changes at the key service: one worker waits for them, and drops cached keys for all.

use std::cell::Cell;
use std::sync::Arc;

use super::config::LookupConfig;
use super::service::{Known, Service, Unsettled};
use crate::auth::api_key::wire;
use crate::clock::Millis;
use crate::seam::store::{self, Store, update};
use crate::seam::{Answer, Call, Caller, Context, Local, Lost, Note, Outcome, document};

/// The caller that asks for changes. Times are of the wall clock.
#[derive(Debug)]
pub(super) struct Changes {
    service: Arc<Service>,
    path: String,
    /// The term of this worker's last lease.
    term: Local<Cell<u64>>,
}

/// The state that all workers share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Feed {
    /// The version up to which changes are applied, plus one; 0 before the first answer.
    next_version: u64,
    /// Until when a worker holds the lease to wait for changes.
    lease_until: Millis,
    /// The number of leases so far, by which a worker recognizes its own.
    term: u64,
    /// The earliest time of the next request.
    paused_until: Millis,
    failures: u64,
}

impl Feed {
    fn read(service: &Service, store: &dyn Store) -> Self {
        let found = store.read(&key(service));
        found.map_or_else(Self::default, |(bytes, _)| Self::decode(Some(&bytes)))
    }

    fn decode(bytes: Option<&[u8]>) -> Self {
        let [next_version, lease_until, term, paused_until, failures] =
            bytes.and_then(store::numbers).unwrap_or_default();
        Self {
            next_version,
            lease_until: Millis::new(lease_until),
            term,
            paused_until: Millis::new(paused_until),
            failures,
        }
    }

    fn encode(self) -> Vec<u8> {
        let Self {
            next_version,
            lease_until,
            term,
            paused_until,
            failures,
        } = self;
        store::encode(&[next_version, lease_until.get(), term, paused_until.get(), failures])
    }
}

/// The version up to which changes are applied; `None` before the first.
pub(super) fn version(service: &Service, store: &dyn Store) -> Option<u64> {
    Feed::read(service, store).next_version.checked_sub(1)
}

fn key(service: &Service) -> String {
    format!("{}.changes", service.prefix)
}

impl Changes {
    pub(super) fn new(config: &LookupConfig, service: &Arc<Service>) -> Self {
        Self {
            service: Arc::clone(service),
            path: config.changes.clone(),
            term: Local::default(),
        }
    }

    fn update(&self, store: &dyn Store, change: impl Fn(Feed) -> Option<Feed>) -> Option<Feed> {
        update(store, &key(&self.service), |bytes| {
            change(Feed::decode(bytes)).map(|feed| (feed.encode(), feed))
        })
    }

    /// The duration of a lease; no answer takes longer.
    fn lease(&self) -> Millis {
        [self.service.timeout, SLACK, SLACK]
            .into_iter()
            .fold(WAIT, Millis::saturating_add)
    }

    /// Takes the lease if `may` allows it.
    fn begin(&self, cx: &Context<'_>, may: impl Fn(&Feed) -> bool) -> Option<Call> {
        let now = cx.wall();
        let feed = self.update(cx.store(), |feed| {
            may(&feed).then(|| Feed {
                lease_until: now.saturating_add(self.lease()),
                term: feed.term.saturating_add(1),
                ..feed
            })
        })?;
        cx.local(&self.term).set(feed.term);
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let mut path = format!("{}{mark}wait={}", self.path, WAIT.seconds().get());
        if let Some(version) = feed.next_version.checked_sub(1) {
            path.push_str(&format!("&after={version}"));
        }
        Some(
            self.service
                .call("GET", path, &[], Vec::new(), WAIT.saturating_add(SLACK)),
        )
    }

    /// Drops changed keys for all workers, except those that were read after the change. The version is written first:
    /// see `Lookups::remember`.
    fn apply(&self, changes: &wire::Changes, cx: &Context<'_>) {
        let (now, store) = (cx.wall(), cx.store());
        let own = cx.local(&self.term).get();
        self.update(store, |feed| {
            (feed.term == own).then(|| Feed {
                next_version: changes.version.saturating_add(1),
                paused_until: Millis::ZERO,
                failures: 0,
                ..feed
            })
        });
        let Service { known, unsettled, .. } = &*self.service;
        if changes.all {
            known.clear(|_| true, store);
            unsettled.clear(
                |entry| Unsettled::decode(&entry.value) != Some(Unsettled::Pending),
                store,
            );
        }
        for hash in &changes.hashes {
            known.remove_if(&hash.digest, now, store, |entry| {
                Known::decode(&entry.value).is_none_or(|known| known.version < changes.version)
            });
            unsettled.remove_if(&hash.digest, now, store, |entry| {
                match Unsettled::decode(&entry.value) {
                    Some(Unsettled::Unknown(version)) => version < changes.version,
                    Some(Unsettled::Pending) | None => false,
                }
            });
        }
    }

    fn fail(&self, cx: &Context<'_>) {
        let now = cx.wall();
        let own = cx.local(&self.term).get();
        self.update(cx.store(), |feed| {
            let pause = FIRST_PAUSE.saturating_mul(1 << feed.failures.min(MAX_DOUBLINGS));
            (feed.term == own).then(|| Feed {
                lease_until: Millis::ZERO,
                paused_until: now.saturating_add(pause),
                failures: feed.failures.saturating_add(1),
                ..feed
            })
        });
    }
}

impl Caller for Changes {
    /// Ends the lease: after a new configuration, its holder may be gone.
    fn prepare(&self, cx: &Context<'_>) {
        let store = cx.store();
        let feed = Feed::read(&self.service, store);
        let feed = Feed {
            lease_until: Millis::ZERO,
            term: feed.term.saturating_add(1),
            ..feed
        };
        store.write(&key(&self.service), &feed.encode(), 0);
    }

    fn next_call(&self, cx: &Context<'_>) -> Option<Call> {
        let now = cx.wall();
        let is_free = |feed: &Feed| {
            // A time further ahead than possible is ignored: the clock was set back since.
            let over = |until: Millis, longest: Millis| {
                until <= now || until.saturating_sub(now) > longest.saturating_add(SLACK)
            };
            over(feed.lease_until, self.lease()) && over(feed.paused_until, LONGEST_PAUSE)
        };
        self.begin(cx, is_free)
    }

    fn answer(&self, call: &Call, answer: Result<Answer, Lost>, cx: &Context<'_>) -> Outcome {
        let read = answer
            .map_err(|_| "cluster")
            .and_then(|answer| document(&answer, call.max_body))
            .and_then(|document| serde_json::from_value::<wire::Changes>(document).map_err(|_| "not_an_answer"));
        let own = cx.local(&self.term).get();
        let count = |outcome, reason| {
            Note::Count(format!("tollgate_key_changes_total;outcome={outcome};reason={reason};").into())
        };
        match read {
            Ok(changes) => {
                self.apply(&changes, cx);
                let mut notes = Vec::new();
                if changes.all || !changes.hashes.is_empty() {
                    notes.push(count("ok", if changes.all { "all" } else { "some" }));
                }
                let next = self.begin(cx, |feed| feed.term == own);
                Outcome { notes, next }
            }
            Err(reason) => {
                self.fail(cx);
                let message = format!(
                    "key service: changes cannot be read ({reason}): a revoked key is accepted until its cache entry expires"
                );
                let notes = vec![count("failed", reason), Note::Log(log::Level::Warn, message)];
                Outcome { notes, next: None }
            }
        }
    }

    fn is_awaited(&self, _: &Context<'_>) -> bool {
        false
    }

    fn is_background(&self) -> bool {
        true
    }
}

/// How long the service may hold a request for changes.
const WAIT: Millis = Millis::new(10_000);

/// The time for an answer to arrive, and again to be handled.
const SLACK: Millis = Millis::new(1000);

/// The pause after the first failure; it doubles up to four times as long.
const FIRST_PAUSE: Millis = Millis::new(250);
const MAX_DOUBLINGS: u64 = 2;
const LONGEST_PAUSE: Millis = FIRST_PAUSE.saturating_mul(1 << MAX_DOUBLINGS);
