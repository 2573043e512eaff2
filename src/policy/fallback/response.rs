//! Headers of responses that replace an upstream's.

use crate::clock::Seconds;
use crate::config::values::HOP_BY_HOP;
use crate::http::headers::Headers;
use crate::message::response::Whole;

/// A response as the gateway may pass it on: without hop-by-hop headers (RFC 9110 section 7.6.1) and those that Envoy
/// adds to calls. For `HEAD`, the length is kept.
pub(super) fn passed_on(headers: &Headers, body: Vec<u8>) -> Whole {
    let headers = headers
        .iter()
        .filter(|(name, _)| !is_of_hop(name) && (*name != b"content-length" || body.is_empty()));
    Whole {
        headers: headers.collect(),
        body,
    }
}

/// The response with a header for its origin, and its age (RFC 9111 section 5.1).
pub(super) fn marked(whole: &Whole, origin: &str, age: Option<Seconds>) -> Whole {
    let age = age.map(|age| age.get().to_string());
    let added = age.as_ref().map(|age| (&b"age"[..], age.as_bytes()));
    let added = added.into_iter().chain([(MARKER.as_bytes(), origin.as_bytes())]);
    let own = whole.headers.iter();
    let own = own.filter(|(name, _)| !added.clone().any(|(added, _)| added == *name));
    Whole {
        headers: own.chain(added.clone()).collect(),
        body: whole.body.clone(),
    }
}

/// The response for a HEAD request: the body's length without the body.
pub(super) fn of_head(mut whole: Whole) -> Whole {
    let length = std::mem::take(&mut whole.body).len().to_string();
    let length = (length != "0").then_some((&b"content-length"[..], length.as_bytes()));
    whole.headers = whole.headers.iter().chain(length).collect();
    whole
}

/// Whether a header is hop-by-hop, or Envoy's own.
pub(super) fn is_of_hop(name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|hop| hop.as_bytes() == name) || name.starts_with(b"x-envoy-")
}

/// The header with the origin of a replacement: `cluster`, `last_good` or `answer`.
const MARKER: &str = "x-tollgate-fallback";
