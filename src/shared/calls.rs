//! Calls that requests of one worker wait for: each question once, each with one answer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use crate::seam::{Ticket, Wakes};

/// Calls that are not sent yet, and those that are, by the topic of the call.
pub struct Calls<T> {
    queue: RefCell<VecDeque<Rc<InFlight<T>>>>,
    sent: RefCell<BTreeMap<u64, Rc<InFlight<T>>>>,
    topics: Cell<u64>,
}

/// What is asked, and how its askers are woken up.
#[derive(Debug)]
pub struct InFlight<T> {
    /// What it is about.
    pub about: T,
    /// Comes due with the answer.
    pub ticket: Ticket,
}

impl<T> Calls<T> {
    /// Asks; `None` where too much is asked already.
    pub fn ask(&self, about: T, wakes: &Wakes) -> Option<Rc<InFlight<T>>> {
        let under_way = self.queue.borrow().len().saturating_add(self.sent.borrow().len());
        if under_way >= MOST {
            return None;
        }
        let ticket = wakes.ticket();
        let entry = Rc::new(InFlight { about, ticket });
        self.queue.borrow_mut().push_back(Rc::clone(&entry));
        Some(entry)
    }

    /// The next one to send, and the topic of its call.
    pub fn send(&self) -> Option<(u64, Rc<InFlight<T>>)> {
        let entry = self.queue.borrow_mut().pop_front()?;
        Some((self.send_again(&entry), entry))
    }

    /// The topic of one more call about an entry.
    pub fn send_again(&self, entry: &Rc<InFlight<T>>) -> u64 {
        let topic = self.topics.get();
        self.topics.set(topic.wrapping_add(1));
        self.sent.borrow_mut().insert(topic, Rc::clone(entry));
        topic
    }

    /// The one that a call was about. Who takes its answer wakes up who waits for it.
    pub fn answered(&self, topic: u64) -> Option<Rc<InFlight<T>>> {
        self.sent.borrow_mut().remove(&topic)
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty() && self.sent.borrow().is_empty()
    }
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self {
            queue: RefCell::default(),
            sent: RefCell::default(),
            topics: Cell::default(),
        }
    }
}

impl<T> fmt::Debug for Calls<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Calls({} sent)", self.sent.borrow().len())
    }
}

/// Of the requests that ask, no more than a few hundred wait at a time; those that leave and come again must not pile up.
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
