//! Counters by name. They are summed up here and passed to the host at every tick: one host call per second instead of
//! one per request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::abi;

thread_local! {
    /// The VM has one thread. The names come from the configuration and closed sets of reasons, so they are few.
    static COUNTERS: RefCell<HashMap<Arc<str>, Counter>> = RefCell::default();
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
