//! Calls of other services: the shell sends them, with its timer, and brings the answers.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::{Context, Note};
use crate::http::headers::Headers;
use crate::json;

/// A request to another service, through an Envoy cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Envoy's cluster.
    pub cluster: String,
    /// Pseudo-headers first.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// Until the whole answer is there.
    pub timeout: Duration,
    /// Bytes of the answer's body; more is not read.
    pub max_body: usize,
    /// What it is about, for who made it.
    pub topic: u64,
}

/// What came back. Without headers the connection was reset, or the answer was larger than Envoy holds.
#[derive(Debug, Default)]
pub struct Answer {
    /// `:status` among them: 504 is Envoy's timeout, 503 an upstream that could not be reached.
    pub headers: Headers,
    /// Empty where there are none.
    pub trailers: Headers,
    /// One byte more than [`Call::max_body`] where it was too large.
    pub body: Vec<u8>,
}

#[cfg(test)]
impl Answer {
    /// With nothing but a status and a body.
    pub(crate) fn new(status: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            headers: [(":status", status)].into_iter().collect(),
            trailers: Headers::default(),
            body: body.into(),
        }
    }
}

/// What an answer led to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is to be counted and logged.
    pub notes: Vec<Note>,
    /// A call that follows at once.
    pub next: Option<Call>,
}

/// A part of a plan that calls other services: for requests that wait for the answer, or by itself.
pub trait Caller: fmt::Debug + Send + Sync {
    /// Makes what it shares with other workers, before any of them competes for it: of two first writers of one key both
    /// would believe that they were first. Takes over what is there already.
    fn prepare(&self, _: &Context<'_>) {}

    /// Takes over what other workers have learned; with every tick.
    fn synchronize(&self, _: &Context<'_>) {}

    /// A call to send now. Asked again until there is none.
    fn next_call(&self, cx: &Context<'_>) -> Option<Call>;

    /// Takes the answer to a call; `None` where it could not even be sent.
    fn answer(&self, call: &Call, answer: Option<&Answer>, cx: &Context<'_>) -> Outcome;

    /// Whether somebody waits for it: the timer should run fast.
    fn is_awaited(&self, cx: &Context<'_>) -> bool;
}

/// The JSON of a good answer: status 200, not encoded, not too large. `Err` is the reason, for the log and a metric.
pub fn document(answer: &Answer, max_body: usize) -> Result<Value, &'static str> {
    match answer.headers.first(":status") {
        Some("200") => {}
        // No headers at all: the connection was reset, or Envoy's own limit of the body was reached.
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
    // RFC 8259 section 8.1: a parser may ignore it.
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
