//! One worker of a configuration on its thread: the core's worker, the streams that are suspended, and the calls under way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate::gateway::start::seed;
use tollgate::gateway::worker::{Agenda, CallId, Duties, Worker};
use tollgate::http::piece::Direction;
use tollgate::seam::{Answer, Call, Host as _, Lost, Note, StreamId, Wakeup};

use crate::abi::{Configuration, Failed, Stream};
use crate::filter::{Applied, Phase, Seat};
use crate::gateway::Gateway;
use crate::host::Here;
use crate::metrics::Tally;
use crate::timer::Timer;

/// A worker on its thread.
pub(crate) struct Crew {
    id: u64,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) tally: Tally,
    suspended: RefCell<BTreeMap<StreamId, Rc<Seat>>>,
    /// Calls under way.
    calls: RefCell<BTreeMap<Sent, UnderWay>>,
    next_stream: Cell<u64>,
    /// The maximum size of the answer to a call that is begun at the moment.
    begins: Cell<Option<usize>>,
    /// When it last saw to everything, by the monotonic clock in milliseconds.
    attended: Cell<u64>,
}

/// A call, with what has come of its answer.
struct UnderWay {
    /// Not known while the call is begun: Envoy may answer by itself before it has told the number.
    id: Option<CallId>,
    /// The maximum size of the answer, in bytes.
    most: usize,
    answer: Answer,
    /// Whether it is at its end, and whole.
    ended: Option<bool>,
}

/// Whose hook runs.
#[derive(Clone, Copy)]
pub(crate) enum Via {
    Main(Configuration),
    Stream(StreamId, Stream),
}

/// Whose a call is, and Envoy's number for it; the main thread's are nobody's.
type Sent = (Option<StreamId>, u64);

