//! One configuration: its plan, which all workers share, and its metrics and timer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tollgate::config::{ConfigError, Environment};
use tollgate::gateway::decode;
use tollgate::gateway::plan::Plan;
use tollgate::seam::Note;

use crate::abi::{Configuration, Stream, only_validates};
use crate::host::{Here, Shared};
use crate::metrics::Metrics;
use crate::timer::Timer;

/// One configuration.
pub(crate) struct Gateway {
    /// Its number in this process.
    pub(crate) id: u64,
    pub(crate) plan: Arc<Plan>,
    shared: &'static Shared,
    metrics: Metrics,
    /// None where Envoy only checks its configuration.
    timer: Mutex<Option<Timer>>,
    /// Metrics of the main thread, which only a stream can count.
    pending: Mutex<Vec<Note>>,
    has_pending: AtomicBool,
    is_over: AtomicBool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Gateway {
    /// Reads a configuration. All that is wrong with it is logged.
    pub(crate) fn load(configuration: Configuration, name: Vec<u8>, bytes: &[u8]) -> Option<Self> {
        let environment: Environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let plan = decode(bytes).map_err(|error| vec![error]);
        let plan = plan.and_then(|config| Plan::compile(&config, &environment));
        let plan = plan.inspect_err(|errors: &Vec<ConfigError>| {
            for error in errors {
                log::error!("configuration refused: {error}");
            }
        });
        let plan = plan.ok()?;
        for warning in &plan.warnings {
            log::warn!("configuration: {warning}");
        }
        Some(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            plan: Arc::new(plan),
            shared: Shared::of(name),
            metrics: Metrics::define(configuration),
            timer: Mutex::new((!only_validates()).then(|| Timer::start(configuration.scheduler()))),
            pending: Mutex::default(),
            has_pending: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        })
    }

    /// Envoy in a hook of this stream, or of none.
    pub(crate) const fn here(&self, stream: Option<Stream>) -> Here {
        Here {
            stream,
            shared: self.shared,
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

    /// Counts and logs. Failures do not affect the request.
    pub(crate) fn note(&self, notes: Vec<Note>, stream: Option<Stream>) {
        let mut pending = Vec::new();
        for note in notes {
            match (note, stream) {
                (Note::Log(level, message), _) => log::log!(level, "{message}"),
                (Note::State(name, value), Some(stream)) => {
                    if stream.set_state(&format!("wasm.{name}"), &value).is_err() {
                        log::warn!("the filter state {name} could not be set: the access log lacks it");
                    }
                }
                (Note::State(..), None) => {}
                (note, Some(stream)) => self.metrics.note(&note, stream),
                (note, None) => pending.push(note),
            }
        }
        if !pending.is_empty() {
            let mut all = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let room = MOST_PENDING.saturating_sub(all.len());
            all.extend(pending.into_iter().take(room));
            self.has_pending.store(true, Ordering::Release);
        }
    }

    /// Counts what happened on the main thread. Requests take the lock only if there is something to count.
    pub(crate) fn flush(&self, stream: Stream) {
        if !self.has_pending.load(Ordering::Relaxed) || !self.has_pending.swap(false, Ordering::AcqRel) {
            return;
        }
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        for note in &pending {
            self.metrics.note(note, stream);
        }
    }
}

const MOST_PENDING: usize = 10_000;
