//! The HTTP context of one request.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::abi::{self, Buffer, HostError, Map};
use super::edits::carry_out;
use super::metrics;
use super::streams::Streams;
use super::world::{Envoy, begin_callback};
use crate::exchange::Exchange;
use crate::gateway::worker::Worker;
use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};
use crate::seam::{Event, HostFailure, Note, Reply, Step, StreamId, Then};

pub(super) struct Http {
    stream: StreamId,
    exchange: SharedExchange,
    worker: Rc<Worker>,
    streams: Rc<Streams>,
}

/// An exchange, shared with the root context, which wakes up suspended ones.
#[derive(Clone)]
pub(super) struct SharedExchange(Rc<RefCell<Exchange>>);

impl SharedExchange {
    pub(super) fn borrow_mut(&self) -> RefMut<'_, Exchange> {
        self.0.borrow_mut()
    }
}

/// The message to which a step applies.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    direction: Direction,
    map: Map,
    body: Buffer,
    /// Its headers, if they were read.
    headers: Option<&'a Headers>,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// The message continues.
    Continue,
    /// A local reply was sent.
    Replied,
    /// The message is held until more of its body comes.
    Hold,
    /// The message is suspended until a wake-up.
    Wait,
}

impl Http {
    pub(super) fn new(id: u32, worker: Rc<Worker>, streams: Rc<Streams>) -> Self {
        let stream = StreamId(id.into());
        let exchange = Exchange::new(Rc::clone(&worker), stream);
        Self {
            stream,
            exchange: SharedExchange(Rc::new(RefCell::new(exchange))),
            worker,
            streams,
        }
    }

    /// Passes an event to the exchange, and carries out its step.
    fn tell(&self, event: Event<'_>, message: Message<'_>) -> Action {
        let step = self.exchange.borrow_mut().on(event, &Envoy);
        match message.carry_out(step, &self.exchange) {
            Applied::Continue => Action::Continue,
            Applied::Replied | Applied::Hold => Action::Pause,
            Applied::Wait => {
                self.streams.hold(self.stream, &self.exchange);
                Action::Pause
            }
        }
    }

    fn fail(&self, failure: HostFailure, message: Message<'_>) -> Action {
        self.tell(Event::HostFailed(message.direction, failure), message)
    }

    fn asks(&self, question: impl FnOnce(&Exchange) -> bool) -> bool {
        question(&self.exchange.borrow_mut())
    }

    /// Handles a piece of a body.
    fn on_body(&self, message: Message<'_>, size: usize, ends: bool) -> Action {
        if !self.asks(|exchange| exchange.watches(message.direction)) {
            return Action::Continue;
        }
        begin_callback();
        let chunk = Chunk {
            size,
            ends,
            read: &|| held(message.body, size),
        };
        let event = match message.direction {
            Direction::Request => Event::RequestBody(chunk),
            Direction::Response => Event::ResponseBody(chunk),
        };
        self.tell(event, message)
    }

    /// The size of the held body, in bytes, when trailers end it. Envoy has no buffer for an empty body.
    fn held_at_trailers(&self, message: Message<'_>) -> Result<usize, HostFailure> {
        match self.asks(|exchange| exchange.holds(message.direction)) {
            true => abi::buffer_size(message.body).or_else(|error| match error {
                HostError::NOT_FOUND => Ok(0),
                HostError(status) => Err(HostFailure::Call(status)),
            }),
            false => Ok(0),
        }
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        begin_callback();
        let Some(headers) = read(Map::RequestHeaders).map(Rc::new) else {
            return self.fail(HostFailure::RequestUnreadable, REQUEST);
        };
        // Read before any header is changed: a change makes Envoy clear its selected route.
        let route_name = self.asks(Exchange::needs_route_name).then(route_name).flatten();
        let event = Event::RequestHeaders {
            headers: Rc::clone(&headers),
            route_name,
            has_body: !end_of_stream,
        };
        self.tell(event, Message::with(Direction::Request, &headers))
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.on_body(REQUEST, size, end_of_stream)
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        begin_callback();
        let Some(trailers) = read(Map::RequestTrailers) else {
            return self.fail(HostFailure::TrailersUnreadable, REQUEST);
        };
        let message = Message {
            map: Map::RequestTrailers,
            headers: Some(&trailers),
            ..REQUEST
        };
        let size = match self.held_at_trailers(message) {
            Ok(size) => size,
            Err(failure) => return self.fail(failure, message),
        };
        let body = Chunk {
            size,
            ends: true,
            read: &|| held(message.body, size),
        };
        let event = Event::RequestTrailers {
            trailers: &trailers,
            body,
        };
        self.tell(event, message)
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if self.asks(Exchange::needs_taken_route) {
            let taken = route_name();
            if self.tell(Event::RouteTaken(taken.as_deref()), RESPONSE) == Action::Pause {
                return Action::Pause;
            }
        }
        if !self.asks(Exchange::changes_response) {
            return Action::Continue;
        }
        let is_read = self.asks(Exchange::needs_response_headers);
        let headers = if is_read {
            read(Map::ResponseHeaders)
        } else {
            Some(Headers::default())
        };
        let Some(headers) = headers.map(Rc::new) else {
            return self.fail(HostFailure::ResponseUnreadable, RESPONSE);
        };
        begin_callback();
        let event = Event::ResponseHeaders {
            headers: Rc::clone(&headers),
            has_body: !end_of_stream,
        };
        let message = Message {
            headers: is_read.then_some(&headers),
            ..RESPONSE
        };
        self.tell(event, message)
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.on_body(RESPONSE, size, end_of_stream)
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        match self.held_at_trailers(RESPONSE) {
            Ok(size) => self.on_body(RESPONSE, size, true),
            Err(failure) => self.fail(failure, RESPONSE),
        }
    }
}