thread_local! {
    /// Those of this thread: one for each configuration that is not over.
    static CREWS: RefCell<Vec<Rc<Crew>>> = RefCell::default();
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Crew {
    /// The main thread's, for calls of the background.
    pub(crate) fn of_main(gateway: &Arc<Gateway>) -> Rc<Self> {
        Self::for_duties(gateway, Duties::Background)
    }

    /// The one of this worker's thread.
    pub(crate) fn of(gateway: &Arc<Gateway>) -> Rc<Self> {
        Self::for_duties(gateway, Duties::Requests)
    }

    fn for_duties(gateway: &Arc<Gateway>, duties: Duties) -> Rc<Self> {
        CREWS.with_borrow_mut(|crews| {
            if let Some(crew) = crews.iter().find(|crew| crew.gateway.id == gateway.id) {
                return Rc::clone(crew);
            }
            crews.retain(|crew| !crew.gateway.is_over());
            let worker = Worker::with(Arc::clone(&gateway.plan), duties);
            let crew = Rc::new(Self {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                gateway: Arc::clone(gateway),
                worker: Rc::new(worker),
                tally: Tally::default(),
                suspended: RefCell::default(),
                calls: RefCell::default(),
                next_stream: Cell::default(),
                begins: Cell::default(),
                attended: Cell::default(),
            });
            crews.push(Rc::clone(&crew));
            crew
        })
    }

    /// Creates what workers share.
    pub(crate) fn prepare(&self) {
        self.worker.prepare(seed(), &self.gateway.here(None));
    }

    pub(crate) fn next_stream(&self) -> StreamId {
        let next = self.next_stream.get();
        self.next_stream.set(next.wrapping_add(1));
        StreamId(next)
    }

    /// Sees to everything if that was not done for a second: workers have no timer while nothing is suspended.
    pub(crate) fn attend_at_times(&self, via: Via) {
        let now = self.here(Some(via)).monotonic().get();
        if now.saturating_sub(self.attended.get()) >= AT_LEAST {
            self.attend(via);
        }
    }

    /// Does what is to be done now.
    pub(crate) fn attend(&self, via: Via) {
        let host = self.here(Some(via));
        self.attended.set(host.monotonic().get());
        self.gateway.metrics.flush(via);
        let agenda = self.worker.attend(&host);
        let (is_awaited, awaits_main) = (agenda.is_awaited, agenda.awaits_background);
        match via {
            Via::Main(_) => self.gateway.with_timer(|timer| timer.await_on_main(is_awaited)),
            Via::Stream(..) if awaits_main => self.gateway.with_timer(Timer::call_main),
            Via::Stream(..) => {}
        }
        self.carry_out(agenda, Some(via));
    }

    /// Suspends a stream. Its scheduled hook sends the call that it may wait for: a call that fails at once would let the stream go
    /// on before the hook that suspends it has returned.
    pub(crate) fn suspend(&self, seat: &Rc<Seat>) {
        let scheduler = seat.stream.scheduler();
        scheduler.call();
        self.gateway.with_timer(|timer| timer.add(self.id, seat.id, scheduler));
        self.suspended.borrow_mut().insert(seat.id, Rc::clone(seat));
    }

    /// Adds to the answer to a call. One that is too large is at its end with that.
    pub(crate) fn hear(&self, call: u64, via: Via, add: impl FnOnce(&mut Answer)) {
        let is_too_large = self.with(call, via, |under_way| {
            add(&mut under_way.answer);
            let most = under_way.most.saturating_add(1);
            let is_too_large = under_way.answer.body.len() >= most;
            under_way.answer.body.truncate(most);
            is_too_large
        });
        if is_too_large == Some(true) {
            self.answered(call, via, true);
            via.give_up(call);
        }
    }

    /// A call has its answer, or was reset.
    pub(crate) fn answered(&self, call: u64, via: Via, is_whole: bool) {
        let is_begun = self.with(call, via, |under_way| {
            under_way.ended = Some(is_whole);
            under_way.id.is_some()
        });
        if is_begun == Some(true)
            && let Some(agenda) = self.ended((via.own(), call), via)
        {
            self.carry_out(agenda, Some(via));
            if let Via::Main(_) = via {
                self.gateway.with_timer(Timer::call_workers);
            }
        }
    }

    /// What follows from the answer to a call that is at its end.
    fn ended(&self, key: Sent, via: Via) -> Option<Agenda> {
        let UnderWay { id, answer, ended, .. } = self.calls.borrow_mut().remove(&key)?;
        // Without headers, the connection was reset.
        let answer = if ended? { answer } else { Answer::default() };
        Some(self.worker.answered(id?, Ok(answer), &self.here(Some(via))))
    }

    fn with<T>(&self, call: u64, via: Via, act: impl FnOnce(&mut UnderWay) -> T) -> Option<T> {
        let mut calls = self.calls.borrow_mut();
        let key = (via.own(), call);
        if let Some(most) = self.begins.get() {
            calls.entry(key).or_insert_with(|| UnderWay::new(most));
        }
        calls.get_mut(&key).map(act)
    }

    /// Counts, logs and sets filter state.
    pub(crate) fn note(&self, notes: Vec<Note>, stream: Option<Stream>) {
        for note in notes {
            self.gateway.note(note, stream, &self.tally);
        }
    }

    /// Forgets a stream that has ended. Envoy has given up its calls.
    pub(crate) fn leave(&self, seat: &Seat) {
        let stream = seat.id;
        self.worker.leave(stream);
        if self.suspended.borrow_mut().remove(&stream).is_some() {
            self.gateway.with_timer(|timer| timer.remove(self.id, stream));
        }
        let own = (Some(stream), 0)..=(Some(stream), u64::MAX);
        let keys: Vec<_> = self.calls.borrow().range(own).map(|(key, _)| *key).collect();
        let lost: Vec<_> = keys
            .iter()
            .filter_map(|key| self.calls.borrow_mut().remove(key))
            .collect();
        for id in lost.into_iter().filter_map(|under_way| under_way.id) {
            let mut agenda = self.worker.answered(id, Err(Lost::Abandoned), &self.here(None));
            self.note(std::mem::take(&mut agenda.notes), Some(seat.stream));
            self.carry_out(agenda, None);
        }
    }

    fn here(&self, via: Option<Via>) -> Here<'_> {
        self.gateway.here(via.and_then(Via::stream))
    }

    /// Carries out an agenda, and what follows from it.
    fn carry_out(&self, agenda: Agenda, via: Option<Via>) {
        let mut agenda = Some(agenda);
        while let Some(next) = agenda {
            let waits_again = self.carry_out_once(next, via);
            let host = self.here(via);
            agenda = waits_again.then(|| self.worker.calls(&host));
        }
    }

    /// Whether a stream waits again that was woken up.
    fn carry_out_once(&self, agenda: Agenda, via: Option<Via>) -> bool {
        let host = self.here(via);
        self.note(agenda.notes, host.stream);
        let mut wakeups = agenda.wakeups;
        let mut calls = VecDeque::from(agenda.calls);
        while let Some((id, call)) = calls.pop_front() {
            if let Some(more) = self.send(id, &call, via) {
                self.note(more.notes, host.stream);
                calls.extend(more.calls);
                wakeups.extend(more.wakeups);
            }
        }
        let mut waits_again = false;
        for (stream, wakeup) in wakeups {
            waits_again |= self.wake(stream, wakeup);
        }
        waits_again
    }

    /// Sends a call through a stream that waits for it, or through the configuration: Envoy gives up the calls of a stream
    /// that ends. Returns what follows if it is at its end with that.
    fn send(&self, id: CallId, call: &Call, via: Option<Via>) -> Option<Agenda> {
        let host = self.here(via);
        let via = match (call.ticket, self.worker.waits_for(id)) {
            (None, _) => via,
            (Some(_), None) => return Some(self.worker.answered(id, Err(Lost::Abandoned), &host)),
            (Some(_), Some(stream)) => {
                let suspended = self.suspended.borrow();
                suspended.get(&stream).map(|seat| Via::Stream(stream, seat.stream))
            }
        };
        self.begins.set(Some(call.max_body));
        let sent = via.ok_or(Failed).and_then(|via| Ok((via, via.call(call)?)));
        self.begins.set(None);
        let Ok((via, number)) = sent else {
            return Some(self.worker.answered(id, Err(Lost::Unsent), &host));
        };
        let key = (via.own(), number);
        let has_ended = {
            let mut all = self.calls.borrow_mut();
            let own = all.entry(key).or_insert_with(|| UnderWay::new(call.max_body));
            own.id = Some(id);
            own.ended.is_some()
        };
        has_ended.then(|| self.ended(key, via)).flatten()
    }

    /// Whether it waits again.
    fn wake(&self, stream: StreamId, wakeup: Wakeup) -> bool {
        // Nothing stays borrowed: the step may end other streams.
        let seat = self.suspended.borrow_mut().remove(&stream);
        let Some(seat) = seat else { return false };
        let woken = seat
            .exchange
            .borrow_mut()
            .wake(wakeup, &self.gateway.here(Some(seat.stream)));
        let Some(woken) = woken else {
            self.gateway.with_timer(|timer| timer.remove(self.id, stream));
            return false;
        };
        let applied = seat.carry_out(woken.step, woken.direction, Phase::Woken, self);
        if applied == Applied::Wait {
            self.suspended.borrow_mut().insert(stream, seat);
            return true;
        }
        self.gateway.with_timer(|timer| timer.remove(self.id, stream));
        if applied == Applied::Continue {
            match woken.direction {
                Direction::Request => seat.stream.continue_request(),
                Direction::Response => seat.stream.continue_response(),
            }
        }
        false
    }
}

impl UnderWay {
    fn new(most: usize) -> Self {
        Self {
            id: None,
            most,
            answer: Answer::default(),
            ended: None,
        }
    }
}

impl Via {
    const fn stream(self) -> Option<Stream> {
        match self {
            Self::Main(_) => None,
            Self::Stream(_, stream) => Some(stream),
        }
    }

    const fn own(self) -> Option<StreamId> {
        match self {
            Self::Main(_) => None,
            Self::Stream(id, _) => Some(id),
        }
    }

    fn give_up(self, call: u64) {
        match self {
            Self::Main(configuration) => configuration.give_up(call),
            Self::Stream(_, stream) => stream.give_up(call),
        }
    }

    fn call(self, call: &Call) -> Result<u64, Failed> {
        let headers = call.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let timeout = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
        match self {
            Self::Main(configuration) => configuration.call(&call.cluster, &headers, &call.body, timeout),
            Self::Stream(_, stream) => stream.call(&call.cluster, &headers, &call.body, timeout),
        }
    }
}

/// How often a worker sees to everything at least while there are requests, in milliseconds.
const AT_LEAST: u64 = 1000;
