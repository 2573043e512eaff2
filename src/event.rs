//! What happens to a request and its response, as the host tells it.

use crate::body::Chunk;
use crate::headers::Headers;

/// One step in the life of a request.
#[derive(Debug)]
pub enum Event<'a> {
    /// The request's headers are complete.
    RequestHeaders {
        /// All of them, pseudo-headers included.
        headers: &'a Headers,
        /// Envoy's route name (`xds.route_name`); `None` where the plan does not ask for it or Envoy has none.
        route_name: Option<&'a str>,
        /// Whether the host can hold the request.
        may_wait: bool,
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
    /// The response's headers are complete.
    ResponseHeaders {
        /// All of them; empty unless [`Exchange::needs_response_headers`](crate::exchange::Exchange::needs_response_headers).
        headers: &'a Headers,
        /// Whether the host can hold the response.
        may_wait: bool,
        /// Whether a body follows.
        has_body: bool,
    },
    /// More of the response's body is there; only where [`Exchange::watches`](crate::exchange::Exchange::watches) it.
    ResponseBody(Chunk<'a>),
}
