//! The exchange of one request: an event in, a step out.

mod answer;
mod refusal;
mod request;
mod response;

use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Millis;
use crate::denial::{Denial, DenialKind};
use crate::gateway::plan::{Plan, Route};
use crate::gateway::worker::Worker;
use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};
use crate::message::body::{Body, Fate};
use crate::message::request::{OnResponse, Request};
use crate::message::response::{Response, Tap};
use crate::seam::{Context, Event, Host, HostFailure, Note, Step, StreamId, Then, Wakeup};

use refusal::Caller;

/// One request with its response. It keeps its plan when the configuration changes.
#[derive(Debug)]
pub struct Exchange {
    worker: Rc<Worker>,
    stream: StreamId,
    /// How long it may still be suspended, over all of its waits.
    patience: Millis,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No event has come.
    Begun,
    /// The request is suspended until its policies can decide.
    Suspended(Box<Suspended>),
    /// A policy reads the request's body, which is held until it is complete. Its headers have gone on.
    Reading(Box<Deciding>),
    /// The request was allowed.
    Passed(Box<Passed>),
    /// The gateway has answered it.
    Over,
}

#[derive(Debug)]
struct Suspended {
    deciding: Deciding,
    /// The deadline of all waits together, of the monotonic clock; `None` if this wait has a time of its own.
    until: Option<Millis>,
}

/// A request that policies are deciding about.
#[derive(Debug)]
struct Deciding {
    request: Request,
    route: Arc<Route>,
    /// The index of the next policy.
    place: usize,
    /// Whether a body has come before the decision, as with Envoy's `allow_on_headers_stop_iteration`. Envoy does not
    /// repeat the event.
    has_early_body: bool,
    /// Whether the request's headers have gone on, so that they cannot change any more.
    has_gone_on: bool,
}

/// The state of an allowed request.
#[derive(Debug)]
struct Passed {
    route: Arc<Route>,
    /// The Envoy route for which the request was allowed, if changed headers make Envoy select again: it must be the same.
    judged: Option<String>,
    caller: Caller,
    request_body: Body,
    /// What policies do with the response, in order.
    hooks: Vec<Box<dyn OnResponse>>,
    responding: Option<Responding>,
    response_body: Body,
    tap: Option<Box<dyn Tap>>,
    /// Headers to set in the response after all other changes.
    told: Vec<(&'static str, String)>,
}

/// A suspended response.
#[derive(Debug)]
struct Responding {
    response: Response,
    place: usize,
    /// The deadline, of the monotonic clock.
    until: Millis,
    early: Option<Early>,
}

/// A body that came while its response was suspended, as with Envoy's `allow_on_headers_stop_iteration`. Envoy does not
/// repeat the event.
#[derive(Debug, Clone, Copy)]
struct Early {
    is_whole: bool,
}

/// The result of a wake-up.
#[derive(Debug)]
pub struct Woken {
    /// The message that was woken up.
    pub direction: Direction,
    /// The headers of this message, as received.
    pub headers: Rc<Headers>,
    /// What to do with this message.
    pub step: Step,
}

impl Exchange {
    /// Begins the exchange of this stream.
    pub fn new(worker: Rc<Worker>, stream: StreamId) -> Self {
        Self {
            worker,
            stream,
            patience: PATIENCE,
            state: State::Begun,
        }
    }

    /// An exchange that is never suspended, as if there were no place for it.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn impatient(worker: Rc<Worker>, stream: StreamId) -> Self {
        Self {
            patience: Millis::ZERO,
            ..Self::new(worker, stream)
        }
    }

    /// Whether the first event should carry Envoy's route name.
    pub fn needs_route_name(&self) -> bool {
        self.plan().needs_route_name
    }

    /// Whether [`Event::RouteTaken`] is needed with the response.
    pub fn needs_taken_route(&self) -> bool {
        self.passed().is_some_and(|passed| passed.judged.is_some())
    }

    /// Whether anything happens to the response.
    pub fn changes_response(&self) -> bool {
        self.needs_response_headers() || self.passed().is_some_and(|passed| !passed.told.is_empty())
    }

    /// Whether the response's headers are needed.
    pub fn needs_response_headers(&self) -> bool {
        self.passed().is_some_and(|passed| !passed.hooks.is_empty())
    }

