//! What has changed at the key service: one worker waits for it, and makes all forget.

use std::cell::Cell;
use std::sync::Arc;

use super::config::LookupConfig;
use super::service::{Known, Service, Unsettled};
use crate::auth::api_key::wire;
use crate::seam::store::{self, Store, update};
use crate::seam::{Answer, Call, Caller, Context, Local, Note, Outcome, document};

/// The question for changes, which the service holds until there are some. Times are milliseconds since the epoch.
#[derive(Debug)]
pub(super) struct Changes {
    service: Arc<Service>,
    path: String,
    /// The term of the lease that this worker has taken last.
    term: Local<Cell<u64>>,
}

/// What all workers know of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Feed {
    /// One more than the version up to which changes are applied; 0 before the first answer.
    next_version: u64,
    /// Until when somebody waits for changes.
    lease_until: u64,
    /// Counts the leases, so that a worker knows its own.
    term: u64,
    /// Not to be asked before.
    paused_until: u64,
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
            lease_until,
            term,
            paused_until,
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
        store::encode(&[next_version, lease_until, term, paused_until, failures])
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

    /// Milliseconds in which an answer comes, or none will.
    fn lease(&self) -> u64 {
        [self.service.timeout, SLACK, SLACK]
            .into_iter()
            .fold(WAIT, u64::saturating_add)
    }

    /// Takes the lease, if `may` says so.
    fn begin(&self, cx: &Context<'_>, may: impl Fn(&Feed) -> bool) -> Option<Call> {
        let now = cx.now_millis();
        let feed = self.update(cx.store(), |feed| {
            may(&feed).then(|| Feed {
                lease_until: now.saturating_add(self.lease()),
                term: feed.term.saturating_add(1),
                ..feed
            })
        })?;
        cx.local(&self.term).set(feed.term);
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let mut path = format!("{}{mark}wait={}", self.path, WAIT / 1000);
        if let Some(version) = feed.next_version.checked_sub(1) {
            path.push_str(&format!("&after={version}"));
        }
        Some(
            self.service
                .call("GET", path, &[], Vec::new(), WAIT.saturating_add(SLACK)),
        )
    }

    /// Makes every worker forget what has changed, but not what was read after the change. The version comes first: see `Lookups::remember`.
    fn apply(&self, changes: &wire::Changes, cx: &Context<'_>) {
        let (now, store) = (cx.now_millis(), cx.store());
        let own = cx.local(&self.term).get();
        self.update(store, |feed| {
            (feed.term == own).then(|| Feed {
                next_version: changes.version.saturating_add(1),
                paused_until: 0,
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
        let now = cx.now_millis();
        let own = cx.local(&self.term).get();
        self.update(cx.store(), |feed| {
            let pause = FIRST_PAUSE.saturating_mul(1 << feed.failures.min(MAX_DOUBLINGS));
            (feed.term == own).then(|| Feed {
                lease_until: 0,
                paused_until: now.saturating_add(pause),
                failures: feed.failures.saturating_add(1),
                ..feed
            })
        });
    }
}

impl Caller for Changes {
    /// A new configuration asks anew: whoever held the lease may be gone.
    fn prepare(&self, cx: &Context<'_>) {
        let store = cx.store();
        let feed = Feed::read(&self.service, store);
        let feed = Feed {
            lease_until: 0,
            term: feed.term.saturating_add(1),
            ..feed
        };
        store.write(&key(&self.service), &feed.encode(), 0);
    }

    fn next_call(&self, cx: &Context<'_>) -> Option<Call> {
        let now = cx.now_millis();
        let is_free = |feed: &Feed| {
            // What lasts longer than any was made by a clock that was set back since.
            let over =
                |until: u64, longest: u64| until <= now || until.saturating_sub(now) > longest.saturating_add(SLACK);
            over(feed.lease_until, self.lease()) && over(feed.paused_until, LONGEST_PAUSE)
        };
        self.begin(cx, is_free)
    }

    fn answer(&self, call: &Call, answer: Option<&Answer>, cx: &Context<'_>) -> Outcome {
        let read = answer
            .ok_or("cluster")
            .and_then(|answer| document(answer, call.max_body))
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
                    "key service: changes cannot be read ({reason}); a revoked key is accepted until its cache time is over"
                );
                let notes = vec![count("failed", reason), Note::Log(log::Level::Warn, message)];
                Outcome { notes, next: None }
            }
        }
    }

    fn is_awaited(&self, _: &Context<'_>) -> bool {
        false
    }
}

/// Milliseconds for which the service holds the question.
const WAIT: u64 = 10_000;

/// Milliseconds for the answer to arrive, and again to be read.
const SLACK: u64 = 1000;

/// Milliseconds after the first failure; doubled up to four times as long.
const FIRST_PAUSE: u64 = 250;
const MAX_DOUBLINGS: u64 = 2;
const LONGEST_PAUSE: u64 = FIRST_PAUSE << MAX_DOUBLINGS;
