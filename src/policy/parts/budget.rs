//! Bounds for all aggregates of one worker together: requests, calls, and bytes of answers.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

/// What one worker holds for aggregates.
#[derive(Debug, Default)]
pub(super) struct Budget {
    requests: Cell<usize>,
    bytes: Cell<usize>,
}

/// A share of a worker's budget, given back when it is dropped.
pub(super) struct Charge {
    budget: Rc<Budget>,
    counter: fn(&Budget) -> &Cell<usize>,
    amount: usize,
}

impl Budget {
    /// Takes the place of one request; `None` if `most` are taken.
    pub(super) fn request(self: &Rc<Self>, most: usize) -> Option<Charge> {
        self.charge(|budget| &budget.requests, 1, most)
    }

    /// Takes the memory for an answer; `None` if that would be more than `most` bytes.
    pub(super) fn bytes(self: &Rc<Self>, amount: usize, most: usize) -> Option<Charge> {
        self.charge(|budget| &budget.bytes, amount, most)
    }

    fn charge(self: &Rc<Self>, counter: fn(&Self) -> &Cell<usize>, amount: usize, most: usize) -> Option<Charge> {
        let taken = counter(self).get().checked_add(amount).filter(|taken| *taken <= most)?;
        counter(self).set(taken);
        Some(Charge {
            budget: Rc::clone(self),
            counter,
            amount,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let counter = (self.counter)(&self.budget);
        counter.set(counter.get().saturating_sub(self.amount));
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Charge({})", self.amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back() {
        let budget = Rc::new(Budget::default());
        let first = budget.bytes(60, 100).unwrap();
        assert!(budget.bytes(41, 100).is_none());
        let second = budget.bytes(40, 100).unwrap();
        drop(first);
        assert_eq!(budget.bytes.get(), 40);
        assert!(budget.bytes(usize::MAX, 100).is_none());
        drop(second);
        let places: Vec<_> = (0..3).map_while(|_| budget.request(2)).collect();
        assert_eq!((places.len(), budget.bytes.get()), (2, 0));
    }
}
