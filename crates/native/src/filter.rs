//! One request with its response: events go to the core, and what it says is carried out.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tollgate::exchange::Exchange;
use tollgate::http::headers::Headers;
use tollgate::http::piece::{Chunk, Direction};
use tollgate::seam::{Event, HostFailure, Reply, Step, StreamId, Then};

use crate::abi::{Attribute, Body, Failed, Map, Stream};
use crate::crew::{Crew, Via};
use crate::gateway::Gateway;

/// Ours of one filter.
pub(crate) struct Filter {
    pub(crate) seat: Rc<Seat>,
    pub(crate) crew: Rc<Crew>,
}

/// What a suspended stream is woken up with.
pub(crate) struct Seat {
    pub(crate) id: StreamId,
    pub(crate) stream: Stream,
    pub(crate) exchange: RefCell<Exchange>,
}

/// In which hook a step is carried out: it tells where the body is, and what is known of the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase<'a> {
    /// With the headers as they have come, where they were read.
    Headers(Option<&'a Headers>),
    Body,
    Trailers,
    /// In none of the message's own.
    Woken,
}

/// What becomes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Continue,
    /// An answer was sent.
    Replied,
    /// Until more of its body comes.
    Hold,
    /// Until it is woken up.
    Wait,
}

impl Filter {
    pub(crate) fn new(gateway: &Arc<Gateway>, stream: Stream) -> Self {
        let crew = Crew::of(gateway);
        let id = crew.next_stream();
        let exchange = RefCell::new(Exchange::new(Rc::clone(&crew.worker), id));
        let seat = Rc::new(Seat { id, stream, exchange });
        Self { seat, crew }
    }

    pub(crate) fn via(&self) -> Via {
        Via::Stream(self.seat.id, self.seat.stream)
    }

    pub(crate) fn on_request_headers(&self, ends: bool) -> Applied {
        self.crew.attend_at_times(self.via());
        let Some(headers) = self.seat.stream.headers(Map::RequestHeaders) else {
            return self.fail(HostFailure::RequestUnreadable, Direction::Request, Phase::Headers(None));
        };
        let headers = Rc::new(headers);
        let route_name = self
            .asks(Exchange::needs_route_name)
            .then(|| self.seat.stream.text(Attribute::RouteName));
        let event = Event::RequestHeaders {
            headers: Rc::clone(&headers),
            route_name: route_name.flatten(),
            has_body: !ends,
        };
        self.tell(event, Direction::Request, Phase::Headers(Some(&headers)))
    }

    pub(crate) fn on_response_headers(&self, ends: bool) -> Applied {
        if self.asks(Exchange::needs_taken_route) {
            let taken = self.seat.stream.text(Attribute::RouteName);
            let event = Event::RouteTaken(taken.as_deref());
            let applied = self.tell(event, Direction::Response, Phase::Headers(None));
            if applied != Applied::Continue {
                return applied;
            }
        }
        if !self.asks(Exchange::changes_response) {
            return Applied::Continue;
        }
        let headers = match self.asks(Exchange::needs_response_headers) {
            true => self.seat.stream.headers(Map::ResponseHeaders),
            false => Some(Headers::default()),
        };
        let Some(headers) = headers else {
            return self.fail(
                HostFailure::ResponseUnreadable,
                Direction::Response,
                Phase::Headers(None),
            );
        };
        let event = Event::ResponseHeaders {
            headers: Rc::new(headers),
            has_body: !ends,
        };
        self.tell(event, Direction::Response, Phase::Headers(None))
    }

    /// Handles a piece of a body; in `Phase::Trailers` there is none but what is held.
    pub(crate) fn on_body(&self, direction: Direction, ends: bool, phase: Phase<'_>) -> Applied {
        if !self.asks(|exchange| exchange.watches(direction)) {
            return Applied::Continue;
        }
        let held = self.held(direction, phase);
        let read = || held.read();
        let event = match direction {
            Direction::Request => Event::RequestBody(held.chunk(ends, &read)),
            Direction::Response => Event::ResponseBody(held.chunk(ends, &read)),
        };
        self.tell(event, direction, phase)
    }

    pub(crate) fn on_request_trailers(&self) -> Applied {
        let direction = Direction::Request;
        let Some(trailers) = self.seat.stream.headers(Map::RequestTrailers) else {
            return self.fail(HostFailure::TrailersUnreadable, direction, Phase::Trailers);
        };
        let held = self.held(direction, Phase::Trailers);
        let read = || held.read();
        let event = Event::RequestTrailers {
            trailers: &trailers,
            body: held.chunk(true, &read),
        };
        self.tell(event, direction, Phase::Trailers)
    }

