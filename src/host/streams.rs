//! The streams of one root context that are held, and how the root context is called for them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::abi;
use super::http::{Applied, Message, SharedExchange};
use super::world::{Envoy, random};
use crate::seam::{StreamId, Wakeup};

/// Held streams, by the number of their context.
#[derive(Default)]
pub(super) struct Streams {
    held: RefCell<BTreeMap<StreamId, SharedExchange>>,
    /// The queue by which the root context is called at once; made when the first request waits.
    queue: Cell<Option<u32>>,
    is_called: Cell<bool>,
}

impl Streams {
    /// Keeps a stream that is held, and has the root context called: what it waits for may have to be asked for first.
    pub(super) fn hold(&self, stream: StreamId, exchange: &SharedExchange) {
        self.held.borrow_mut().insert(stream, exchange.clone());
        if !self.is_called.replace(true) && self.call_root().is_err() {
            // The timer is all that is left, and later.
            abi::set_tick_period(NEXT_TICK);
        }
    }

    /// Calls from a request's own context would end with the request; the timer takes a millisecond or more; a message to
    /// oneself takes none.
    fn call_root(&self) -> Result<(), abi::HostError> {
        let queue = match self.queue.get() {
            Some(queue) => queue,
            None => abi::register_queue(&queue_name())?,
        };
        self.queue.set(Some(queue));
        abi::enqueue(queue)
    }

    /// The root context has been called, by whatever.
    pub(super) fn called(&self) {
        if self.is_called.replace(false)
            && let Some(queue) = self.queue.get()
        {
            // An error says that somebody has taken the message already.
            let _ = abi::dequeue(queue);
        }
    }

    /// Forgets a stream.
    pub(super) fn leave(&self, stream: StreamId) {
        self.held.borrow_mut().remove(&stream);
    }

    /// Wakes a stream up, and carries out what comes of it. Leaves its context effective.
    pub(super) fn wake(&self, stream: StreamId, wakeup: Wakeup) {
        // What a request does may end others: nothing is borrowed meanwhile.
        let held = self.held.borrow_mut().remove(&stream);
        let Some(exchange) = held else { return };
        // A request that has ended has left; whatever else the host says, there is nobody to answer.
        if !u32::try_from(stream.0).is_ok_and(|context| abi::set_effective_context(context).is_ok()) {
            return;
        }
        let woken = exchange.borrow_mut().wake(wakeup, &Envoy);
        let Some(woken) = woken else { return };
        let message = Message::with(woken.direction, &woken.headers);
        match message.carry_out(woken.step, &exchange) {
            Applied::Continue => {
                // An error says that the request has ended meanwhile.
                let _ = abi::continue_stream(woken.direction);
            }
            Applied::Wait => self.hold(stream, &exchange),
            Applied::Hold | Applied::Replied => {}
        }
    }
}

/// Nobody else's: every worker has its own.
fn queue_name() -> String {
    format!("tollgate.wakeup.{:016x}", random())
}

/// Milliseconds until the next tick when somebody has begun to wait.
const NEXT_TICK: u32 = 1;
