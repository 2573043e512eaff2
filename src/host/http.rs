//! One request's context: events in, effects out.

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::abi::{self, Buffer, HostError, Map};
use super::edits::{Edits, Name};
use super::metrics;
use super::waiting::{Held, WaitingRoom};
use super::world::{Envoy, begin_callback};
use crate::body::{Chunk, Direction};
use crate::denial::{Denial, DenialKind};
use crate::effect::{Effect, Reply};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::fields::Values;
use crate::headers::Headers;
use crate::plan::Plan;
use crate::policy::fallback::Response;
use crate::remote::Wait;

/// One request, with its response.
pub(super) struct Http {
    id: u32,
    exchange: SharedExchange,
    plan: Option<Rc<Plan>>,
    waiting_room: Rc<WaitingRoom>,
}

/// Shared with the waiting room, where a request may be decided about. `None` before its headers.
pub(super) type SharedExchange = Rc<RefCell<Option<Exchange>>>;

/// A message that effects are carried out on.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    map: Map,
    body: Buffer,
    /// Its headers, where they have been read.
    headers: Option<&'a Headers>,
}

/// What became of effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// The message may go on.
    Continue,
    /// The request is answered.
    Replied,
    /// It must be held.
    Wait,
}

impl<'a> Message<'a> {
    /// The one of this direction, with these headers.
    pub(super) fn with(direction: Direction, headers: &'a Headers) -> Self {
        Self {
            headers: Some(headers),
            ..of(direction)
        }
    }
}

impl Http {
    /// `plan` is `None` only in a plugin whose configuration was refused, which Envoy gives no request.
    pub(super) fn new(id: u32, plan: Option<Rc<Plan>>, waiting_room: Rc<WaitingRoom>) -> Self {
        Self {
            id,
            exchange: SharedExchange::default(),
            plan,
            waiting_room,
        }
    }

    /// Tells the exchange, and does what it wants. Nothing is to be done before there is one.
    fn tell(&self, event: Event<'_>, message: Message<'_>) -> Applied {
        let effects = match self.exchange.borrow_mut().as_mut() {
            Some(exchange) => exchange.on(event, &Envoy),
            None => return Applied::Continue,
        };
        apply(effects, message)
    }

    fn asks(&self, question: impl FnOnce(&Exchange) -> bool) -> bool {
        self.exchange.borrow().as_ref().is_some_and(question)
    }

    /// More of a body is there.
    fn on_body(&self, direction: Direction, size: usize, ends: bool) -> Applied {
        if !self.asks(|exchange| exchange.watches(direction)) {
            return Applied::Continue;
        }
        begin_callback();
        let message = of(direction);
        let chunk = Chunk {
            size,
            ends,
            read: &|| held(message.body, size),
        };
        let event = match direction {
            Direction::Request => Event::RequestBody(chunk),
            Direction::Response => Event::ResponseBody(chunk),
        };
        self.tell(event, message)
    }