    fn held(&self, direction: Direction, phase: Phase<'_>) -> Held {
        let (received, buffered) = bodies(direction);
        let stream = self.seat.stream;
        let holds = self.asks(|exchange| exchange.holds(direction));
        let parts = match phase {
            Phase::Body if holds && !stream.is_buffered(received) => vec![buffered, received],
            Phase::Body => vec![received],
            _ if holds => vec![buffered],
            _ => Vec::new(),
        };
        Held { stream, parts }
    }

    fn tell(&self, event: Event<'_>, direction: Direction, phase: Phase<'_>) -> Applied {
        let step = self
            .seat
            .exchange
            .borrow_mut()
            .on(event, &self.crew.gateway.here(Some(self.seat.stream)));
        let applied = self.seat.carry_out(step, direction, phase, &self.crew);
        if applied == Applied::Wait {
            self.crew.suspend(&self.seat);
        }
        applied
    }

    fn fail(&self, failure: HostFailure, direction: Direction, phase: Phase<'_>) -> Applied {
        self.tell(Event::HostFailed(direction, failure), direction, phase)
    }

    fn asks(&self, question: impl FnOnce(&Exchange) -> bool) -> bool {
        question(&self.seat.exchange.borrow())
    }
}

/// The bytes of a body that an event is about.
struct Held {
    stream: Stream,
    parts: Vec<Body>,
}

impl Held {
    fn chunk<'a>(&self, ends: bool, read: &'a dyn Fn() -> Option<Vec<u8>>) -> Chunk<'a> {
        let sizes = self.parts.iter().map(|part| self.stream.body_size(*part));
        Chunk {
            size: sizes.fold(0, usize::saturating_add),
            ends,
            read,
        }
    }

    fn read(&self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.append(&mut self.stream.body(*part)?);
        }
        Some(all)
    }
}

impl Seat {
    /// Carries out a step. If Envoy fails, the core says what then.
    pub(crate) fn carry_out(&self, step: Step, direction: Direction, phase: Phase<'_>, crew: &Crew) -> Applied {
        match self.apply(step, direction, phase, crew) {
            Ok(applied) => applied,
            Err(Failed) => {
                let event = Event::HostFailed(direction, HostFailure::Call(0));
                let step = self
                    .exchange
                    .borrow_mut()
                    .on(event, &crew.gateway.here(Some(self.stream)));
                self.apply(step, direction, phase, crew).unwrap_or(Applied::Replied)
            }
        }
    }

    fn apply(&self, step: Step, direction: Direction, phase: Phase<'_>, crew: &Crew) -> Result<Applied, Failed> {
        let Step {
            headers,
            body,
            notes,
            then,
        } = step;
        crew.note(notes, Some(self.stream));
        let map = match (direction, phase) {
            (Direction::Request, Phase::Trailers) => Map::RequestTrailers,
            (Direction::Request, _) => Map::RequestHeaders,
            (Direction::Response, _) => Map::ResponseHeaders,
        };
        let mut changed = headers.iter();
        let is_new = |name: &[u8]| match phase {
            Phase::Headers(Some(received)) => received.all_bytes(name).next().is_none(),
            _ => false,
        };
        let changed = changed.try_for_each(|(name, values)| match is_new(name) {
            true => self.stream.add_header(map, name, values),
            false => self.stream.set_header(map, name, values),
        });
        // A refusal is sent all the same.
        if changed.is_err() && !matches!(then, Then::Respond(_)) {
            return Err(Failed);
        }
        if map == Map::RequestHeaders && !headers.is_empty() {
            self.stream.clear_route();
        }
        if let Some(bytes) = body {
            self.replace(direction, phase, &bytes)?;
        }
        Ok(match then {
            Then::Continue => Applied::Continue,
            Then::Hold => Applied::Hold,
            Then::Wait => Applied::Wait,
            Then::Respond(reply) => {
                self.respond(&reply);
                Applied::Replied
            }
        })
    }

    fn replace(&self, direction: Direction, phase: Phase<'_>, bytes: &[u8]) -> Result<(), Failed> {
        let (received, buffered) = bodies(direction);
        match phase {
            Phase::Body => {
                if !self.stream.is_buffered(received) {
                    self.stream.drain(buffered);
                }
                self.stream.drain(received);
                self.stream.append(received, bytes)
            }
            _ => {
                self.stream.drain(buffered);
                self.stream.append(buffered, bytes)
            }
        }
    }

    fn respond(&self, reply: &Reply) {
        let grpc_status = reply.grpc_status.map(|status| status.to_string());
        let mut headers: Vec<_> = reply.headers.iter().collect();
        headers.extend(
            grpc_status
                .iter()
                .map(|status| (&b"grpc-status"[..], status.as_bytes())),
        );
        self.stream.respond(reply.status, &headers, &reply.body, &reply.details);
    }
}

/// What has come with an event, and what is held.
const fn bodies(direction: Direction) -> (Body, Body) {
    match direction {
        Direction::Request => (Body::ReceivedRequest, Body::BufferedRequest),
        Direction::Response => (Body::ReceivedResponse, Body::BufferedResponse),
    }
}
