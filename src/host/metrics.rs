//! Counters and histograms by name. Counters are summed up here and passed to the host at every tick: one host call per second instead of
//! one per request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::abi;

thread_local! {
    /// The VM has one thread. The names come from the configuration and closed sets of reasons, so they are few.
    static COUNTERS: RefCell<HashMap<Arc<str>, Counter>> = RefCell::default();

    /// The host's ids of histograms.
    static HISTOGRAMS: RefCell<HashMap<Arc<str>, u32>> = RefCell::default();
}

#[derive(Default)]
struct Counter {
    id: Option<u32>,
    /// The sum that is not yet passed to the host.
    pending: i64,
}

pub(super) fn count(name: Arc<str>) {
    COUNTERS.with_borrow_mut(|counters| {
        let counter = counters.entry(name).or_default();
        counter.pending = counter.pending.saturating_add(1);
    });
}

/// Adds a value to a histogram. A failure loses the value.
pub(super) fn observe(name: Arc<str>, value: u64) {
    HISTOGRAMS.with_borrow_mut(|histograms| {
        let known = histograms.get(&name).copied();
        let Some(id) = known.or_else(|| abi::histogram(&name).ok()) else {
            return;
        };
        if known.is_none() {
            histograms.insert(name, id);
        }
        let _ = abi::record(id, value);
    });
}

/// Passes all sums to the host. After a failure, the next call tries again.
pub(super) fn flush() {
    COUNTERS.with_borrow_mut(|counters| {
        for (name, counter) in counters.iter_mut().filter(|(_, counter)| counter.pending > 0) {
            if counter.id.is_none() {
                counter.id = abi::counter(name).ok();
            }
            if counter.id.is_some_and(|id| abi::increment(id, counter.pending).is_ok()) {
                counter.pending = 0;
            }
        }
    });
}