impl Drop for Http {
    /// Runs when the request has ended or the client has disconnected.
    fn drop(&mut self) {
        self.worker.leave(self.stream);
        self.streams.leave(self.stream);
    }
}

impl<'a> Message<'a> {
    pub(super) fn with(direction: Direction, headers: &'a Headers) -> Self {
        let message = match direction {
            Direction::Request => REQUEST,
            Direction::Response => RESPONSE,
        };
        Self {
            headers: Some(headers),
            ..message
        }
    }

    /// Carries out a step. If a host call fails, the exchange gets [`Event::HostFailed`], and that step is carried out
    /// instead.
    pub(super) fn carry_out(self, step: Step, exchange: &SharedExchange) -> Applied {
        match self.apply(step) {
            Ok(applied) => applied,
            Err(HostError(status)) => {
                let event = Event::HostFailed(self.direction, HostFailure::Call(status));
                let step = exchange.borrow_mut().on(event, &Envoy);
                self.apply(step).unwrap_or_else(|HostError(status)| {
                    log::error!(
                        "a host call failed with status {status} while a request was refused: the request stays paused without an answer"
                    );
                    Applied::Replied
                })
            }
        }
    }

    fn apply(self, step: Step) -> Result<Applied, HostError> {
        let Step {
            headers,
            body,
            notes,
            then,
        } = step;
        note(notes);
        if let Err(error) = carry_out(self.map, &headers, self.headers) {
            // Both failures are harmless: a refusal is sent anyway, and a response whose headers were not read only
            // lacks information for the client.
            let consequence = match (&then, self.headers) {
                (Then::Respond(_), _) => {
                    "the headers of a refused request could not be changed: the access log may show values that the client sent"
                }
                (_, None) => {
                    "the rate limit headers of a response could not be set: the client does not learn its remaining quota"
                }
                _ => return Err(error),
            };
            log::warn!("{consequence}");
        }
        if let Some(bytes) = body {
            abi::set_buffer(self.body, &bytes)?;
        }
        Ok(match then {
            Then::Continue => Applied::Continue,
            Then::Hold => Applied::Hold,
            Then::Wait => Applied::Wait,
            Then::Respond(reply) => {
                send(&reply)?;
                Applied::Replied
            }
        })
    }
}

/// Writes counters, log lines and filter state. Failures do not affect the request.
pub(super) fn note(notes: Vec<Note>) {
    for note in notes {
        match note {
            Note::Count(name) => metrics::count(name),
            Note::Observe(name, value) => metrics::observe(name, value),
            Note::Log(level, message) if level <= log::max_level() => abi::log(level, &message),
            Note::Log(..) => {}
            Note::State(name, value) => {
                if abi::set_property(name, &value).is_err() {
                    log::warn!("the filter state {name} could not be set: the access log lacks it");
                }
            }
        }
    }
}

/// The bytes of a held body; `None` if they cannot be read.
fn held(body: Buffer, size: usize) -> Option<Vec<u8>> {
    match size {
        0 => Some(Vec::new()),
        _ => abi::buffer(body, size).ok(),
    }
}

/// A whole header map; `None` if it cannot be read.
pub(super) fn read(map: Map) -> Option<Headers> {
    abi::header_map(map).ok().and_then(|bytes| Headers::decode(bytes).ok())
}

/// The name of the route that Envoy selected last.
fn route_name() -> Option<String> {
    let name = abi::property(&["xds", "route_name"])?;
    String::from_utf8(name).ok()
}

fn send(reply: &Reply) -> Result<(), HostError> {
    let headers: Vec<_> = reply.headers.iter().collect();
    let grpc_status = reply.grpc_status.map_or(-1, i32::from);
    abi::reply(reply.status, &reply.details, &headers, &reply.body, grpc_status)
}

const REQUEST: Message<'static> = Message {
    direction: Direction::Request,
    map: Map::RequestHeaders,
    body: Buffer::Request,
    headers: None,
};

const RESPONSE: Message<'static> = Message {
    direction: Direction::Response,
    map: Map::ResponseHeaders,
    body: Buffer::Response,
    headers: None,
};
