//! Events of a request and its response, from the shell.

use std::rc::Rc;

use crate::http::headers::Headers;
use crate::http::piece::{Chunk, Direction};

/// An event of one request or its response.
#[derive(Debug)]
pub enum Event<'a> {
    /// The request's headers are complete. Always the first event.
    RequestHeaders {
        /// All headers, including pseudo-headers.
        headers: Rc<Headers>,
        /// Envoy's route name (`xds.route_name`); `None` if the plan does not need it or Envoy has none.
        route_name: Option<String>,
        /// Whether a body follows.
        has_body: bool,
    },
    /// More of the request's body has come; only if [`Exchange::watches`](crate::exchange::Exchange::watches) it.
    RequestBody(Chunk<'a>),
    /// The request's trailers are complete. Header changes of the step apply to them.
    RequestTrailers {
        /// All trailers.
        trailers: &'a Headers,
        /// The held body, which is complete.
        body: Chunk<'a>,
    },
    /// The name of the route that Envoy took, `None` if it has none; only if
    /// [`Exchange::needs_taken_route`](crate::exchange::Exchange::needs_taken_route).
    RouteTaken(Option<&'a str>),
    /// The response's headers are complete.
    ResponseHeaders {
        /// All headers; empty unless
        /// [`Exchange::needs_response_headers`](crate::exchange::Exchange::needs_response_headers).
        headers: Rc<Headers>,
        /// Whether a body follows.
        has_body: bool,
    },
    /// More of the response's body has come; only if [`Exchange::watches`](crate::exchange::Exchange::watches) it.
    ResponseBody(Chunk<'a>),
    /// A host call for this message failed.
    HostFailed(Direction, HostFailure),
}

/// A failure of the host. The message is then in an undecided state, so it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostFailure {
    /// The request's headers cannot be read.
    RequestUnreadable,
    /// The request's trailers cannot be read.
    TrailersUnreadable,
    /// The response's headers cannot be read.
    ResponseUnreadable,
    /// A host call failed with this status of the proxy-wasm ABI.
    Call(u32),
}

impl HostFailure {
    /// The reason, for the log, a metric and Envoy's access log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RequestUnreadable => "request_unreadable",
            Self::TrailersUnreadable => "trailers_unreadable",
            Self::ResponseUnreadable => "response_unreadable",
            Self::Call(_) => "host_call_failed",
        }
    }
}