    /// Bytes that are held of a body that has ended with its trailers. Envoy has no buffer for a body without any.
    fn held_at_trailers(&self, direction: Direction) -> Result<usize, HostError> {
        match self.asks(|exchange| exchange.holds(direction)) {
            true => abi::buffer_size(of(direction).body).or_else(|error| match error {
                HostError::NOT_FOUND => Ok(0),
                _ => Err(error),
            }),
            false => Ok(0),
        }
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        begin_callback();
        let (Some(plan), Some(headers)) = (&self.plan, read(Map::RequestHeaders)) else {
            refuse("request_unreadable");
            return Action::Pause;
        };
        let mut exchange = Exchange::new(Rc::clone(plan));
        // Before any header is changed: a change makes Envoy forget the route that it has chosen.
        let route_name = exchange.needs_route_name().then(route_name).flatten();
        let has_body = !end_of_stream;
        let event = Event::RequestHeaders {
            headers: &headers,
            route_name: route_name.as_deref(),
            may_wait: self.waiting_room.has_room(),
            has_body,
        };
        let effects = exchange.on(event, &Envoy);
        self.exchange.replace(Some(exchange));
        let mut applied = apply(effects, Message::with(Direction::Request, &headers));
        if applied == Applied::Wait {
            let held = Held {
                exchange: Rc::clone(&self.exchange),
                direction: Direction::Request,
                headers,
                route_name,
                has_body,
            };
            applied = self.waiting_room.hold(self.id, held);
        }
        applied.action()
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.on_body(Direction::Request, size, end_of_stream).action()
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        begin_callback();
        let Some(trailers) = read(Map::RequestTrailers) else {
            refuse("trailers_unreadable");
            return Action::Pause;
        };
        let message = Message {
            map: Map::RequestTrailers,
            headers: Some(&trailers),
            ..REQUEST
        };
        let size = match self.held_at_trailers(Direction::Request) {
            Ok(size) => size,
            Err(error) => return failed(error).action(),
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
        self.tell(event, message).action()
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if self.asks(Exchange::needs_taken_route) {
            let taken = route_name();
            let effects = match self.exchange.borrow_mut().as_mut() {
                Some(exchange) => exchange.on_taken_route(taken.as_deref()),
                None => Vec::new(),
            };
            if apply(effects, RESPONSE) == Applied::Replied {
                return Action::Pause;
            }
        }
        if !self.asks(Exchange::changes_response) {
            return Action::Continue;
        }
        let headers = match self.asks(Exchange::needs_response_headers) {
            true => read(Map::ResponseHeaders).map(Some),
            false => Some(None),
        };
        // What the rules keep from clients must not pass.
        let Some(headers) = headers else {
            refuse("response_unreadable");
            return Action::Pause;
        };
        begin_callback();
        let none = Headers::default();
        let has_body = !end_of_stream;
        let event = Event::ResponseHeaders {
            headers: headers.as_ref().unwrap_or(&none),
            may_wait: self.waiting_room.has_place(Wait::Response),
            has_body,
        };
        let message = Message {
            headers: headers.as_ref(),
            ..RESPONSE
        };
        let mut applied = self.tell(event, message);
        if applied == Applied::Wait {
            let held = Held {
                exchange: Rc::clone(&self.exchange),
                direction: Direction::Response,
                headers: headers.unwrap_or_default(),
                route_name: None,
                has_body,
            };
            applied = self.waiting_room.hold(self.id, held);
        }
        applied.action()
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.on_body(Direction::Response, size, end_of_stream).action()
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        match self.held_at_trailers(Direction::Response) {
            Ok(size) => self.on_body(Direction::Response, size, true).action(),
            Err(error) => failed(error).action(),
        }
    }
}

impl Drop for Http {
    /// The client has left, or the request has ended.
    fn drop(&mut self) {
        self.waiting_room.leave(self.id);
    }
}

/// What is held of a body; `None` where it cannot be read.
fn held(body: Buffer, size: usize) -> Option<Vec<u8>> {
    match size {
        0 => Some(Vec::new()),
        _ => abi::buffer(body, size).ok(),
    }
}

/// A whole header map; `None` where it cannot be read.
pub(super) fn read(map: Map) -> Option<Headers> {
    abi::header_map(map).ok().and_then(|bytes| Headers::decode(bytes).ok())
}

/// Carries effects out. If one fails, the message is in a state that nobody decided about: the request is refused.
pub(super) fn apply(effects: Vec<Effect>, message: Message<'_>) -> Applied {
    let mut edits = Edits::new(message.map);
    for effect in effects {
        match effect {
            Effect::RemoveHeader(name) => edits.set(Name::Bytes(name), Values::new()),
            Effect::SetHeader(name, value) => edits.set(Name::Bytes(name.into_bytes()), vec![value]),
            Effect::SetHeaders(name, values) => edits.set(Name::Shared(name), values),
            Effect::SetBody(bytes) => {
                if let Err(error) = abi::set_buffer(message.body, &bytes) {
                    return failed(error);
                }
            }
            // For whoever logs the request: nothing else hangs on it.
            Effect::SetState(name, value) => {
                if abi::set_property(name, &value).is_err() {
                    log::warn!("the filter state {name} could not be set; the access log lacks it");
                }
            }
            Effect::Count(name) => metrics::count(name),
            Effect::Log(level, message) => {
                if level <= log::max_level() {
                    abi::log(level, &message);
                }
            }
            Effect::Wait | Effect::Hold => return Applied::Wait,
            Effect::Respond(response) => return respond(&response),
            Effect::Reply(reply) => {
                // For whoever logs the request. The refusal does not hang on it.
                if edits.carry_out(message.headers).is_err() {
                    log::warn!(
                        "a refused request: its headers could not be changed, so the access log may show what the client sent"
                    );
                }
                return send(&reply);
            }
        }
    }
    match edits.carry_out(message.headers) {
        Ok(()) => Applied::Continue,
        // No rule has looked at the response: what is left is for the client to know, and nothing hangs on it.
        Err(_) if message.headers.is_none() => {
            log::warn!(
                "a response: its rate-limit headers could not be set, so the client does not learn what is left"
            );
            Applied::Continue
        }
        Err(error) => failed(error),
    }
}

impl Applied {
    fn action(self) -> Action {
        match self {
            Self::Continue => Action::Continue,
            Self::Replied | Self::Wait => Action::Pause,
        }
    }
}

/// Envoy's name of the route that it has chosen last.
fn route_name() -> Option<String> {
    let name = abi::property(&["xds", "route_name"])?;
    String::from_utf8(name).ok()
}

fn of(direction: Direction) -> Message<'static> {
    match direction {
        Direction::Request => REQUEST,
        Direction::Response => RESPONSE,
    }
}

const REQUEST: Message<'static> = Message {
    map: Map::RequestHeaders,
    body: Buffer::Request,
    headers: None,
};

const RESPONSE: Message<'static> = Message {
    map: Map::ResponseHeaders,
    body: Buffer::Response,
    headers: None,
};

fn failed(HostError(status): HostError) -> Applied {
    log::error!("a host call failed with status {status}; the request is refused");
    refuse("host_call_failed")
}

fn refuse(reason: &'static str) -> Applied {
    send(&Denial::new(DenialKind::Unavailable, reason).reply(None, false))
}

fn send(reply: &Reply) -> Applied {
    let headers = reply.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let grpc_status = reply.grpc_status.map_or(-1, i32::from);
    sent(abi::reply(
        reply.status,
        &reply.details,
        &headers,
        reply.body.as_bytes(),
        grpc_status,
    ))
}

/// Answers in place of a response.
fn respond(response: &Response) -> Applied {
    let Some(status) = response.headers.first(":status").and_then(|status| status.parse().ok()) else {
        return refuse("response_unusable");
    };
    let headers = response.headers.iter();
    let headers: Vec<_> = headers.filter(|(name, _)| !name.starts_with(b":")).collect();
    sent(abi::reply(status, "tollgate{fallback}", &headers, &response.body, -1))
}

fn sent(result: Result<(), HostError>) -> Applied {
    if result.is_err() {
        log::error!("a reply could not be sent; the request is held");
    }
    Applied::Replied
}
