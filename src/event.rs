//! What happens to a request, as the host tells it.

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
    },
    /// Trailers follow the request's body.
    RequestTrailers {
        /// All of them.
        trailers: &'a Headers,
    },
}
