//! The plugin's root context: loads the configuration, creates HTTP contexts, and sends the gateway's own calls.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::abi::{self, Buffer, Map};
use super::http::{Http, note, read};
use super::metrics;
use super::streams::Streams;
use super::world::{Envoy, begin_callback, set_clock};
use crate::clock::Millis;
use crate::gateway::start::{load, seed};
use crate::gateway::worker::{Agenda, CallId, Worker};
use crate::seam::{Answer, Lost};

/// The root context of one plugin configuration in one VM.
#[derive(Default)]
pub(super) struct Root {
    worker: Option<Rc<Worker>>,
    streams: Rc<Streams>,
    /// Calls without an answer yet, and the maximum size of the answer in bytes, by the host's token.
    calls: BTreeMap<u32, (CallId, usize)>,
}

impl Root {
    fn attend(&mut self) {
        self.streams.called();
        let Some(worker) = self.worker.clone() else {
            return;
        };
        let agenda = worker.attend(&Envoy);
        self.streams
            .tick_every(if agenda.is_awaited { FAST_TICK } else { SLOW_TICK });
        self.carry_out(&worker, agenda);
    }

    /// Carries out an agenda, and what follows from it: streams that are woken up may wait for further calls.
    fn carry_out(&mut self, worker: &Worker, agenda: Agenda) {
        let mut agenda = Some(agenda);
        while let Some(next) = agenda {
            self.carry_out_once(worker, next);
            agenda = self.streams.wait_again().then(|| worker.calls(&Envoy));
        }
    }

    fn carry_out_once(&mut self, worker: &Worker, agenda: Agenda) {
        note(agenda.notes);
        let mut wakeups = agenda.wakeups;
        let mut calls = VecDeque::from(agenda.calls);
        while let Some((id, call)) = calls.pop_front() {
            let headers = call.headers.iter();
            let headers = headers.map(|(name, value)| (name.as_ref(), value.as_str())).collect();
            let body = (!call.body.is_empty()).then_some(call.body.as_slice());
            match self.dispatch_http_call(&call.cluster, headers, body, Vec::new(), call.timeout) {
                Ok(token) => drop(self.calls.insert(token, (id, call.max_body))),
                Err(_) => {
                    let agenda = worker.answered(id, Err(Lost::Unsent), &Envoy);
                    note(agenda.notes);
                    calls.extend(agenda.calls);
                    wakeups.extend(agenda.wakeups);
                }
            }
        }
        for (stream, wakeup) in wakeups {
            self.streams.wake(stream, wakeup);
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _headers: usize, body_size: usize, trailers: usize) {
        begin_callback();
        let (Some((id, max_body)), Some(worker)) = (self.calls.remove(&token), self.worker.clone()) else {
            return;
        };
        // One byte more than allowed shows that the body is too large.
        let body = abi::buffer(Buffer::CallResponse, body_size.min(max_body.saturating_add(1))).unwrap_or_default();
        let answer = Answer {
            headers: read(Map::CallResponseHeaders).unwrap_or_default(),
            trailers: (trailers > 0)
                .then(|| read(Map::CallResponseTrailers))
                .flatten()
                .unwrap_or_default(),
            body,
        };
        let agenda = worker.answered(id, Ok(answer), &Envoy);
        self.carry_out(&worker, agenda);
    }
}

impl RootContext for Root {
    /// Reads the log level, so that dropped messages cost no host call.
    fn on_vm_start(&mut self, _size: usize) -> bool {
        proxy_wasm::set_log_level(abi::log_level());
        true
    }

    /// Loads the configuration. `false` refuses it: Envoy then does not start, or keeps its present configuration.
    fn on_configure(&mut self, _size: usize) -> bool {
        begin_callback();
        set_clock();
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        let Some(plan) = load(&bytes) else { return false };
        let calls_others = !plan.callers.is_empty();
        let worker = Worker::new(Arc::new(plan));
        worker.prepare(seed(), &Envoy);
        self.worker = Some(Rc::new(worker));
        // Calls begin at the first tick: this may be a temporary VM in which Envoy only validates the
        // configuration, and whose calls it does not send.
        self.streams
            .tick_every(if calls_others { FAST_TICK } else { SLOW_TICK });
        true
    }

    fn on_tick(&mut self) {
        begin_callback();
        set_clock();
        self.attend();
        metrics::flush();
    }

    /// Runs when a request has been suspended.
    fn on_queue_ready(&mut self, _: u32) {
        begin_callback();
        self.attend();
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        // A plugin whose configuration was refused gets no requests from Envoy.
        let worker = self.worker.clone()?;
        Some(Box::new(Http::new(id, worker, Rc::clone(&self.streams))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// The time between ticks while something is awaited.
const FAST_TICK: Millis = Millis::new(10);

/// The time between ticks otherwise. It delays counters, and a worker's copy of keys that another worker fetched.
const SLOW_TICK: Millis = Millis::new(1000);
