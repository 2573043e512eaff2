//! What the core wants done, as plain data; the host carries it out in order.

use std::rc::Rc;

use crate::fields::Values;
use crate::policy::transform::ResponseChange;

/// One change to a request, or its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Remove every value of a request header.
    RemoveHeader(Vec<u8>),
    /// Make this the one value of a request header.
    SetHeader(String, Vec<u8>),
    /// Make these the values of a request header, each of its own line; none removes it.
    SetHeaders(String, Values),
    /// Change the headers of the response, whoever makes it.
    ChangeResponse(ResponseChange),
    /// Make this the one value of a header of the response, whoever makes it.
    SetResponseHeader(&'static str, String),
    /// Remove every value of a request trailer.
    RemoveTrailer(Vec<u8>),
    /// Hold the request, and tell its headers again when [`Exchange::is_ready`](crate::exchange::Exchange::is_ready).
    /// Always the only effect.
    Wait,
    /// Answer the request now; nothing reaches an upstream. Always the last effect.
    Reply(Reply),
    /// Add one to a counter of this name; labels are part of it: `name;label=value;`.
    Count(Rc<str>),
    /// Say something to the operator.
    Log(log::Level, String),
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