    /// Whether events for a message's body are needed.
    pub fn watches(&self, direction: Direction) -> bool {
        match (&self.state, direction) {
            (State::Suspended(_) | State::Reading(_), Direction::Request) => true,
            (State::Passed(passed), Direction::Request) => passed.request_body.is_watched(),
            (State::Passed(passed), Direction::Response) => {
                passed.responding.is_some() || passed.tap.is_some() || passed.response_body.is_watched()
            }
            _ => false,
        }
    }

    /// Whether a message's body is held until it is complete.
    pub fn holds(&self, direction: Direction) -> bool {
        match (&self.state, direction) {
            (State::Reading(_), Direction::Request) => true,
            (State::Passed(passed), Direction::Request) => passed.request_body.is_held(),
            (State::Passed(passed), Direction::Response) => passed.response_body.is_held(),
            _ => false,
        }
    }

    /// Handles one event. The step applies to the message of the event.
    pub fn on(&mut self, event: Event<'_>, host: &dyn Host) -> Step {
        match event {
            Event::RequestHeaders {
                headers,
                route_name,
                has_body,
            } => self.on_request(headers, route_name, has_body, host),
            Event::RequestTrailers { trailers, body } => self.on_trailers(trailers, &body, host),
            Event::RouteTaken(route) => self.on_taken_route(route),
            Event::ResponseHeaders { headers, has_body } => self.on_response(headers, has_body, host),
            Event::RequestBody(chunk) => self.on_body(Direction::Request, &chunk, host),
            Event::ResponseBody(chunk) => self.on_body(Direction::Response, &chunk, host),
            Event::HostFailed(direction, failure) => self.on_failure(direction, failure, host),
        }
    }

