//! Calls to other services. The shell sends them and delivers the answers.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::{Context, Note, Ticket};
use crate::http::headers::Headers;
use crate::json;

/// A call to another service through an Envoy cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The name of the Envoy cluster.
    pub cluster: String,
    /// The headers, pseudo-headers first.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// The time within which the complete answer must arrive.
    pub timeout: Duration,
    /// Maximum size of the answer's body, in bytes.
    pub max_body: usize,
    /// An id for the caller, to recognize the call.
    pub topic: u64,
    /// What the one request waits for that waits for the call; `None` if the call is of the background.
    pub ticket: Option<Ticket>,
}

/// The answer to a call. Without headers, the connection was reset, or the answer exceeded Envoy's buffer.
#[derive(Debug, Default, Clone)]
pub struct Answer {
    /// The headers with `:status`: 504 is Envoy's timeout, 503 an unreachable upstream.
    pub headers: Headers,
    /// The trailers; empty if there are none.
    pub trailers: Headers,
    /// The body; cut to one byte more than [`Call::max_body`] if it is too large.
    pub body: Vec<u8>,
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It could not be sent.
    Unsent,
    /// It was given up with the request that waited for it. This says nothing about the other service.
    Abandoned,
}

#[cfg(test)]
impl Answer {
    /// An answer with this status and body, for tests.
    pub(crate) fn new(status: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            headers: [(":status", status)].into_iter().collect(),
            trailers: Headers::default(),
            body: body.into(),
        }
    }
}

/// The result of handling an answer.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Counters and log lines.
    pub notes: Vec<Note>,
    /// A further call to send at once.
    pub next: Option<Call>,
}

/// A part of a plan that calls other services, for waiting requests or in the background.
pub trait Caller: Send + Sync {
    /// Creates the data that it shares with other workers before they compete for it, as two first writers of a key may
    /// both succeed. Existing data is kept.
    fn prepare(&self, _: &Context<'_>) {}

    /// Copies what other workers have learned. Called at every tick.
    fn synchronize(&self, _: &Context<'_>) {}

    /// A call to send now. Called until it returns `None`.
    fn next_call(&self, cx: &Context<'_>) -> Option<Call>;

    /// Handles the answer to a call.
    fn answer(&self, call: &Call, answer: Result<Answer, Lost>, cx: &Context<'_>) -> Outcome;

    /// Whether its calls are of the background: what they bring is for all workers, and they outlive every request.
    fn is_background(&self) -> bool {
        false
    }

    /// Whether something is awaited, so that the timer should run fast.
    fn is_awaited(&self, cx: &Context<'_>) -> bool;
}

// Not a supertrait: what only `Debug` reaches would be in the plugin.
impl fmt::Debug for dyn Caller + '_ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Caller")
    }
}

/// The JSON of a successful answer: status 200, not encoded, not too large. `Err` is the reason, for the log and a
/// metric.
pub fn document(answer: &Answer, max_body: usize) -> Result<Value, &'static str> {
    match answer.headers.first(":status") {
        Some("200") => {}
        // No headers: the connection was reset, or the body exceeded Envoy's own limit.
        None => return Err("no_answer"),
        Some("504") => return Err("timeout"),
        Some(status) if status.starts_with('3') => return Err("redirect"),
        Some(_) => return Err("status"),
    }
    if answer
        .headers
        .all("content-encoding")
        .any(|encoding| !encoding.eq_ignore_ascii_case(b"identity"))
    {
        return Err("encoded");
    }
    if answer.body.len() > max_body {
        return Err("too_large");
    }
    // A parser may ignore a byte order mark (RFC 8259 section 8.1).
    let text = json::without_byte_order_mark(&answer.body);
    json::parse(text).map_err(|_| "not_json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_plain_answer_is_read() {
        let read = |pairs: &[(&str, &str)], body: &[u8]| {
            let headers = pairs.iter().copied().collect();
            document(
                &Answer {
                    headers,
                    trailers: Headers::default(),
                    body: body.to_vec(),
                },
                100,
            )
        };
        assert_eq!(
            read(&[(":status", "200"), ("content-type", "application/json")], b"{}"),
            Ok(json!({}))
        );
        for (pairs, body, reason) in [
            (&[][..], &b""[..], "no_answer"),
            (&[(":status", "504")], b"", "timeout"),
            (&[(":status", "503")], b"", "status"),
            (&[(":status", "301"), ("location", "http://evil")], b"", "redirect"),
            (
                &[(":status", "200"), ("content-encoding", "gzip")],
                b"\x1f\x8b",
                "encoded",
            ),
            (&[(":status", "200")], b"<html>", "not_json"),
            (&[(":status", "200")], b"", "not_json"),
            (&[(":status", "200")], b"{\"keys\":[", "not_json"),
        ] {
            assert_eq!(read(pairs, body), Err(reason));
        }
        assert_eq!(read(&[(":status", "200")], &[b' '; 101]), Err("too_large"));
        assert_eq!(read(&[(":status", "200")], b"\xef\xbb\xbf{}"), Ok(json!({})));
    }
}
