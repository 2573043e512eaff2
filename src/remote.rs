//! What the gateway asks of other services by itself. The host sends the calls, with its timer, and brings the answers.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::effect::Effect;
use crate::headers::Headers;
use crate::json;
use crate::store::Store;

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
    pub effects: Vec<Effect>,
    /// A call that follows at once.
    pub next: Option<Call>,
}

/// One that calls other services. Times are milliseconds since the epoch.
pub trait Remote: fmt::Debug {
    /// Makes what it shares with other workers, before any of them competes for it: of two first writers of one key both
    /// would believe that they were first. Takes over what is there already.
    fn prepare(&self, store: &dyn Store);

    /// Takes over what other workers have learned; with every tick.
    fn synchronize(&self, store: &dyn Store);

    /// A call to send now. Asked again until there is none.
    fn call(&self, now: u64, store: &dyn Store) -> Option<Call>;

    /// Takes the answer to a call; `None` where it could not even be sent.
    fn answer(&self, call: &Call, answer: Option<&Answer>, now: u64, store: &dyn Store) -> Outcome;

    /// Whether somebody waits for it: the timer should run fast.
    fn is_awaited(&self, now: u64) -> bool;
}

/// For what a message can be held. Each has places of its own: who waits for one keeps nobody from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// What tells who a request is from.
    Authentication,
    /// What tells how much it may.
    Limit,
    /// What stands in for its response.
    Response,
}

impl Wait {
    /// Places of one worker, all kinds together.
    pub const MOST: usize = 512;

    /// Whether one more may wait, where so many of the kind do, and so many of those from the same source: the second half of the places is
    /// shared out among sources.
    pub fn has_place(self, taken: usize, own: impl FnOnce() -> usize) -> bool {
        let most = match self {
            Self::Authentication => Self::MOST / 2,
            Self::Limit | Self::Response => Self::MOST / 4,
        };
        taken < most / 2 || taken < most && own() < most / 8
    }
}

/// What a request can wait for.
pub trait Awaited: fmt::Debug {
    /// Its kind.
    fn kind(&self) -> Wait {
        Wait::Authentication
    }

    /// Whether it has come, or will not.
    fn is_settled(&self, store: &dyn Store) -> bool;
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
    fn no_kind_and_no_source_takes_the_places_of_others() {
        let most = |kind: Wait| (0..Wait::MOST).take_while(|&taken| kind.has_place(taken, || 0)).count();
        let kinds = [Wait::Authentication, Wait::Limit, Wait::Response].map(most);
        assert_eq!(kinds, [256, 128, 128]);
        assert_eq!(kinds.iter().sum::<usize>(), Wait::MOST);
        for kind in [Wait::Authentication, Wait::Limit, Wait::Response] {
            let alone = (0..Wait::MOST)
                .take_while(|&taken| kind.has_place(taken, || taken))
                .count();
            assert_eq!(alone, most(kind) / 2, "one source");
            assert!(kind.has_place(alone, || 0), "another one");
        }
    }

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
