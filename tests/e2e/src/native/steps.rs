//! The world of a file's steps without Envoy: one worker, and a clock that goes when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tollgate::exchange::Exchange;
use tollgate::gateway::worker::{Agenda, CallId, Worker};
use tollgate::http::headers::Headers;
use tollgate::seam::simulated::Simulated;
use tollgate::seam::{Answer, Call, StreamId};

use super::{Phase, Run, begin, plan};
use crate::case::{Case, CaseFile};
use crate::steps::{self, Answered, Received, World};

/// Runs the steps of a file; what differs from what they expect.
pub fn run_steps(file: &CaseFile) -> Vec<String> {
    let (worker, world) = begin(&plan(file));
    let mut native = Native {
        worker,
        world,
        runs: BTreeMap::new(),
        streams: BTreeMap::new(),
        calls: Vec::new(),
    };
    native.attend();
    steps::run(file, &mut native)
}

struct Native {
    worker: Rc<Worker>,
    world: Simulated,
    runs: BTreeMap<String, Run>,
    /// Names of the requests.
    streams: BTreeMap<StreamId, String>,
    calls: Vec<UnderWay>,
}

/// A call that a service has received.
struct UnderWay {
    call: Rc<Call>,
    /// `None` once it is answered, or was given up.
    id: Option<CallId>,
    /// The moment at which the host gives it up.
    until: u64,
}

impl Native {
    /// Does what is to be done now, as with a tick of the shell's timer, until nothing is.
    fn attend(&mut self) {
        loop {
            let agenda = self.worker.attend(&self.world);
            let is_done = agenda.calls.is_empty() && agenda.wakeups.is_empty();
            self.carry_out(agenda);
            if is_done {
                return;
            }
        }
    }

    fn carry_out(&mut self, agenda: Agenda) {
        let now = self.world.now.get();
        self.calls.extend(agenda.calls.into_iter().map(|(id, call)| UnderWay {
            until: now + call.timeout.as_millis() as u64,
            id: Some(id),
            call,
        }));
        for (stream, wakeup) in agenda.wakeups {
            let run = self.streams.get(&stream).and_then(|name| self.runs.get_mut(name));
            if let Some(run) = run {
                run.wake(wakeup, &self.world);
            }
        }
    }

    /// Answers the call of this place, if it is still under way.
    fn answered(&mut self, place: usize, answer: &Answer) {
        if let Some(id) = self.calls[place].id.take() {
            let agenda = self.worker.answered(id, Ok(answer.clone()), &self.world);
            self.carry_out(agenda);
        }
    }

    fn answer_with(&mut self, number: usize, answer: &Answer) {
        self.answered(number, answer);
        self.attend();
    }

    /// As Envoy does when a call's time is over.
    fn give_up(&mut self) {
        let timeout = Answer {
            headers: [(":status", "504")].into_iter().collect(),
            body: b"upstream request timeout".to_vec(),
            ..Answer::default()
        };
        for place in 0..self.calls.len() {
            if self.calls[place].until <= self.world.now.get() {
                self.answered(place, &timeout);
            }
        }
    }
}

impl World for Native {
    fn send(&mut self, case: &Case) {
        let stream = StreamId(self.streams.len() as u64);
        self.streams.insert(stream, case.name.clone());
        let run = Run::start(Exchange::new(Rc::clone(&self.worker), stream), case, &self.world);
        self.runs.insert(case.name.clone(), run);
        self.attend();
    }

    fn received(&self) -> Vec<Received> {
        let open = self.calls.iter().enumerate().filter(|(_, call)| call.id.is_some());
        let received = open.map(|(number, UnderWay { call, .. })| Received {
            number,
            service: call.cluster.clone(),
            headers: call
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            body: call.body.clone(),
        });
        received.collect()
    }

    fn answer(&mut self, number: usize, answer: &Answered) {
        if answer.reset {
            return self.answer_with(number, &Answer::default());
        }
        let status = [(":status".to_owned(), answer.status.to_string())];
        let headers = answer.all_headers();
        let headers: Headers = status
            .iter()
            .chain(&headers)
            .map(|(name, value)| (name, value))
            .collect();
        let answer = Answer {
            headers,
            trailers: answer.trailers().into_iter().collect(),
            body: answer.bytes(),
        };
        self.answer_with(number, &answer);
    }

    fn waiting(&self) -> BTreeSet<String> {
        let waiting = self.runs.iter().filter(|(_, run)| !matches!(run.phase, Phase::Over(_)));
        waiting.map(|(name, _)| name.clone()).collect()
    }

    fn differences(&mut self, case: &Case) -> Vec<String> {
        self.runs[&case.name].differences(case)
    }

    /// In ticks of the shell's timer.
    fn pass(&mut self, time: Duration) -> bool {
        let end = self.world.now.get() + time.as_millis() as u64;
        while self.world.now.get() < end {
            let tick = if self.waiting().is_empty() {
                SLOW_TICK
            } else {
                FAST_TICK
            };
            self.world.now.set(end.min(self.world.now.get() + tick));
            self.give_up();
            self.attend();
        }
        true
    }

    /// Whatever follows has happened already.
    fn settle(&mut self) -> bool {
        false
    }
}

/// Milliseconds between ticks while requests wait, and otherwise.
const FAST_TICK: u64 = 10;
const SLOW_TICK: u64 = 1000;
