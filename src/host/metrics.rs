//! Counters by name, defined when they are first needed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::abi;

thread_local! {
    /// A VM has one thread. The names come from the configuration and closed sets of reasons, so they are few.
    static COUNTERS: RefCell<HashMap<Rc<str>, u32>> = RefCell::default();
}

/// Adds one to a counter. A counter that cannot be had is no reason to fail a request.
pub(super) fn count(name: Rc<str>) {
    COUNTERS.with_borrow_mut(|counters| {
        let id = match counters.get(&name) {
            Some(&id) => id,
            None => {
                let Ok(id) = abi::counter(&name) else { return };
                counters.insert(name, id);
                id
            }
        };
        let _ = abi::increment(id);
    });
}
