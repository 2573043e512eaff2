//! What the core wants done with the message that an event is about, as plain data; the host carries it out in order.

use std::rc::Rc;

use crate::fields::Values;
use crate::headers::Headers;
use crate::policy::fallback::Response;

/// One change to a message, or an answer in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Remove every value of a header.
    RemoveHeader(Vec<u8>),
    /// Make this the one value of a header.
    SetHeader(String, Vec<u8>),
    /// Make these the values of a header, each of its own line; none removes it.
    SetHeaders(Rc<str>, Values),
    /// Make this Envoy's filter state of this name, under `wasm.`, for whoever logs the request.
    SetState(&'static str, Vec<u8>),
    /// Make these the bytes of the body that is held.
    SetBody(Vec<u8>),
    /// Hold the request, and tell its headers again when [`Exchange::is_ready`](crate::exchange::Exchange::is_ready).
    /// Always the only effect.
    Wait,
    /// Hold the body until more of it is there, and tell it again then. Always the last effect.
    Hold,
    /// Make this the response, in place of one that has no body to replace. Always the last effect.
    Respond(Response),
    /// Answer the request now; nothing reaches an upstream. Always the last effect.
    Reply(Reply),
    /// Add one to a counter of this name; labels are part of it: `name;label=value;`.
    Count(Rc<str>),
    /// Say something to the operator.
    Log(log::Level, String),
}

impl Effect {
    /// Whether headers are other ones afterwards.
    pub fn changes_headers(&self) -> bool {
        matches!(self, Self::RemoveHeader(_) | Self::SetHeader(..) | Self::SetHeaders(..))
    }
}

/// An answer that the gateway gives by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers besides those that Envoy adds.
    pub headers: Vec<(&'static str, String)>,
    /// The body: problem details, or for a gRPC client the text of `grpc-message`.
    pub body: String,
    /// The grpc-status for a gRPC client, `None` for others.
    pub grpc_status: Option<u8>,
    /// For Envoy's access log (`%RESPONSE_CODE_DETAILS%`).
    pub details: String,
}

/// Headers as these effects make them; the last word on a name counts.
pub fn applied(headers: &Headers, effects: &[Effect]) -> Headers {
    let none = Values::new();
    let mut changes: Vec<(&[u8], &[Vec<u8>])> = Vec::with_capacity(effects.len());
    for effect in effects {
        let (name, values) = match effect {
            Effect::RemoveHeader(name) => (name.as_slice(), none.as_slice()),
            Effect::SetHeader(name, value) => (name.as_bytes(), std::slice::from_ref(value)),
            Effect::SetHeaders(name, values) => (name.as_bytes(), values.as_slice()),
            _ => continue,
        };
        match changes.iter_mut().find(|(own, _)| *own == name) {
            Some(change) => change.1 = values,
            None => changes.push((name, values)),
        }
    }
    let kept = headers
        .iter()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let set = changes
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (*name, value.as_slice())));
    kept.chain(set).collect()
}
