//! One worker: the shared plan, and the worker's own state.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::client_network::ClientNetwork;
use crate::clock::Millis;
use crate::gateway::plan::Plan;
use crate::seam::{Answer, Call, Caller, Context, Host, Locals, Note, Outcome, StreamId, Wait, WaitKind, Wakeup};
use crate::shared::suspended::Suspended;

/// A worker: a thread of the host that handles requests.
#[derive(Debug)]
pub struct Worker {
    plan: Arc<Plan>,
    locals: Locals,
    suspended: RefCell<Suspended>,
    /// Calls without an answer yet.
    under_way: RefCell<BTreeMap<CallId, UnderWay>>,
    next_call: Cell<u64>,
}

/// A call and its caller.
type UnderWay = (Arc<dyn Caller>, Rc<Call>);

/// The id of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(u64);

/// What the shell must do for a worker, in this order.
#[derive(Debug, Default)]
pub struct Agenda {
    /// What to count and log.
    pub notes: Vec<Note>,
    /// Calls to send. [`Worker::answered`] gets the answer of each, or `None` if it could not be sent.
    pub calls: Vec<(CallId, Rc<Call>)>,
    /// Streams whose exchanges to wake up.
    pub wakeups: Vec<(StreamId, Wakeup)>,
    /// Whether something is awaited, so that the timer should run fast.
    pub is_awaited: bool,
}

impl Worker {
    /// A worker without state.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            locals: Locals::default(),
            suspended: RefCell::default(),
            under_way: RefCell::default(),
            next_call: Cell::default(),
        }
    }

    /// The worker's plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Creates the data that workers share, before there is traffic. `seed` must be unpredictable.
    pub fn prepare(&self, seed: [u8; 16], host: &dyn Host) {
        self.plan.prepare(seed, &self.context(host));
    }

    /// The context of a callback.
    pub fn context<'a>(&'a self, host: &'a dyn Host) -> Context<'a> {
        Context {
            host,
            locals: &self.locals,
        }
    }

    /// What to do now. Called at every tick of the timer, and as soon as a request has been suspended.
    pub fn attend(&self, host: &dyn Host) -> Agenda {
        let cx = self.context(host);
        self.plan.callers.iter().for_each(|caller| caller.synchronize(&cx));
        let mut agenda = self.calls(host);
        let is_held = !self.suspended.borrow().is_empty();
        agenda.is_awaited = is_held || self.plan.callers.iter().any(|caller| caller.is_awaited(&cx));
        self.wake(agenda, host)
    }

    /// The calls to send now. Called when requests that were woken up wait again.
    pub fn calls(&self, host: &dyn Host) -> Agenda {
        let cx = self.context(host);
        let mut agenda = Agenda::default();
        for caller in &self.plan.callers {
            while let Some(call) = caller.next_call(&cx) {
                agenda.calls.push(self.begin(caller, call));
            }
        }
        agenda
    }

    /// Handles the answer to a call; `None` if it could not be sent.
    pub fn answered(&self, call: CallId, answer: Option<Answer>, host: &dyn Host) -> Agenda {
        let Some((caller, call)) = self.under_way.borrow_mut().remove(&call) else {
            return Agenda::default();
        };
        let Outcome { notes, next } = caller.answer(&call, answer, &self.context(host));
        let next = next.map(|next| self.begin(&caller, next));
        let agenda = Agenda {
            notes,
            calls: next.into_iter().collect(),
            ..Agenda::default()
        };
        self.wake(agenda, host)
    }

    /// Forgets a stream that has ended.
    pub fn leave(&self, stream: StreamId) {
        self.suspended.borrow_mut().leave(stream);
    }

    /// Whether there is a place to suspend a message of this client.
    pub(crate) fn has_place(&self, kind: WaitKind, host: &dyn Host) -> bool {
        let suspended = self.suspended.borrow();
        suspended.has_place(kind, || ClientNetwork::from(host.client_address()))
    }

    /// Suspends a message of a client until a time of the monotonic clock; `false` if there is no place.
    pub(crate) fn hold(&self, stream: StreamId, wait: Wait, until: Millis, client: Option<IpAddr>) -> bool {
        let origin = ClientNetwork::from(client);
        self.suspended.borrow_mut().hold(stream, wait, origin, until)
    }

    fn begin(&self, caller: &Arc<dyn Caller>, call: Call) -> (CallId, Rc<Call>) {
        let call = Rc::new(call);
        let id = CallId(self.next_call.get());
        self.next_call.set(id.0.wrapping_add(1));
        self.under_way
            .borrow_mut()
            .insert(id, (Arc::clone(caller), Rc::clone(&call)));
        (id, call)
    }

    fn wake(&self, mut agenda: Agenda, host: &dyn Host) -> Agenda {
        let tickets = self.locals.wakes().take();
        let now = host.monotonic();
        agenda.wakeups = self.suspended.borrow_mut().due(tickets, now);
        agenda
    }
}
