//! What happens to a request and its response, as the shell tells it.

use std::rc::Rc;

use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};

/// One step in the life of a request.
#[derive(Debug)]
pub enum Event<'a> {
    /// The request's headers are complete. Always the first event.
    RequestHeaders {
        /// All of them, pseudo-headers included.
        headers: Rc<Headers>,
        /// Envoy's route name (`xds.route_name`); `None` where the plan does not ask for it or Envoy has none.
        route_name: Option<String>,
        /// Whether a body follows.
        has_body: bool,
    },
    /// More of the request's body is there; only where [`Exchange::watches`](crate::exchange::Exchange::watches) it.
    RequestBody(Chunk<'a>),
    /// Trailers follow the request's body, or a request without one. Changes of headers are about them.
    RequestTrailers {
        /// All of them.
        trailers: &'a Headers,
        /// All that is held of the body, which has ended.
        body: Chunk<'a>,
    },
    /// Envoy's name of the route that it has taken, `None` where it has none; only where
    /// [`Exchange::needs_taken_route`](crate::exchange::Exchange::needs_taken_route).
    RouteTaken(Option<&'a str>),
    /// The response's headers are complete.
    ResponseHeaders {
        /// All of them; empty unless [`Exchange::needs_response_headers`](crate::exchange::Exchange::needs_response_headers).
        headers: Rc<Headers>,
        /// Whether a body follows.
        has_body: bool,
    },
    /// More of the response's body is there; only where [`Exchange::watches`](crate::exchange::Exchange::watches) it.
    ResponseBody(Chunk<'a>),
    /// The host did not do what it was asked to do with this message.
    HostFailed(Direction, HostFailure),
}

/// What a host could not do. The message is then in a state that nobody has decided about, so it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostFailure {
    /// The request's headers cannot be read.
    RequestUnreadable,
    /// The request's trailers cannot be read.
    TrailersUnreadable,
    /// The response's headers cannot be read.
    ResponseUnreadable,
    /// A call failed with this status of the proxy-wasm ABI.
    Call(u32),
}

impl HostFailure {
    /// For the log, a metric and Envoy's access log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RequestUnreadable => "request_unreadable",
            Self::TrailersUnreadable => "trailers_unreadable",
            Self::ResponseUnreadable => "response_unreadable",
            Self::Call(_) => "host_call_failed",
        }
    }
}
