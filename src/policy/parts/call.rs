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
use crate::seam::{self, Answer, Call, Caller, Context, Local, Note};
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
pub(super) type Pending = Rc<InFlight<PartCall>>;

/// One call.
#[derive(Debug)]
pub(super) struct PartCall {
    pub(super) part: Arc<Part>,
    pub(super) call: Call,
    /// Whether the aggregate's deadline has cut the timeout.
    pub(super) is_cut: bool,
    /// The hash under which its answer is kept, until it is.
    owner: Cell<Option<Owner>>,
    /// When it was sent, by the monotonic clock.
    sent: Cell<Option<Millis>>,
    received: OnceCell<Result<Received, Outcome>>,
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
    pub(super) fn ask(
        &self,
        part: &Arc<Part>,
        call: Call,
        is_cut: bool,
        owner: Option<Owner>,
        cx: &Context<'_>,
    ) -> Option<Pending> {
        let call = PartCall {
            owner: Cell::new(owner),
            part: Arc::clone(part),
            call,
            is_cut,
            sent: Cell::new(None),
            received: OnceCell::new(),
        };
        cx.local(&self.calls).ask(call, cx.wakes())
    }

    fn receive(&self, call: &PartCall, answer: Option<Answer>, cx: &Context<'_>) -> Result<Received, Outcome> {
        // A dispatch that fails is the word of the cluster's breaker.
        let answer = answer.ok_or(Outcome::Unavailable)?;
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
    /// Keeps a good answer for the same call, once.
    pub(super) fn keep(&self, received: &Received, cx: &Context<'_>) {
        if let (Some(cache), Some(owner)) = (&self.part.cache, self.owner.take()) {
            cache.keep(owner, received, cx);
        }
    }

    /// What has come; `None` if nothing has yet.
    pub(super) fn received(&self) -> Option<Result<&Received, Outcome>> {
        let received = self.received.get()?;
        Some(received.as_ref().map_err(|outcome| *outcome))
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
                ..entry.about.call.clone()
            });
        }
    }

    fn answer(&self, call: &Call, answer: Option<Answer>, cx: &Context<'_>) -> seam::Outcome {
        let Some(entry) = cx.local(&self.calls).answered(call.topic) else {
            return seam::Outcome::default();
        };
        let about = &entry.about;
        let mut notes = Vec::new();
        if let Some(sent) = about.sent.get() {
            let took = cx.monotonic().saturating_sub(sent);
            notes.push(Note::Observe(about.part.duration.clone(), took.get()));
        }
        if Rc::strong_count(&entry) == 1 {
            notes.push(about.part.counted(Outcome::Abandoned));
            return seam::Outcome { notes, next: None };
        }
        // This cannot fail: a call has one answer.
        let _ = about.received.set(self.receive(about, answer, cx));
        cx.wakes().wake(entry.ticket);
        seam::Outcome { notes, next: None }
    }

    fn is_awaited(&self, cx: &Context<'_>) -> bool {
        !cx.local(&self.calls).is_empty()
    }
}
