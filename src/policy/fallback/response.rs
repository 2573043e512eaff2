//! A whole response in the hand: what stands in for an upstream's.

use crate::effect::Effect;
use crate::headers::Headers;

/// A response that need not come from the upstream.
#[derive(Debug, Clone)]
pub struct Response {
    /// `:status` among them; nothing that frames it.
    pub headers: Headers,
    /// All of it.
    pub body: Vec<u8>,
}

impl PartialEq for Response {
    fn eq(&self, other: &Self) -> bool {
        self.headers.iter().eq(other.headers.iter()) && self.body == other.body
    }
}

impl Eq for Response {}

impl Response {
    /// What another has answered, as this gateway may pass it on: without what was said of the connection alone (RFC 9110
    /// section 7.6.1), or by Envoy of its own call. Of a `HEAD`, the length is told all the same.
    pub(super) fn of(headers: &Headers, body: Vec<u8>) -> Self {
        let headers = headers
            .iter()
            .filter(|(name, _)| !is_of_hop(name) && (*name != b"content-length" || body.is_empty()));
        Self {
            headers: headers.collect(),
            body,
        }
    }

    /// The same, with a word on where it comes from, and its age in seconds (RFC 9111 section 5.1).
    pub(super) fn marked(&self, origin: &str, age: Option<u64>) -> Self {
        let age = age.map(|age| age.to_string());
        let added = age.as_ref().map(|age| (&b"age"[..], age.as_bytes()));
        let added = added.into_iter().chain([(MARKER.as_bytes(), origin.as_bytes())]);
        let own = self.headers.iter();
        let own = own.filter(|(name, _)| !added.clone().any(|(added, _)| added == *name));
        Self {
            headers: own.chain(added.clone()).collect(),
            body: self.body.clone(),
        }
    }

    /// The same for a HEAD request: no body, but its length.
    pub(super) fn of_head(mut self) -> Self {
        let length = std::mem::take(&mut self.body).len().to_string();
        let length = (length != "0").then_some((&b"content-length"[..], length.as_bytes()));
        self.headers = self.headers.iter().chain(length).collect();
        self
    }

    /// The changes that make a response's headers these.
    pub(crate) fn replaces(&self, actual: &Headers, has_body: bool) -> Vec<Effect> {
        let mut names: Vec<&[u8]> = Vec::new();
        for (name, _) in self.headers.iter() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let gone = actual.iter().map(|(name, _)| name);
        let gone = gone.filter(|name| !names.contains(name) && !name.starts_with(b":"));
        let gone = gone.map(|name| Effect::RemoveHeader(name.to_vec()));
        let set = names.iter().filter_map(|name| {
            let values = self.headers.all_bytes(name).map(<[u8]>::to_vec).collect();
            Some(Effect::SetHeaders(std::str::from_utf8(name).ok()?.into(), values))
        });
        let length = self.body.len().to_string().into_bytes();
        let length = has_body.then(|| Effect::SetHeader("content-length".into(), length));
        gone.chain(set).chain(length).collect()
    }
}

/// Whether a header is about one connection, or Envoy's own.
pub(super) fn is_of_hop(name: &[u8]) -> bool {
    HOP.iter().any(|hop| hop.as_bytes() == name) || name.starts_with(b"x-envoy-")
}

/// The header that says what stands in: `cluster`, `last_good` or `answer`.
const MARKER: &str = "x-tollgate-fallback";

const HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];
