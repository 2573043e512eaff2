//! What the requests of one worker ask of another service: each question once, each with one answer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

/// Questions that are not sent yet, and those that are, by the topic of their call.
pub struct Questions<Question> {
    queue: RefCell<VecDeque<Rc<Question>>>,
    asked: RefCell<BTreeMap<u64, Rc<Question>>>,
    topics: Cell<u64>,
}

impl<Question> Questions<Question> {
    /// Asks, unless too much is asked already.
    pub fn push(&self, question: Question) -> Option<Rc<Question>> {
        let under_way = self.queue.borrow().len().saturating_add(self.asked.borrow().len());
        if under_way >= MOST {
            return None;
        }
        let question = Rc::new(question);
        self.queue.borrow_mut().push_back(Rc::clone(&question));
        Some(question)
    }

    /// The next one to send, and the topic of its call.
    pub fn send(&self) -> Option<(u64, Rc<Question>)> {
        let question = self.queue.borrow_mut().pop_front()?;
        let topic = self.topics.get();
        self.topics.set(topic.wrapping_add(1));
        self.asked.borrow_mut().insert(topic, Rc::clone(&question));
        Some((topic, question))
    }

    /// The one that a call was about, which has its answer now.
    pub fn answered(&self, topic: u64) -> Option<Rc<Question>> {
        self.asked.borrow_mut().remove(&topic)
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty() && self.asked.borrow().is_empty()
    }
}

impl<Question> Default for Questions<Question> {
    fn default() -> Self {
        Self {
            queue: RefCell::default(),
            asked: RefCell::default(),
            topics: Cell::default(),
        }
    }
}

impl<Question> fmt::Debug for Questions<Question> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Questions({} sent)", self.asked.borrow().len())
    }
}

/// Of the requests that ask, no more than a few hundred wait at a time; those that leave and come again must not pile up.
const MOST: usize = 1024;
