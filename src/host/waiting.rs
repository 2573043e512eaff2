//! Requests that are held until what decides about them arrives.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::abi;
use super::http::{Applied, Message, SharedExchange, apply};
use super::world::{Envoy, random};
use crate::body::Direction;
use crate::event::Event;
use crate::headers::Headers;

/// The held requests of one root context.
#[derive(Default)]
pub(super) struct WaitingRoom {
    /// By context id.
    places: RefCell<BTreeMap<u32, Place>>,
    /// By which the root context is called at once; made when the first request waits.
    bell: Cell<Option<u32>>,
    has_rung: Cell<bool>,
}

/// A request or a response, with all that it takes to look at it again.
pub(super) struct Held {
    pub(super) exchange: SharedExchange,
    pub(super) direction: Direction,
    pub(super) headers: Headers,
    pub(super) route_name: Option<String>,
    pub(super) has_body: bool,
}

impl Held {
    fn is_ready(&self) -> bool {
        let exchange = self.exchange.borrow();
        exchange.as_ref().is_none_or(|exchange| exchange.is_ready(&Envoy))
    }
}

struct Place {
    held: Held,
    /// By the monotonic clock: a clock that is set back holds nobody longer.
    until: Instant,
}

impl WaitingRoom {
    /// Whether another request may be held.
    pub(super) fn has_room(&self) -> bool {
        self.places.borrow().len() < MOST_HELD
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.borrow().is_empty()
    }

    /// Holds a request, and has the root context called: what it waits for may have to be asked for first.
    pub(super) fn hold(&self, id: u32, held: Held) {
        let now = Instant::now();
        let until = now.checked_add(LONGEST_WAIT).unwrap_or(now);
        self.places.borrow_mut().insert(id, Place { held, until });
        if !self.has_rung.replace(true) && self.ring().is_err() {
            // The timer is all that is left, and later.
            abi::set_tick_period(NEXT_TICK);
        }
    }

    /// Calls from a request's own context would end with the request; the timer takes a millisecond or more; a message to
    /// oneself takes none.
    fn ring(&self) -> Result<(), abi::HostError> {
        let bell = match self.bell.get() {
            Some(bell) => bell,
            None => abi::register_queue(&bell_name())?,
        };
        self.bell.set(Some(bell));
        abi::enqueue(bell)
    }

    /// The root context has been called, by whatever.
    pub(super) fn heard(&self) {
        if self.has_rung.replace(false)
            && let Some(bell) = self.bell.get()
        {
            // An error says that somebody has heard it already.
            let _ = abi::dequeue(bell);
        }
    }

    /// Forgets a request.
    pub(super) fn leave(&self, id: u32) {
        self.places.borrow_mut().remove(&id);
    }

    /// Looks again at every request that has what it waits for, or whose time is up. Leaves another context effective.
    pub(super) fn release(&self) {
        let now = Instant::now();
        let ready: Vec<u32> = {
            let places = self.places.borrow();
            let ready = places
                .iter()
                .filter(|(_, place)| place.until <= now || place.held.is_ready());
            ready.map(|(&id, _)| id).collect()
        };
        for id in ready {
            // What a request does may end others: nothing is borrowed meanwhile.
            let place = self.places.borrow_mut().remove(&id);
            if let Some(place) = place {
                self.resume(id, place.held);
            }
        }
    }

    fn resume(&self, id: u32, held: Held) {
        // A request that has ended has left; whatever else the host says, there is nobody to answer.
        if abi::set_effective_context(id).is_err() {
            return;
        }
        let (headers, may_wait, has_body) = (&held.headers, self.has_room(), held.has_body);
        let event = match held.direction {
            Direction::Request => Event::RequestHeaders {
                headers,
                route_name: held.route_name.as_deref(),
                may_wait,
                has_body,
            },
            Direction::Response => Event::ResponseHeaders {
                headers,
                may_wait,
                has_body,
            },
        };
        let effects = match held.exchange.borrow_mut().as_mut() {
            Some(exchange) => exchange.on(event, &Envoy),
            None => return,
        };
        match apply(effects, Message::with(held.direction, headers)) {
            Applied::Continue => {
                // An error says that the request has ended meanwhile.
                let _ = abi::continue_stream(held.direction);
            }
            // For something else, which a later policy needs.
            Applied::Wait => self.hold(id, held),
            Applied::Replied => {}
        }
    }
}

/// Nobody else's: every worker has its own.
fn bell_name() -> String {
    format!("tollgate.bell.{:016x}", random())
}

/// Of one worker.
const MOST_HELD: usize = 256;

const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Milliseconds until the next tick when somebody has begun to wait.
const NEXT_TICK: u32 = 1;

/// Milliseconds between ticks while somebody waits.
pub(super) const FAST_TICK: u32 = 10;
