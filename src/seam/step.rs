//! What the core wants done with the message that an event is about, as plain data.

use std::sync::Arc;

use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;

/// Everything that one event leads to. The shell carries it out from the first field to the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Changes of the headers, or of the trailers where the event is about those.
    pub headers: HeaderChanges,
    /// The bytes to put in place of the body that is held.
    pub body: Option<Vec<u8>>,
    /// What is counted, logged and left for the access log. A request does not fail where one of them does.
    pub notes: Vec<Note>,
    /// What becomes of the message.
    pub then: Then,
}

/// What becomes of a message after a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    #[default]
    Continue,
    /// It is held until more of its body is there. The shell tells all that is held then.
    Hold,
    /// It is held until the worker wakes it up: see [`Worker`](crate::gateway::worker::Worker).
    Wait,
    /// The client gets this answer, and nothing else; nothing more reaches the upstream.
    Respond(Reply),
}

/// Something to be remembered of a request outside of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Add one to the counter of this name; labels are part of it: `name;label=value;`.
    Count(Arc<str>),
    /// Write to the operator's log.
    Log(log::Level, String),
    /// Set Envoy's filter state of this name, under `wasm.`, for access logs.
    State(&'static str, Vec<u8>),
}

/// An answer of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers besides those that the host adds.
    pub headers: Headers,
    /// The body. For a gRPC client it is the text of `grpc-message`.
    pub body: Vec<u8>,
    /// The grpc-status for a gRPC client, `None` for others.
    pub grpc_status: Option<u8>,
    /// For Envoy's access log (`%RESPONSE_CODE_DETAILS%`).
    pub details: String,
}

impl Step {
    /// Holds the message until the worker wakes it up.
    pub fn wait() -> Self {
        Self {
            then: Then::Wait,
            ..Self::default()
        }
    }

    /// The answer that the gateway gives by itself, if it does.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.then {
            Then::Respond(reply) => Some(reply),
            _ => None,
        }
    }
}
