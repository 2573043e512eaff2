//! One worker: the shared plan, and the worker's own state.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::client_network::ClientNetwork;
use crate::clock::Millis;
use crate::gateway::plan::Plan;
use crate::seam::{Answer, Call, Caller, Context, Host, Locals, Lost, Note, Outcome, StreamId, Wait, WaitKind, Wakeup};
use crate::shared::suspended::Suspended;

/// A worker: a thread of the host that handles requests.
#[derive(Debug)]
pub struct Worker {
    plan: Arc<Plan>,
    duties: Duties,
    locals: Locals,
    suspended: RefCell<Suspended>,
    /// Calls without an answer yet.
    under_way: RefCell<BTreeMap<CallId, UnderWay>>,
    next_call: Cell<u64>,
}

/// A call, its caller, and the stream that waited for it when it was to be sent.
#[derive(Debug, Clone)]
struct UnderWay {
    caller: Arc<dyn Caller>,
    call: Rc<Call>,
    stream: Option<StreamId>,
}

/// Which calls a worker makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duties {
    /// All, as workers that are alike share those of the background.
    All,
    /// Those of the background.
    Background,
    /// Those that requests wait for.
    Requests,
}

/// The id of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(u64);

/// What the shell must do for a worker, in this order.
#[derive(Debug, Default)]
pub struct Agenda {
    /// What to count and log.
    pub notes: Vec<Note>,
    /// Calls to send. [`Worker::answered`] gets the answer of each.
    pub calls: Vec<(CallId, Rc<Call>)>,
    /// Streams whose exchanges to wake up.
    pub wakeups: Vec<(StreamId, Wakeup)>,
    /// Whether something is awaited, so that the timer should run fast.
    pub is_awaited: bool,
    /// Whether calls of the background are awaited that this worker does not make.
    pub awaits_background: bool,
}

