//! The clock's thread of one configuration. Envoy has no timer for filters: a thread has hooks called, those of the main thread every second, and while
//! something is awaited every ten milliseconds, as those of each worker that has suspended streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tollgate::seam::StreamId;

use crate::abi::Scheduler;

/// The thread; it ends with the value.
#[derive(Debug)]
pub(crate) struct Timer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// `None` once the timer is over.
    main: Option<Scheduler>,
    /// Whether the main thread awaits something.
    is_awaited: bool,
    /// The suspended streams of each worker. One of them has its hook called.
    suspended: BTreeMap<u64, BTreeMap<StreamId, Scheduler>>,
}

impl Timer {
    pub(crate) fn start(main: Scheduler) -> Self {
        let state = State {
            main: Some(main),
            is_awaited: true,
            suspended: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tollgate".to_owned())
            .spawn(move || own.run());
        if let Err(error) = &thread {
            log::error!(
                "the timer's thread could not be started ({error}): nothing is fetched, and waits do not end in time"
            );
        }
        Self {
            shared,
            thread: thread.ok(),
        }
    }

    /// Says whether the main thread awaits something.
    pub(crate) fn await_on_main(&self, is_awaited: bool) {
        let mut state = self.shared.lock();
        if std::mem::replace(&mut state.is_awaited, is_awaited) != is_awaited {
            self.shared.changed.notify_one();
        }
    }

    /// Has the hook of the main thread called.
    pub(crate) fn call_main(&self) {
        if let Some(main) = &self.shared.lock().main {
            main.call();
        }
    }

    /// Has the hooks of all workers called that have suspended streams.
    pub(crate) fn call_workers(&self) {
        self.shared.lock().call_workers();
    }

    /// Adds a suspended stream of a worker.
    pub(crate) fn add(&self, worker: u64, stream: StreamId, scheduler: Scheduler) {
        let mut state = self.shared.lock();
        let is_first = state.suspended.is_empty();
        state.suspended.entry(worker).or_default().insert(stream, scheduler);
        if is_first {
            self.shared.changed.notify_one();
        }
    }

    /// Forgets a stream.
    pub(crate) fn remove(&self, worker: u64, stream: StreamId) {
        let mut state = self.shared.lock();
        if let Some(streams) = state.suspended.get_mut(&worker) {
            streams.remove(&stream);
            if streams.is_empty() {
                state.suspended.remove(&worker);
            }
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.lock().main = None;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn call_workers(&self) {
        for streams in self.suspended.values() {
            if let Some(scheduler) = streams.values().next() {
                scheduler.call();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut told_main: Option<Instant> = None;
        let mut state = self.lock();
        while let Some(main) = &state.main {
            let is_due = told_main.is_none_or(|told| told.elapsed() >= SLOW);
            if state.is_awaited || is_due {
                told_main = Some(Instant::now());
                main.call();
            }
            state.call_workers();
            let is_fast = state.is_awaited || !state.suspended.is_empty();
            let waited = self.changed.wait_timeout(state, if is_fast { FAST } else { SLOW });
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

const FAST: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_secs(1);
