//! One request's context: events in, effects out.

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::abi::{self, HostError, Map};
use super::edits::Edits;
use super::metrics;
use super::waiting::{Held, WaitingRoom};
use super::world::{Envoy, begin_callback};
use crate::denial::{Denial, DenialKind};
use crate::effect::{Effect, Reply};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::fields::Values;
use crate::headers::Headers;
use crate::plan::Plan;
use crate::policy::transform::ResponseChange;

/// One request.
pub(super) struct Http {
    id: u32,
    response: Response,
    plan: Option<Rc<Plan>>,
    waiting_room: Rc<WaitingRoom>,
}

/// What becomes of the response, whoever makes it. Shared with the waiting room, where a request may be decided about.
pub(super) type Response = Rc<RefCell<ResponseEdits>>;

#[derive(Default)]
pub(super) struct ResponseEdits {
    /// Last, over whatever else changes.
    set: Vec<(&'static str, String)>,
    change: Option<ResponseChange>,
}

/// What became of effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// The request may go on.
    Continue,
    /// It is answered.
    Replied,
    /// It must be held.
    Wait,
}

impl Http {
    /// `plan` is `None` only in a plugin whose configuration was refused, which Envoy gives no request.
    pub(super) fn new(id: u32, plan: Option<Rc<Plan>>, waiting_room: Rc<WaitingRoom>) -> Self {
        Self {
            id,
            response: Response::default(),
            plan,
            waiting_room,
        }
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        begin_callback();
        let (Some(plan), Some(headers)) = (&self.plan, read(Map::RequestHeaders)) else {
            refuse("request_unreadable");
            return Action::Pause;
        };
        let mut exchange = Exchange::new(Rc::clone(plan));
        // Before any header is changed: a change makes Envoy forget the route that it has chosen.
        let route_name = exchange
            .needs_route_name()
            .then(|| abi::property(&["xds", "route_name"]))
            .flatten()
            .and_then(|name| String::from_utf8(name).ok());
        let may_wait = self.waiting_room.has_room();
        let event = Event::RequestHeaders {
            headers: &headers,
            route_name: route_name.as_deref(),
            may_wait,
        };
        match apply(exchange.on(event, &Envoy), &headers, &self.response) {
            Applied::Continue => Action::Continue,
            Applied::Replied => Action::Pause,
            Applied::Wait => {
                self.waiting_room.hold(
                    self.id,
                    Held {
                        exchange,
                        headers,
                        route_name,
                        response: Rc::clone(&self.response),
                    },
                );
                Action::Pause
            }
        }
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        let (Some(plan), Some(trailers)) = (&self.plan, read(Map::RequestTrailers)) else {
            refuse("trailers_unreadable");
            return Action::Pause;
        };
        let event = Event::RequestTrailers { trailers: &trailers };
        match apply(
            Exchange::new(Rc::clone(plan)).on(event, &Envoy),
            &trailers,
            &self.response,
        ) {
            Applied::Continue => Action::Continue,
            Applied::Replied | Applied::Wait => Action::Pause,
        }
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let ResponseEdits { set, change } = self.response.take();
        let Some(change) = change else {
            for (name, value) in set {
                // What is left is for the client to know; nothing hangs on it.
                if abi::set_header(Map::ResponseHeaders, name.as_bytes(), value.as_bytes()).is_err() {
                    log::warn!("`{name}` could not be set on a response");
                }
            }
            return Action::Continue;
        };
        // What the rules keep from clients must not pass.
        let Some(headers) = read(Map::ResponseHeaders) else {
            refuse("response_unreadable");
            return Action::Pause;
        };
        let mut edits = Edits::new(Map::ResponseHeaders);
        for (name, values) in change.apply(&headers) {
            edits.set(name.into_bytes(), values);
        }
        for (name, value) in set {
            edits.set(name.into(), vec![value.into_bytes()]);
        }
        match edits.carry_out(&headers) {
            Ok(()) => Action::Continue,
            Err(error) => {
                failed(error);
                Action::Pause
            }
        }
    }
}

impl Drop for Http {
    /// The client has left, or the request has ended.
    fn drop(&mut self) {
        self.waiting_room.leave(self.id);
    }
}

/// A whole header map; `None` where it cannot be read.
pub(super) fn read(map: Map) -> Option<Headers> {
    abi::header_map(map).ok().and_then(|bytes| Headers::decode(bytes).ok())
}

/// Carries effects out on a request whose headers are these. If one fails, the request is in a state that nobody
/// decided about: it is refused.
pub(super) fn apply(effects: Vec<Effect>, headers: &Headers, response: &Response) -> Applied {
    let mut edits = Edits::new(Map::RequestHeaders);
    for effect in effects {
        let done = match effect {
            Effect::RemoveHeader(name) => {
                edits.set(name, Values::new());
                Ok(())
            }
            Effect::SetHeader(name, value) => {
                edits.set(name.into_bytes(), vec![value]);
                Ok(())
            }
            Effect::SetHeaders(name, values) => {
                edits.set(name.into_bytes(), values);
                Ok(())
            }
            Effect::ChangeResponse(change) => {
                response.borrow_mut().change = Some(change);
                Ok(())
            }
            Effect::SetResponseHeader(name, value) => {
                response.borrow_mut().set.push((name, value));
                Ok(())
            }
            Effect::RemoveTrailer(name) => abi::remove_header(Map::RequestTrailers, &name),
            Effect::Count(name) => {
                metrics::count(name);
                Ok(())
            }
            Effect::Log(level, message) => {
                if level <= log::max_level() {
                    abi::log(level, &message);
                }
                Ok(())
            }
            Effect::Wait => return Applied::Wait,
            Effect::Reply(reply) => {
                // For whoever logs the request. The refusal does not hang on it.
                if edits.carry_out(headers).is_err() {
                    log::warn!("the headers of a refused request could not be changed");
                }
                return send(&reply);
            }
        };
        if let Err(error) = done {
            return failed(error);
        }
    }
    match edits.carry_out(headers) {
        Ok(()) => Applied::Continue,
        Err(error) => failed(error),
    }
}

fn failed(HostError(status): HostError) -> Applied {
    log::error!("a host call failed with status {status}; the request is refused");
    refuse("host_call_failed")
}

fn refuse(reason: &'static str) -> Applied {
    send(&Denial::new(DenialKind::Unavailable, reason).reply(None, false))
}

fn send(reply: &Reply) -> Applied {
    let headers: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let grpc_status = reply.grpc_status.map_or(-1, i32::from);
    if abi::reply(reply.status, &reply.details, &headers, &reply.body, grpc_status).is_err() {
        log::error!("a reply could not be sent; the request is held");
    }
    Applied::Replied
}
