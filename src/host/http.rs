//! One request's context: events in, effects out.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::abi::{self, HostError, Map};
use super::metrics;
use super::world::Envoy;
use crate::denial::{Denial, DenialKind};
use crate::effect::{Effect, Reply};
use crate::event::Event;
use crate::exchange::Exchange;
use crate::headers::Headers;
use crate::plan::Plan;

/// One request.
pub(super) struct Http {
    /// `None` only in a plugin whose configuration was refused, which Envoy gives no request.
    exchange: Option<Exchange>,
}

impl Http {
    pub(super) fn new(plan: Option<Rc<Plan>>) -> Self {
        Self {
            exchange: plan.map(Exchange::new),
        }
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let (Some(exchange), Some(headers)) = (&mut self.exchange, read(Map::RequestHeaders)) else {
            return refuse("request_unreadable");
        };
        // Before any header is changed: a change makes Envoy forget the route that it has chosen.
        let route_name = exchange
            .needs_route_name()
            .then(|| abi::property(&["xds", "route_name"]))
            .flatten()
            .and_then(|name| String::from_utf8(name).ok());
        let event = Event::RequestHeaders {
            headers: &headers,
            route_name: route_name.as_deref(),
        };
        apply(exchange.on(event, &Envoy))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        let (Some(exchange), Some(trailers)) = (&mut self.exchange, read(Map::RequestTrailers)) else {
            return refuse("trailers_unreadable");
        };
        apply(exchange.on(Event::RequestTrailers { trailers: &trailers }, &Envoy))
    }
}

fn read(map: Map) -> Option<Headers> {
    abi::header_map(map).ok().and_then(|bytes| Headers::decode(bytes).ok())
}

/// Carries effects out. One that fails leaves a request in a state that nobody decided about: it is refused.
fn apply(effects: Vec<Effect>) -> Action {
    for effect in effects {
        let done = match effect {
            Effect::RemoveHeader(name) => abi::remove_header(Map::RequestHeaders, &name),
            Effect::SetHeader(name, value) => abi::set_header(Map::RequestHeaders, name.as_bytes(), &value),
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
            Effect::Reply(reply) => return send(&reply),
        };
        if let Err(HostError(status)) = done {
            log::error!("a host call failed with status {status}; the request is refused");
            return refuse("host_call_failed");
        }
    }
    Action::Continue
}

fn refuse(reason: &'static str) -> Action {
    send(&Denial::new(DenialKind::Unavailable, reason).reply(None, false))
}

fn send(reply: &Reply) -> Action {
    let headers: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let grpc_status = reply.grpc_status.map_or(-1, i32::from);
    if abi::reply(reply.status, &reply.details, &headers, &reply.body, grpc_status).is_err() {
        log::error!("a reply could not be sent; the request is held");
    }
    Action::Pause
}
