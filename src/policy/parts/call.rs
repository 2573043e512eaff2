//! Calls of parts: the one caller for all of them, and what has come of each call.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use super::budget::{Budget, Charge};
use super::config::PartLimitsConfig;
use super::outcome::Outcome;
use super::part::Part;
use super::value::Settled;
use crate::clock::Millis;
use crate::http::headers::Headers;
use crate::seam::{self, Answer, Call, Caller, Context, Local, Lost, Note};
use crate::shared::calls::{Calls, InFlight};
use crate::shared::kept::Owner;

/// The caller of all parts, with the bounds of each worker.
#[derive(Debug)]
pub struct Services {
    calls: Local<Calls<PartCall>>,
    budget: Local<Rc<Budget>>,
    most: PartLimitsConfig,
}

/// A call of a part under way, shared by the parts of one request that make the same call.
pub type Pending = Rc<InFlight<PartCall>>;

/// One call.
#[derive(Debug)]
pub struct PartCall {
    pub(super) part: Arc<Part>,
    pub(super) call: Call,
    /// Whether the aggregate's deadline has cut the timeout.
    pub(super) is_cut: bool,
    /// The hash under which its answer is kept, until it is.
    pub(super) owner: Cell<Option<Owner>>,
    /// How many calls of its request are under way.
    pub(super) under_way: Rc<Cell<usize>>,
    /// Whether its request continues with this answer alone. Otherwise it is woken up by the last one, or by a failure
    /// that is its answer.
    pub(super) is_awaited: Cell<bool>,
    /// Whether its failure is the answer of its request.
    pub(super) ends_all: bool,
    /// When it was sent, by the monotonic clock.
    pub(super) sent: Cell<Option<Millis>>,
    pub(super) came: OnceCell<Came>,
}

/// What has come of a call.
#[derive(Debug)]
pub(super) struct Came {
    received: Result<Received, Outcome>,
    /// What the part that made the call makes of it.
    settled: Settled,
}

/// The answer of a service, as it has come.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    /// Of the body, in the worker's budget.
    pub(super) charge: Rc<Charge>,
}

impl Services {
    /// The caller, with these bounds.
    pub fn new(most: PartLimitsConfig) -> Self {
        let calls = most.calls();
        Self {
            calls: Local::new(move || Calls::with_most(calls)),
            budget: Local::default(),
            most,
        }
    }

    /// Takes the place of a request that makes so many calls at first; `None` if there is no room.
    pub(super) fn admit(&self, calls: usize, cx: &Context<'_>) -> Option<Charge> {
        let has_room = cx.local(&self.calls).room() >= calls;
        let budget = cx.local(&self.budget);
        has_room.then(|| budget.request(self.most.requests())).flatten()
    }

    /// A kept answer to the call of this hash, for a part.
    pub(super) fn kept(&self, part: &Part, owner: Option<&Owner>, cx: &Context<'_>) -> Option<Settled> {
        let body = part.cache.as_ref()?.find(owner?, cx)?;
        let charge = cx.local(&self.budget).bytes(body.len(), self.most.bytes())?;
        let settled = Settled::read(
            part,
            &Received {
                headers: [(":status", "200")].into_iter().collect(),
                body,
                charge: Rc::new(charge),
            },
        );
        (settled.outcome == Outcome::Ok).then(|| Settled {
            outcome: Outcome::Cached,
            ..settled
        })
    }

    /// Sends a call; `None` if there are too many under way.
    pub(super) fn ask(&self, call: PartCall, cx: &Context<'_>) -> Option<Pending> {
        let under_way = Rc::clone(&call.under_way);
        let pending = cx.local(&self.calls).ask(call, cx.wakes())?;
        under_way.set(under_way.get().saturating_add(1));
        Some(pending)
    }

    fn receive(&self, call: &PartCall, answer: Result<Answer, Lost>, cx: &Context<'_>) -> Result<Received, Outcome> {
        // A dispatch that fails is the word of the cluster's breaker.
        let answer = answer.map_err(|_| Outcome::Unavailable)?;
        if answer.body.len() > call.call.max_body {
            return Err(Outcome::TooLarge);
        }
        let budget = cx.local(&self.budget);
        let charge = budget.bytes(answer.body.len(), self.most.bytes());
        Ok(Received {
            charge: Rc::new(charge.ok_or(Outcome::TooLarge)?),
            headers: answer.headers,
            body: answer.body,
        })
    }
}

impl PartCall {
    /// What a part makes of the answer; `None` if it has not come.
    pub(super) fn settled(&self, part: &Arc<Part>) -> Option<Settled> {
        let came = self.came.get()?;
        Some(match Arc::ptr_eq(part, &self.part) {
            true => came.settled.clone(),
            false => self.read(part, &came.received),
        })
    }

    fn read(&self, part: &Part, received: &Result<Received, Outcome>) -> Settled {
        let settled = match received {
            Ok(received) => Settled::read(part, received),
            Err(outcome) => Settled::of(*outcome),
        };
        match settled.outcome {
            Outcome::Timeout if self.is_cut => Settled::of(Outcome::Deadline),
            _ => settled,
        }
    }

    /// Takes the answer, and keeps a good one for the same call. Returns whether the request can continue.
    fn take(&self, received: Result<Received, Outcome>, cx: &Context<'_>) -> bool {
        let settled = self.read(&self.part, &received);
        if let (Outcome::Ok, Ok(received), Some(cache)) = (settled.outcome, &received, &self.part.cache)
            && let Some(owner) = self.owner.take()
        {
            cache.keep(owner, received, cx);
        }
        let left = self.under_way.get().saturating_sub(1);
        self.under_way.set(left);
        let is_the_answer = settled.outcome.is_failure() && self.ends_all;
        // This cannot fail: a call has one answer.
        let _ = self.came.set(Came { received, settled });
        left == 0 || is_the_answer || self.is_awaited.get()
    }
}

impl Caller for Services {
    fn next_call(&self, cx: &Context<'_>) -> Option<Call> {
        loop {
            let (topic, entry) = cx.local(&self.calls).send()?;
            // Whoever waits for it has one of the references: the queue's own is `entry`, another is among those sent.
            if Rc::strong_count(&entry) <= 2 {
                cx.local(&self.calls).answered(topic);
                continue;
            }
            entry.about.sent.set(Some(cx.monotonic()));
            return Some(Call {
                topic,
                ticket: Some(entry.ticket),
                ..entry.about.call.clone()
            });
        }
    }

    fn answer(&self, call: &Call, answer: Result<Answer, Lost>, cx: &Context<'_>) -> seam::Outcome {
        let Some(entry) = cx.local(&self.calls).answered(call.topic) else {
            return seam::Outcome::default();
        };
        let about = &entry.about;
        let mut notes = Vec::new();
        if let Some(sent) = about.sent.get() {
            let took = cx.monotonic().saturating_sub(sent);
            notes.push(Note::Observe(Arc::clone(&about.part.metrics.duration), took.get()));
        }
        if Rc::strong_count(&entry) == 1 || matches!(answer, Err(Lost::Abandoned)) {
            notes.push(about.part.counted(Outcome::Abandoned));
            return seam::Outcome { notes, next: None };
        }
        if about.take(self.receive(about, answer, cx), cx) {
            cx.wakes().wake(entry.ticket);
        }
        seam::Outcome { notes, next: None }
    }

    fn is_awaited(&self, cx: &Context<'_>) -> bool {
        !cx.local(&self.calls).is_empty()
    }
}
