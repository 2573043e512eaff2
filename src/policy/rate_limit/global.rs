//! Limits that a Rate Limit Service counts, so that many gateways share them.

use std::sync::Arc;

use super::config::OnFault;
use super::protocol::Told;
use super::service::RateLimitService;
use crate::limit::{Rate, Verdict};
use crate::seam::store::{self, Store};
use crate::shared::table::{Entry, Name, Table};

/// How a limit is counted elsewhere.
#[derive(Debug)]
pub(super) struct Global {
    pub(super) service: Arc<RateLimitService>,
    /// What a request gets that the service says nothing about.
    pub(super) on_fault: OnFault,
    /// The counter of such requests, made once.
    pub(super) faults: Arc<str>,
    /// Keys that the service has refused, so that they cost no call until it said that something is left again.
    pub(super) exhausted: Table,
}

impl Global {
    /// What is known without a call: that a request of this cost is refused. `now` is of the monotonic clock.
    pub(super) fn refusal(&self, name: &Name, cost: u64, now: u64, store: &dyn Store) -> Option<Told> {
        let entry = self.exhausted.find(name, now, store)?;
        let [refused, limit, window] = store::numbers(&entry.value)?;
        if cost < refused {
            return None;
        }
        let left = entry.until.saturating_sub(now);
        let rate = Rate {
            limit,
            window,
            burst: limit,
        };
        Some(Told {
            verdict: Verdict {
                allowed: false,
                remaining: 0,
                reset: left,
                retry_after: left,
            },
            rate: (window > 0).then_some(rate),
        })
    }

    /// The service has refused a request of this cost.
    pub(super) fn remember(&self, name: &Name, cost: u64, told: &Told, now: u64, store: &dyn Store) {
        let wait = told.verdict.retry_after.min(LONGEST_REFUSAL);
        let [limit, window] = told.rate.map_or([0, 0], |rate| [rate.limit, rate.window]);
        let entry = Entry {
            until: now.saturating_add(wait),
            value: store::encode(&[cost, limit, window]),
        };
        self.exhausted.put(name, &entry, now, store);
    }
}

/// Bytes of what is remembered of a refusal.
pub(super) const REFUSAL_SIZE: usize = 24;

/// Milliseconds for which a server is believed that a key is exhausted: it may learn better meanwhile.
const LONGEST_REFUSAL: u64 = 3_600_000;
