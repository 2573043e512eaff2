//! A unary gRPC call (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>) as one HTTP/2 request, sent
//! like every other call.

use std::time::Duration;

use prost::Message;

use crate::http::headers::Headers;
use crate::seam::Answer;

/// Whether the headers are those of a gRPC message.
pub fn is_spoken(headers: &Headers) -> bool {
    let content_type = headers.first("content-type");
    content_type
        .and_then(|value| value.strip_prefix("application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// The headers of a call, pseudo-headers first.
pub fn headers(authority: &str, path: &str, timeout: Duration) -> Vec<(&'static str, String)> {
    vec![
        (":method", "POST".into()),
        (":path", path.into()),
        (":authority", authority.into()),
        ("content-type", "application/grpc".into()),
        ("te", "trailers".into()),
        ("grpc-timeout", format!("{}m", timeout.as_millis())),
        ("user-agent", "tollgate".into()),
    ]
}

/// A message in its frame: the compression flag (off), the length, and the message.
pub fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// The message of a successful answer. `Err` is the reason, for the log and a metric.
pub fn message<M: Message + Default>(answer: &Answer, max_body: usize) -> Result<M, &'static str> {
    match answer.headers.first(":status") {
        Some("200") => {}
        // No headers: the connection was reset, or the body exceeded Envoy's own limit.
        None => return Err("no_answer"),
        Some("504") => return Err("timeout"),
        Some(_) => return Err("status"),
    }
    // An answer that has only an error has its status in the headers.
    let status = |headers: &Headers| headers.first("grpc-status").map(str::to_owned);
    match status(&answer.trailers).or_else(|| status(&answer.headers)).as_deref() {
        Some("0") => {}
        // CANCELLED, DEADLINE_EXCEEDED and UNAVAILABLE, from the server or a proxy. Some servers cancel calls that take
        // too long.
        Some("1" | "4") => return Err("timeout"),
        Some("14") => return Err("unavailable"),
        Some(_) => return Err("grpc_status"),
        None => return Err("no_grpc_status"),
    }
    if answer.body.len() > max_body {
        return Err("too_large");
    }
    let message = answer
        .body
        .split_first_chunk::<HEAD>()
        .and_then(|([compressed, length @ ..], message)| {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            (*compressed == 0 && message.len() == length).then_some(message)
        });
    M::decode(message.ok_or("malformed")?).map_err(|_| "malformed")
}

/// Bytes of a frame before the message.
const HEAD: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, PartialEq, Message)]
    struct Number {
        #[prost(uint32, tag = "1")]
        number: u32,
    }

    fn answer(headers: &[(&str, &str)], trailers: &[(&str, &str)], body: &[u8]) -> Answer {
        Answer {
            headers: headers.iter().copied().collect(),
            trailers: trailers.iter().copied().collect(),
            body: body.to_vec(),
        }
    }

    #[test]
    fn a_message_comes_back_as_it_was_sent() {
        let framed = frame(&Number { number: 300 });
        assert_eq!(framed, [0, 0, 0, 0, 3, 8, 0xac, 2]);
        let good = answer(&[(":status", "200")], &[("grpc-status", "0")], &framed);
        assert_eq!(message(&good, 100), Ok(Number { number: 300 }));
    }

    #[test]
    fn anything_but_a_good_answer_has_its_reason() {
        let ok: &[(&str, &str)] = &[(":status", "200")];
        let trailers = |status: &'static str| [("grpc-status", status)];
        let framed = frame(&Number { number: 1 });
        for (headers, trailers, body, reason) in [
            (&[][..], &[][..], &[][..], "no_answer"),
            (&[(":status", "504")], &[], &[], "timeout"),
            (&[(":status", "503")], &trailers("0"), &framed, "status"),
            (ok, &[], &framed, "no_grpc_status"),
            (&[(":status", "200"), ("grpc-status", "12")], &[], &[], "grpc_status"),
            (ok, &trailers("14"), &framed, "unavailable"),
            (ok, &trailers("4"), &[], "timeout"),
            (ok, &trailers("1"), &[], "timeout"),
            (ok, &trailers("2"), &framed, "grpc_status"),
            (ok, &trailers("00"), &framed, "grpc_status"),
            (ok, &trailers("0"), &[], "malformed"),
            (ok, &trailers("0"), &framed[..6], "malformed"),
            (ok, &trailers("0"), &[&framed[..], &framed].concat(), "malformed"),
            (ok, &trailers("0"), &[1, 0, 0, 0, 2, 8, 1], "malformed"),
            (ok, &trailers("0"), &[0, 0, 0, 0, 2, 8, 0x80], "malformed"),
            (ok, &trailers("0"), &[0; 101], "too_large"),
        ] {
            let read = message::<Number>(&answer(headers, trailers, body), 100);
            assert_eq!(read, Err(reason), "{headers:?} {trailers:?} {body:?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = message::<Number>(&answer(&[(":status", "200")], &[("grpc-status", "0")], &body), 30);
        }
    }
}
