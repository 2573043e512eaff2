//! Counters by name. They are added up here and handed to the host with every tick: a host call a second instead of one
//! a request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::abi;

thread_local! {
    /// A VM has one thread. The names come from the configuration and closed sets of reasons, so they are few.
    static COUNTERS: RefCell<HashMap<Arc<str>, Counter>> = RefCell::default();
}

#[derive(Default)]
struct Counter {
    id: Option<u32>,
    /// Not yet handed over.
    pending: i64,
}

/// Adds one to a counter.
pub(super) fn count(name: Arc<str>) {
    COUNTERS.with_borrow_mut(|counters| {
        let counter = counters.entry(name).or_default();
        counter.pending = counter.pending.saturating_add(1);
    });
}

/// Hands everything over. A counter that cannot be had is no reason to fail anything: it is tried again.
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
