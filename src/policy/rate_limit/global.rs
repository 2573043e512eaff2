//! Limits counted by a Rate Limit Service, which many gateways share.

use std::sync::Arc;

use super::config::OnFault;
use super::protocol::Told;
use super::service::RateLimitService;
use crate::clock::Millis;
use crate::limit::{Rate, Verdict};
use crate::seam::store::{self, Store};
use crate::shared::table::{Entry, Name, Table};

/// A limit's part for `backend: rls`.
#[derive(Debug)]
pub(super) struct Global {
    pub(super) service: Arc<RateLimitService>,
    /// What to do with a request without an answer from the service.
    pub(super) on_fault: OnFault,
    /// The name of the counter of such requests, built once.
    pub(super) faults: Arc<str>,
    /// Keys that the service has refused: they cost no call until the reset that it announced.
    pub(super) exhausted: Table,
}

impl Global {
    /// A refusal of a request of this cost that is known without a call. `now` is of the monotonic clock.
    pub(super) fn refusal(&self, name: &Name, cost: u64, now: Millis, store: &dyn Store) -> Option<Told> {
        let entry = self.exhausted.find(name, now, store)?;
        let [refused, limit, window] = store::numbers(&entry.value)?;
        if cost < refused {
            return None;
        }
        let left = entry.until.saturating_sub(now);
        let window = Millis::new(window);
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
            rate: (window > Millis::ZERO).then_some(rate),
        })
    }

    /// Stores that the service has refused a request of this cost.
    pub(super) fn remember(&self, name: &Name, cost: u64, told: &Told, now: Millis, store: &dyn Store) {
        let wait = told.verdict.retry_after.min(LONGEST_REFUSAL);
        let [limit, window] = told.rate.map_or([0, 0], |rate| [rate.limit, rate.window.get()]);
        let entry = Entry {
            until: now.saturating_add(wait),
            value: store::encode(&[cost, limit, window]),
        };
        self.exhausted.put(name, &entry, now, store);
    }
}

/// Size of a stored refusal, in bytes.
pub(super) const REFUSAL_SIZE: usize = 24;

/// Maximum time for which a refusal is stored: the server's limits may change.
const LONGEST_REFUSAL: Millis = Millis::new(3_600_000);
