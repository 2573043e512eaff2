//! The calls of one request, within its deadline.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use super::budget::Charge;
use super::cache::owner;
use super::call::{PartCall, Pending, Services};
use super::outcome::Outcome;
use super::part::Part;
use super::value::Settled;
use super::values::Given;
use crate::clock::Millis;
use crate::denial::{Denial, DenialKind};
use crate::policy::Stop;
use crate::seam::{Call, Context, Note, Ticket, Wait, WaitKind};

/// The calls of one request.
#[derive(Debug)]
pub struct Session {
    /// Calls that other parts may share, with the number of headers that tell them apart.
    asked: Vec<(Pending, usize)>,
    /// How many calls are under way.
    under_way: Rc<Cell<usize>>,
    /// By the monotonic clock.
    deadline: Millis,
    _place: Charge,
}

/// What becomes of a call.
pub enum Asked {
    /// It is under way.
    Called(Pending),
    /// There is a kept answer.
    Kept(Settled),
}

/// What a request does with an answer.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// Whether it continues with this answer alone.
    pub is_awaited: bool,
    /// Whether a failure is its answer.
    pub ends_all: bool,
}

/// One advance of a request's calls.
pub struct Turn<'a> {
    services: &'a Services,
    /// What templates can name.
    pub given: Given<'a>,
    /// Counters.
    pub notes: &'a mut Vec<Note>,
    cx: &'a Context<'a>,
    /// Whether the deadline is over.
    pub is_late: bool,
}

impl Session {
    /// Takes the place of a request that makes so many calls at first, and must end within a time; `None` if the worker
    /// has no room for it.
    pub fn begin(calls: usize, within: Millis, services: &Services, cx: &Context<'_>) -> Option<Self> {
        Some(Self {
            asked: Vec::new(),
            under_way: Rc::default(),
            deadline: cx.monotonic().saturating_add(within),
            _place: services.admit(calls, cx)?,
        })
    }

    /// Waits for calls under way.
    pub fn wait(&self, tickets: Vec<Ticket>) -> Stop {
        Stop::Wait(Wait {
            kind: WaitKind::Parts,
            tickets,
            until: Some(self.deadline),
        })
    }

    /// Begins to advance.
    pub fn turn<'a>(
        &self,
        services: &'a Services,
        given: Given<'a>,
        notes: &'a mut Vec<Note>,
        cx: &'a Context<'a>,
    ) -> Turn<'a> {
        Turn {
            services,
            given,
            notes,
            cx,
            is_late: cx.monotonic() >= self.deadline,
        }
    }

    /// Sends a call, or shares one that is the same, or takes a kept answer.
    pub(super) fn ask(
        &mut self,
        part: &Arc<Part>,
        mut call: Call,
        asking: Asking,
        turn: &Turn<'_>,
    ) -> Result<Asked, Outcome> {
        let bare = call.headers.len();
        let shared = self.asked.iter().find(|(pending, own)| {
            let other = &pending.about.call;
            part.is_safe
                && (*own, other.max_body) == (bare, call.max_body)
                && (&other.cluster, &other.body) == (&call.cluster, &call.body)
                && other.headers.starts_with(&call.headers)
        });
        if let Some((pending, _)) = shared {
            // A failure of the other part may be the answer as well.
            pending.about.is_awaited.set(true);
            return Ok(Asked::Called(Pending::clone(pending)));
        }
        let owner = part.cache.as_ref().map(|_| owner(&call));
        if let Some(settled) = turn.services.kept(part, owner.as_ref(), turn.cx) {
            return Ok(Asked::Kept(settled));
        }
        let left = self.deadline.saturating_sub(turn.cx.monotonic());
        if left < LEAST_TIME {
            return Err(Outcome::Deadline);
        }
        let is_cut = left < part.timeout;
        call.timeout = std::time::Duration::from_millis(left.min(part.timeout).get());
        part.finish(&mut call, turn.given.request, turn.cx);
        let call = PartCall {
            part: Arc::clone(part),
            call,
            is_cut,
            owner: Cell::new(owner),
            under_way: Rc::clone(&self.under_way),
            is_awaited: Cell::new(asking.is_awaited),
            ends_all: asking.ends_all,
            sent: Cell::new(None),
            came: OnceCell::new(),
        };
        let pending = turn.services.ask(call, turn.cx).ok_or(Outcome::TooMany)?;
        self.asked.push((Pending::clone(&pending), bare));
        Ok(Asked::Called(pending))
    }
}

/// The refusal of a request for which the worker has no room.
pub fn no_room() -> Denial {
    Denial::new(DenialKind::Unavailable, "too_many_aggregates").with_header("retry-after", "1".into())
}

/// What has become of a call for a part; `None` if it is under way.
pub(super) fn settle(part: &Arc<Part>, pending: &Pending, turn: &Turn<'_>) -> Option<Settled> {
    let settled = pending.about.settled(part);
    settled.or_else(|| turn.is_late.then(|| Settled::of(Outcome::Deadline)))
}

/// The least time for which a call is made: with less, it would not be answered.
const LEAST_TIME: Millis = Millis::new(5);