    /// Continues a suspended message; `None` if there is none.
    pub fn wake(&mut self, wakeup: Wakeup, host: &dyn Host) -> Option<Woken> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Suspended(suspended) => {
                let headers = Rc::clone(suspended.deciding.request.headers());
                if let Some(until) = suspended.until {
                    self.patience = left(until, wakeup, host);
                }
                let step = self.decide(suspended.deciding, host);
                Some(Woken {
                    direction: Direction::Request,
                    headers,
                    step,
                })
            }
            State::Passed(mut passed) => {
                let responding = passed.responding.take();
                self.state = State::Passed(passed);
                let responding = responding?;
                let headers = Rc::clone(responding.response.received());
                self.patience = left(responding.until, wakeup, host);
                let step = self.respond(responding.response, responding.place, responding.early, host);
                Some(Woken {
                    direction: Direction::Response,
                    headers,
                    step,
                })
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    fn plan(&self) -> &Arc<Plan> {
        self.worker.plan()
    }

    fn passed(&self) -> Option<&Passed> {
        match &self.state {
            State::Passed(passed) => Some(passed),
            _ => None,
        }
    }

    /// Strips the trailers in every state, as Envoy does not repeat this event for a request that is held.
    fn on_trailers(&mut self, trailers: &Headers, body: &Chunk<'_>, host: &dyn Host) -> Step {
        let mut step = match self.watches(Direction::Request) {
            true => self.on_body(Direction::Request, body, host),
            false => Step::default(),
        };
        let plan = self.plan();
        step.headers.remove_all(plan.managed.found_in(trailers));
        step.headers.remove_all(plan.method_overrides.found_in(trailers));
        step
    }

    fn on_body(&mut self, direction: Direction, chunk: &Chunk<'_>, host: &dyn Host) -> Step {
        let held = Step::hold();
        match &mut self.state {
            // To continue the body would also continue the headers, before the decision.
            State::Suspended(suspended) if direction == Direction::Request => {
                suspended.deciding.has_early_body = true;
                return held;
            }
            State::Reading(_) if direction == Direction::Request => return self.read(chunk, host),
            _ => {}
        }
        let State::Passed(passed) = &mut self.state else {
            return Step::default();
        };
        if direction == Direction::Response {
            if let Some(responding) = &mut passed.responding {
                responding.early = Some(Early { is_whole: chunk.ends });
                return held;
            }
            record(passed, chunk, &self.worker.context(host));
        }
        let body = match direction {
            Direction::Request => &mut passed.request_body,
            Direction::Response => &mut passed.response_body,
        };
        let mut notes = Vec::new();
        let fate = body.on_chunk(&passed.route.name, chunk, &mut notes);
        if chunk.ends {
            *body = Body::new(direction);
        }
        let fate = match fate {
            Ok(fate) => fate,
            Err(denial) => return self.refuse_late(direction, denial, notes),
        };
        if chunk.ends && direction == Direction::Request {
            notes.push(Note::Count(Arc::clone(&passed.route.passed)));
        }
        let (body, then) = match fate {
            Fate::Passes => (None, Then::Continue),
            Fate::Held => (None, Then::Hold),
            Fate::Becomes(bytes) => (Some(bytes), Then::Continue),
            // Only a policy that has not decided yet reads a body.
            Fate::Whole(_) => (None, Then::Continue),
        };
        Step {
            body,
            notes,
            then,
            ..Step::default()
        }
    }

    /// Checks which route Envoy took. Envoy tells this only after it has sent the request, so only the response can be
    /// withheld.
    fn on_taken_route(&mut self, taken: Option<&str>) -> Step {
        let judged = match &mut self.state {
            State::Passed(passed) => passed.judged.take(),
            _ => None,
        };
        let (Some(judged), Some(taken)) = (judged, taken.filter(|taken| !taken.is_empty())) else {
            return Step::default();
        };
        if judged == taken {
            return Step::default();
        }
        let message = format!(
            "Envoy's route {taken} matches on something that the plugin changes: it took a request that was checked for route {judged}; the response is withheld (503)"
        );
        let denial = Denial::new(DenialKind::Unavailable, "route_changed");
        self.refuse_late(Direction::Response, denial, vec![Note::Log(log::Level::Error, message)])
    }

    /// Refuses the rest of the message, because a host call failed.
    fn on_failure(&mut self, direction: Direction, failure: HostFailure, host: &dyn Host) -> Step {
        self.worker.leave(self.stream);
        let denial = Denial::new(DenialKind::Unavailable, failure.reason());
        let cause = match failure {
            HostFailure::Call(status) => format!("a host call failed with status {status}"),
            HostFailure::RequestUnreadable => "the request's headers cannot be read".into(),
            HostFailure::TrailersUnreadable => "the request's trailers cannot be read".into(),
            HostFailure::ResponseUnreadable => "the response's headers cannot be read".into(),
        };
        let notes = vec![Note::Log(
            log::Level::Error,
            format!("{cause}; the request is refused (503)"),
        )];
        match std::mem::replace(&mut self.state, State::Over) {
            State::Passed(passed) => {
                self.state = State::Passed(passed);
                self.refuse_late(direction, denial, notes)
            }
            State::Suspended(suspended) => self.fail(suspended.deciding, denial, notes, host),
            State::Reading(deciding) => self.fail(*deciding, denial, notes, host),
            State::Begun | State::Over => {
                let unknown = Headers::default();
                refusal::refuse(
                    self.plan(),
                    &unknown,
                    denial,
                    refusal::NO_ROUTE,
                    Default::default(),
                    notes,
                )
            }
        }
    }

    fn fail(&mut self, mut deciding: Deciding, denial: Denial, notes: Vec<Note>, host: &dyn Host) -> Step {
        deciding.request.notes.extend(notes);
        self.refuse(deciding, denial, host)
    }
}

/// Records a piece of the upstream's own response.
fn record(passed: &mut Passed, chunk: &Chunk<'_>, cx: &Context<'_>) {
    // The next event contains the held bytes again.
    if passed.response_body.is_held() && !chunk.ends {
        return;
    }
    match passed.tap.take().and_then(|tap| tap.take(chunk)) {
        Some(tap) if chunk.ends => tap.finish(cx),
        tap => passed.tap = tap,
    }
}

/// The time left for waits.
fn left(until: Millis, wakeup: Wakeup, host: &dyn Host) -> Millis {
    match wakeup {
        Wakeup::Due => until.saturating_sub(host.monotonic()),
        Wakeup::TimeOver => Millis::ZERO,
    }
}

/// How long one request with its response may be suspended, except for waits with a time of their own.
const PATIENCE: Millis = Millis::new(2000);

#[cfg(test)]
mod tests;
