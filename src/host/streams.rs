//! The suspended streams of one root context, and the call that makes the root context handle them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::abi;
use super::http::{Applied, Message, SharedExchange};
use super::world::Envoy;
use crate::clock::Millis;
use crate::gateway::start::random;
use crate::seam::{StreamId, Wakeup};

/// Suspended streams, by the id of their context.
#[derive(Default)]
pub(super) struct Streams {
    held: RefCell<BTreeMap<StreamId, SharedExchange>>,
    /// The queue that calls the root context at once; created when the first request is suspended.
    queue: Cell<Option<u32>>,
    is_called: Cell<bool>,
    /// Whether a stream that the root context has woken up waits again, perhaps for calls that are not sent yet.
    waits_again: Cell<bool>,
    /// The period of the timer.
    tick: Cell<Millis>,
}

impl Streams {
    /// Adds a suspended stream, and calls the root context, which makes the call that the stream may wait for.
    pub(super) fn hold(&self, stream: StreamId, exchange: &SharedExchange) {
        self.held.borrow_mut().insert(stream, exchange.clone());
        if !self.is_called.replace(true) && self.call_root().is_err() {
            // If the queue fails, the timer calls it, but later.
            self.tick_every(NEXT_TICK);
        }
    }

    /// Sets the period of the timer, if it is another one.
    pub(super) fn tick_every(&self, period: Millis) {
        if self.tick.replace(period) != period {
            abi::set_tick_period(period);
        }
    }

    /// Whether a stream waits again since this was last asked.
    pub(super) fn wait_again(&self) -> bool {
        self.waits_again.take()
    }

    /// Calls the root context by a message to its queue. HTTP calls from a request's context would end with the
    /// request; the timer takes a millisecond or more.
    fn call_root(&self) -> Result<(), abi::HostError> {
        let queue = match self.queue.get() {
            Some(queue) => queue,
            None => abi::register_queue(&queue_name())?,
        };
        self.queue.set(Some(queue));
        abi::enqueue(queue)
    }

    /// Empties the queue. Called whenever the root context runs.
    pub(super) fn called(&self) {
        if self.is_called.replace(false)
            && let Some(queue) = self.queue.get()
        {
            // An error means that the message was taken already.
            let _ = abi::dequeue(queue);
        }
    }

    pub(super) fn leave(&self, stream: StreamId) {
        self.held.borrow_mut().remove(&stream);
    }

    /// Wakes a stream up, and carries out its step. Its context stays the effective one.
    pub(super) fn wake(&self, stream: StreamId, wakeup: Wakeup) {
        // Nothing stays borrowed: the step may end other streams, which calls `leave`.
        let held = self.held.borrow_mut().remove(&stream);
        let Some(exchange) = held else { return };
        // After any error, there is no stream to answer.
        if !u32::try_from(stream.0).is_ok_and(|context| abi::set_effective_context(context).is_ok()) {
            return;
        }
        let woken = exchange.borrow_mut().wake(wakeup, &Envoy);
        let Some(woken) = woken else { return };
        let message = Message::with(woken.direction, &woken.headers);
        match message.carry_out(woken.step, &exchange) {
            Applied::Continue => {
                // An error means that the request has ended.
                let _ = abi::continue_stream(woken.direction);
            }
            // The root context sends the calls that it may wait for.
            Applied::Wait => {
                self.held.borrow_mut().insert(stream, exchange.clone());
                self.waits_again.set(true);
            }
            Applied::Hold | Applied::Replied => {}
        }
    }
}

/// A random name for the queue, so that every worker has its own.
fn queue_name() -> String {
    format!("tollgate.wakeup.{:016x}", random())
}

/// The time until the next tick if the queue fails.
const NEXT_TICK: Millis = Millis::new(1);
