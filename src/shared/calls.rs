//! Calls that requests of one worker wait for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use crate::seam::{Ticket, Wakes};

/// Queued calls, and sent calls by their topic.
pub struct Calls<T> {
    queue: RefCell<VecDeque<Rc<InFlight<T>>>>,
    sent: RefCell<BTreeMap<u64, Rc<InFlight<T>>>>,
    topics: Cell<u64>,
    most: usize,
}

/// A call in flight, with the ticket of the requests that wait for it.
#[derive(Debug)]
pub struct InFlight<T> {
    /// The subject of the call.
    pub about: T,
    /// The ticket that is due with the answer.
    pub ticket: Ticket,
}

impl<T> Calls<T> {
    /// No calls, and at most so many later.
    pub fn with_most(most: usize) -> Self {
        Self {
            queue: RefCell::default(),
            sent: RefCell::default(),
            topics: Cell::default(),
            most,
        }
    }

    /// How many further calls there may be.
    pub fn room(&self) -> usize {
        let under_way = self.queue.borrow().len().saturating_add(self.sent.borrow().len());
        self.most.saturating_sub(under_way)
    }

    /// Queues a call; `None` if there are too many already.
    pub fn ask(&self, about: T, wakes: &Wakes) -> Option<Rc<InFlight<T>>> {
        if self.room() == 0 {
            return None;
        }
        let ticket = wakes.ticket();
        let entry = Rc::new(InFlight { about, ticket });
        self.queue.borrow_mut().push_back(Rc::clone(&entry));
        Some(entry)
    }

    /// Takes the next call to send, with its topic.
    pub fn send(&self) -> Option<(u64, Rc<InFlight<T>>)> {
        let entry = self.queue.borrow_mut().pop_front()?;
        Some((self.send_again(&entry), entry))
    }

    /// The topic of a further call for the same entry.
    pub fn send_again(&self, entry: &Rc<InFlight<T>>) -> u64 {
        let topic = self.topics.get();
        self.topics.set(topic.wrapping_add(1));
        self.sent.borrow_mut().insert(topic, Rc::clone(entry));
        topic
    }

    /// Takes the entry of an answered call. The caller must wake its ticket.
    pub fn answered(&self, topic: u64) -> Option<Rc<InFlight<T>>> {
        self.sent.borrow_mut().remove(&topic)
    }

    /// Whether there are no calls.
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty() && self.sent.borrow().is_empty()
    }
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self::with_most(MOST)
    }
}

impl<T> fmt::Debug for Calls<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Calls({} sent)", self.sent.borrow().len())
    }
}

/// Maximum number of calls. Waiting requests are limited, but calls of clients that disconnect and return must not
/// accumulate.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_and_comes_again_does_not_pile_up() {
        let (calls, wakes) = (Calls::default(), Wakes::default());
        let asked = (0..2 * MOST).filter(|&number| calls.ask(number, &wakes).is_some());
        assert_eq!(asked.count(), MOST);
        let (topic, first) = calls.send().unwrap();
        assert_eq!(first.about, 0);
        assert!(calls.ask(0, &wakes).is_none(), "it is still under way");
        assert!(calls.answered(topic).is_some() && calls.answered(topic).is_none());
        assert!(calls.ask(0, &wakes).is_some());
    }
}
