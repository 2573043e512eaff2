//! Steps: instructions from the core to the shell, as plain data.

use std::sync::Arc;

use crate::http::changes::HeaderChanges;
use crate::http::headers::Headers;

/// What to do with the message of an event. The shell carries it out from the first field to the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Changes of the headers, or of the trailers if the event is about those.
    pub headers: HeaderChanges,
    /// A replacement for the held body.
    pub body: Option<Vec<u8>>,
    /// Counters, log lines and filter state. Their failure does not affect the request.
    pub notes: Vec<Note>,
    /// How the message continues.
    pub then: Then,
}

/// How a message continues after a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Then {
    /// Continue the message.
    #[default]
    Continue,
    /// Hold the message until more of its body comes. The next event has everything that is held.
    Hold,
    /// Suspend the message until the worker wakes it up: see [`Worker`](crate::gateway::worker::Worker).
    Wait,
    /// Send this answer to the client, and nothing more to the upstream.
    Respond(Reply),
}

/// A record of a request outside of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Add one to the counter of this name, which includes the labels: `name;label=value;`.
    Count(Arc<str>),
    /// Add a value to the histogram of this name, which includes the labels.
    Observe(Arc<str>, u64),
    /// Write a line to the log.
    Log(log::Level, String),
    /// Set Envoy's filter state of this name, under `wasm.`, for access logs.
    State(&'static str, Vec<u8>),
}

/// The gateway's own answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers, without those that the host adds.
    pub headers: Headers,
    /// The body. For a gRPC client, the text of `grpc-message`.
    pub body: Vec<u8>,
    /// The grpc-status for a gRPC client, `None` for others.
    pub grpc_status: Option<u8>,
    /// The details for Envoy's access log (`%RESPONSE_CODE_DETAILS%`).
    pub details: String,
}

impl Step {
    /// A step that suspends the message until a wake-up.
    pub fn wait() -> Self {
        Self {
            then: Then::Wait,
            ..Self::default()
        }
    }

    /// A step that holds the message until more of its body comes.
    pub fn hold() -> Self {
        Self {
            then: Then::Hold,
            ..Self::default()
        }
    }

    /// The gateway's own answer, if there is one.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.then {
            Then::Respond(reply) => Some(reply),
            _ => None,
        }
    }
}
