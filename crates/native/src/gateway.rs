//! One configuration: its plan, which all workers share, and its metrics and timer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tollgate::gateway::plan::Plan;
use tollgate::gateway::start::load;
use tollgate::seam::Note;
use tollgate::seam::store::memory::Memory;

use crate::abi::{Configuration, Stream, only_validates};
use crate::host::{Here, memory_of};
use crate::metrics::{Metrics, Tally};
use crate::timer::Timer;

/// One configuration.
pub(crate) struct Gateway {
    /// Its number in this process.
    pub(crate) id: u64,
    pub(crate) plan: Arc<Plan>,
    memory: Memory,
    pub(crate) metrics: Metrics,
    /// None where Envoy only checks its configuration.
    timer: Mutex<Option<Timer>>,
    is_over: AtomicBool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Gateway {
    /// Reads a configuration. All that is wrong with it is logged.
    pub(crate) fn load(configuration: Configuration, name: Vec<u8>, bytes: &[u8]) -> Option<Self> {
        let plan = load(bytes)?;
        Some(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            plan: Arc::new(plan),
            memory: memory_of(name),
            metrics: Metrics::define(configuration),
            timer: Mutex::new((!only_validates()).then(|| Timer::start(configuration.scheduler()))),
            is_over: AtomicBool::new(false),
        })
    }

    /// Envoy in a hook of this stream, or of none.
    pub(crate) const fn here(&self, stream: Option<Stream>) -> Here<'_> {
        Here {
            stream,
            memory: &self.memory,
        }
    }

    /// Ends the timer. Streams that are under way keep the plan.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        let timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(timer);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Tells the timer, if there is one.
    pub(crate) fn with_timer(&self, tell: impl FnOnce(&Timer)) {
        if let Some(timer) = self.timer.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            tell(timer);
        }
    }

    /// Counts, logs and sets filter state. Failures do not affect the request.
    pub(crate) fn note(&self, note: Note, stream: Option<Stream>, tally: &Tally) {
        match (note, stream) {
            (Note::Log(level, message), _) => log::log!(level, "{message}"),
            (Note::Count(name), _) => tally.count(&name, &self.metrics),
            (Note::Observe(name, value), Some(stream)) => self.metrics.observe(&name, value, stream),
            (Note::State(name, value), Some(stream)) => {
                if stream.set_state(&format!("wasm.{name}"), &value).is_err() {
                    log::warn!("the filter state {name} could not be set: the access log lacks it");
                }
            }
            // They are of requests.
            (Note::Observe(..) | Note::State(..), None) => {}
        }
    }
}