impl Worker {
    /// A worker without state, for all calls.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self::with(plan, Duties::All)
    }

    /// A worker without state, for some of the calls.
    pub fn with(plan: Arc<Plan>, duties: Duties) -> Self {
        Self {
            plan,
            duties,
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
        agenda.is_awaited = is_held || self.callers().any(|caller| caller.is_awaited(&cx));
        let mut others = self.plan.callers.iter().filter(|caller| !self.makes_calls_of(caller));
        agenda.awaits_background = others.any(|caller| caller.is_background() && caller.is_awaited(&cx));
        self.wake(agenda, host)
    }

    /// The calls to send now. Called when requests that were woken up wait again.
    pub fn calls(&self, host: &dyn Host) -> Agenda {
        let cx = self.context(host);
        let mut agenda = Agenda::default();
        for caller in self.callers() {
            while let Some(call) = caller.next_call(&cx) {
                agenda.calls.push(self.begin(caller, call));
            }
        }
        agenda
    }

    /// The stream that waits for a call, for a shell whose calls leave through streams; `None` for a call of the
    /// background, or if that stream waits no more.
    pub fn waits_for(&self, call: CallId) -> Option<StreamId> {
        self.under_way.borrow().get(&call)?.stream
    }

    /// Handles the answer to a call.
    pub fn answered(&self, call: CallId, answer: Result<Answer, Lost>, host: &dyn Host) -> Agenda {
        let Some(UnderWay { caller, call, .. }) = self.under_way.borrow_mut().remove(&call) else {
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
        let under_way = UnderWay {
            caller: Arc::clone(caller),
            call: Rc::clone(&call),
            stream: self.waiting(&call),
        };
        self.under_way.borrow_mut().insert(id, under_way);
        (id, call)
    }

    fn waiting(&self, call: &Call) -> Option<StreamId> {
        self.suspended.borrow().waiting_for(call.ticket?)
    }

    /// The callers whose calls this worker makes.
    fn callers(&self) -> impl Iterator<Item = &Arc<dyn Caller>> {
        self.plan.callers.iter().filter(|caller| self.makes_calls_of(caller))
    }

    fn makes_calls_of(&self, caller: &Arc<dyn Caller>) -> bool {
        match self.duties {
            Duties::All => true,
            Duties::Background => caller.is_background(),
            Duties::Requests => !caller.is_background(),
        }
    }

    fn wake(&self, mut agenda: Agenda, host: &dyn Host) -> Agenda {
        let tickets = self.locals.wakes().take();
        let now = host.monotonic();
        agenda.wakeups = self.suspended.borrow_mut().due(tickets, now);
        agenda
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::Exchange;
    use crate::seam::simulated::Simulated;
    use crate::seam::{Event, Step};

    fn clusters(agenda: &Agenda) -> Vec<&str> {
        agenda.calls.iter().map(|(_, call)| call.cluster.as_str()).collect()
    }

    /// One worker for the background, and one for requests.
    struct Two {
        background: Worker,
        main: Simulated,
        requests: Rc<Worker>,
        host: Simulated,
    }

    fn two(config: &Value) -> Two {
        let secret = "cases-secret-two-0123456789abcdef".to_owned();
        let plan = Plan::of(config, &[("SECRET".to_owned(), secret)].into()).unwrap();
        let host = Simulated::default();
        let main = Simulated {
            store: host.store.clone(),
            ..Simulated::default()
        };
        let background = Worker::with(Arc::clone(&plan), Duties::Background);
        background.prepare([1; 16], &main);
        Two {
            background,
            main,
            requests: Rc::new(Worker::with(plan, Duties::Requests)),
            host,
        }
    }

    impl Two {
        fn waits(&self, stream: StreamId, path: &str, header: (&str, &str)) {
            let pairs = [(":method", "GET"), (":authority", "h"), (":path", path), header];
            let event = Event::RequestHeaders {
                headers: Rc::new(pairs.into_iter().collect()),
                route_name: None,
                has_body: false,
            };
            let mut exchange = Exchange::new(Rc::clone(&self.requests), stream);
            assert_eq!(exchange.on(event, &self.host), Step::wait());
        }

        /// The call of the background that a waiting request needs.
        fn call_of_background(&self, cluster: &str) -> CallId {
            let agenda = self.requests.attend(&self.host);
            assert!(agenda.calls.is_empty() && agenda.awaits_background);
            let agenda = self.background.attend(&self.main);
            let mut calls = agenda.calls.iter();
            let found = calls.find(|(_, call)| call.cluster == cluster && call.ticket.is_none());
            found.unwrap_or_else(|| panic!("{agenda:?}")).0
        }
    }

    #[test]
    fn what_is_for_all_workers_is_called_by_the_one_for_the_background() {
        let two = two(&json!({
            "version": 1,
            "jwt": {"issuers": [{
                "name": "main", "issuer": "i", "audiences": ["a"], "algorithms": ["ES256"],
                "jwks": {"remote": {"cluster": "issuer", "url": "https://i/keys"}},
            }]},
            "api_keys": {"secrets": [{"id": "v2", "env": "SECRET"}], "lookup": {"cluster": "keys"}},
            "defaults": {"auth": {"any": ["jwt", "api_key"]}},
        }));
        // {"alg":"ES256","kid":"b"} and {"iss":"i"}
        let token = "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImIifQ.eyJpc3MiOiJpIn0.AAAA";
        two.waits(StreamId(0), "/", ("authorization", token));
        let fetch = two.call_of_background("issuer");
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "a", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }]});
        let answer = Answer::new("200", keys.to_string());
        assert!(two.background.answered(fetch, Ok(answer), &two.main).wakeups.is_empty());
        let news = two.requests.attend(&two.host);
        assert_eq!(news.wakeups, [(StreamId(0), Wakeup::Due)]);
        assert!(!news.awaits_background);

        // Its key is not among those: the next token asks for another fetch.
        two.waits(StreamId(1), "/", ("authorization", token));
        two.call_of_background("issuer");

        let key = "tg_live_good00000000_770e607624d689265ca6c44884d0807d9b054d23c4738jAML";
        two.waits(StreamId(2), "/", ("x-api-key", key));
        let lookup = two.call_of_background("keys");
        let answer = Answer::new("200", r#"{"version": 1, "key": null}"#);
        two.background.answered(lookup, Ok(answer), &two.main);
        assert_eq!(two.requests.attend(&two.host).wakeups, [(StreamId(2), Wakeup::Due)]);
    }

    #[test]
    fn what_is_for_one_request_ends_with_it_and_is_no_fault_of_the_service() {
        let limit =
            json!({"name": "ip", "key": ["ip"], "limit": 5, "window": "1m", "backend": "rls", "on_fault": "deny"});
        let two = two(&json!({
            "version": 1,
            "rate_limit_service": {"cluster": "limits"},
            "rate_limits": [limit],
            "routes": [{"match": {"path_prefix": "/"}, "public": true, "rate_limits": ["ip"]}],
        }));
        // A breaker would open after some faults.
        for stream in (0..100).map(StreamId) {
            two.waits(stream, "/", ("accept", "*/*"));
            let agenda = two.requests.attend(&two.host);
            assert_eq!(clusters(&agenda), ["limits"]);
            assert!(!agenda.awaits_background && two.background.attend(&two.main).calls.is_empty());
            let (call, _) = agenda.calls[0];
            assert_eq!(two.requests.waits_for(call), Some(stream));
            two.requests.leave(stream);
            let agenda = two.requests.answered(call, Err(Lost::Abandoned), &two.host);
            let counted = "tollgate_rls_calls_total;outcome=abandoned;reason=nobody_waits;";
            assert_eq!(agenda.notes, [Note::Count(counted.into())]);
        }
    }
}
