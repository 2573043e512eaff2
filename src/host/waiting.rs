//! Requests that are held until what decides about them arrives.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::abi;
use super::http::{Applied, Message, SharedExchange, apply};
use super::world::{Envoy, random};
use crate::body::Direction;
use crate::event::Event;
use crate::exchange::Exchange;
use crate::headers::Headers;
use crate::origin::Origin;
use crate::remote::Wait;
use crate::world::World as _;

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

    fn kind(&self) -> Wait {
        let exchange = self.exchange.borrow();
        let kind = exchange.as_ref().and_then(Exchange::waits_for);
        kind.unwrap_or(Wait::Authentication)
    }

    /// Tells the exchange once more what is held, and does what it wants.
    fn tell(&self, may_wait: bool) -> Applied {
        let (headers, has_body) = (&self.headers, self.has_body);
        let event = match self.direction {
            Direction::Request => Event::RequestHeaders {
                headers,
                route_name: self.route_name.as_deref(),
                may_wait,
                has_body,
            },
            Direction::Response => Event::ResponseHeaders {
                headers,
                may_wait,
                has_body,
            },
        };
        let effects = match self.exchange.borrow_mut().as_mut() {
            Some(exchange) => exchange.on(event, &Envoy),
            None => return Applied::Replied,
        };
        apply(effects, Message::with(self.direction, headers))
    }
}

struct Place {
    held: Held,
    kind: Wait,
    origin: Origin,
    /// By the monotonic clock: a clock that is set back holds nobody longer.
    until: Instant,
}

impl WaitingRoom {
    /// Whether another request may be held, for anything.
    pub(super) fn has_room(&self) -> bool {
        self.places.borrow().len() < MOST_HELD
    }

    /// Whether another one may, for this and from there: what is scarce is shared out among those who ask.
    pub(super) fn has_place(&self, kind: Wait) -> bool {
        let places = self.places.borrow();
        let of_kind = || places.values().filter(|place| place.kind == kind);
        kind.has_place(of_kind().count(), || {
            let origin = Origin::from(Envoy.client_address());
            of_kind().filter(|place| place.origin == origin).count()
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.borrow().is_empty()
    }

    /// Holds a request, and has the root context called: what it waits for may have to be asked for first. Where there is no place for it, it
    /// is decided about as it is.
    pub(super) fn hold(&self, id: u32, held: Held) -> Applied {
        let kind = held.kind();
        if !self.has_place(kind) {
            return held.tell(false);
        }
        let origin = Origin::from(Envoy.client_address());
        let now = Instant::now();
        let until = now.checked_add(LONGEST_WAIT).unwrap_or(now);
        let place = Place {
            held,
            kind,
            origin,
            until,
        };
        self.places.borrow_mut().insert(id, place);
        if !self.has_rung.replace(true) && self.ring().is_err() {
            // The timer is all that is left, and later.
            abi::set_tick_period(NEXT_TICK);
        }
        Applied::Wait
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
        let direction = held.direction;
        let may_wait = match direction {
            Direction::Request => self.has_room(),
            Direction::Response => self.has_place(Wait::Response),
        };
        let applied = match held.tell(may_wait) {
            // For something else, which a later policy needs.
            Applied::Wait => self.hold(id, held),
            applied => applied,
        };
        if applied == Applied::Continue {
            // An error says that the request has ended meanwhile.
            let _ = abi::continue_stream(direction);
        }
    }
}

/// Nobody else's: every worker has its own.
fn bell_name() -> String {
    format!("tollgate.bell.{:016x}", random())
}

/// Of one worker, all kinds together.
const MOST_HELD: usize = Wait::MOST;

const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Milliseconds until the next tick when somebody has begun to wait.
const NEXT_TICK: u32 = 1;

/// Milliseconds between ticks while somebody waits.
pub(super) const FAST_TICK: u32 = 10;
