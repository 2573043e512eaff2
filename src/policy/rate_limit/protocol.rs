//! The used part of Envoy's Rate Limit Service protocol (`envoy/service/ratelimit/v3/rls.proto`).

use prost::Message;

use super::descriptor::Descriptor;
use crate::clock::{Millis, Seconds};
use crate::limit::{Rate, Verdict};

/// The path of the gRPC method.
pub(super) const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// A server's answer about one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) verdict: Verdict,
    /// The rate to tell the client, if the server tells what remains and until when.
    pub(super) rate: Option<Rate>,
}

/// A request about one descriptor.
pub(super) fn question(domain: &str, descriptor: &Descriptor, rate: &Rate, cost: u64) -> impl Message + use<> {
    // The rate is sent along, as the server cannot know the rates of our plans.
    let unit = UNITS.iter().find(|(_, window)| *window == rate.window);
    let limit = unit.filter(|(unit, _)| *unit != WEEK).and_then(|(unit, _)| {
        let requests_per_unit = u32::try_from(rate.limit).ok()?;
        Some(Limit {
            requests_per_unit,
            unit: *unit,
        })
    });
    let entry = |(key, value): &(String, String)| Entry {
        key: key.clone(),
        value: value.clone(),
    };
    Question {
        domain: domain.to_owned(),
        descriptors: vec![Described {
            entries: descriptor.iter().map(entry).collect(),
            limit,
        }],
        hits_addend: u32::try_from(cost).unwrap_or(u32::MAX),
    }
}

/// Reads an answer about a limit; `rate` supplies what it omits. `Err` is the reason why it is unusable.
pub(super) fn read(answer: &Response, rate: &Rate) -> Result<Told, &'static str> {
    let allowed = match answer.overall_code {
        OK => true,
        OVER_LIMIT => false,
        _ => return Err("unknown_code"),
    };
    let status = answer.statuses.first();
    let header = |kind| answer.headers.iter().find_map(|header| header.number(kind));
    let reset = status
        .and_then(|status| status.duration_until_reset.as_ref())
        .and_then(millis)
        .or_else(|| header("reset").map(|seconds| Seconds::new(seconds).millis()));
    let theirs = status.and_then(|status| status.current_limit.as_ref());
    // Without `current_limit`, `limit_remaining` is absent, which reads as 0.
    let remaining = match theirs.and(status) {
        Some(status) => Some(status.limit_remaining.into()),
        None => header("remaining"),
    };
    let limit = theirs
        .map(|limit| limit.requests_per_unit.into())
        .or_else(|| header("limit"));
    let window = theirs.and_then(|limit| UNITS.iter().find(|(unit, _)| *unit == limit.unit));
    let rate = Rate {
        limit: limit.unwrap_or(rate.limit),
        window: window.map_or(rate.window, |(_, window)| *window),
        burst: rate.burst,
    };
    let is_told = reset.is_some() && (remaining.is_some() || !allowed);
    Ok(Told {
        verdict: Verdict {
            allowed,
            remaining: remaining.unwrap_or_default(),
            reset: reset.unwrap_or_default(),
            retry_after: if allowed {
                Millis::ZERO
            } else {
                reset.unwrap_or(UNTOLD_RESET)
            },
        },
        rate: is_told.then_some(rate),
    })
}

/// A duration, rounded up; `None` if it is negative.
fn millis(duration: &prost_types::Duration) -> Option<Millis> {
    let seconds = Seconds::new(u64::try_from(duration.seconds).ok()?);
    let rest = u64::try_from(duration.nanos).ok()?.div_ceil(1_000_000);
    Some(seconds.millis().saturating_add(Millis::new(rest)))
}

impl Header {
    /// The number in a `RateLimit-KIND` or `X-RateLimit-KIND` header: the first, as in `10, 10;w=60`.
    fn number(&self, kind: &str) -> Option<u64> {
        let key = self.key.to_ascii_lowercase();
        if key.strip_prefix("x-").unwrap_or(&key).strip_prefix("ratelimit-") != Some(kind) {
            return None;
        }
        let raw = std::str::from_utf8(&self.raw_value).unwrap_or_default();
        let value = if self.value.is_empty() { raw } else { &self.value };
        value.split([',', ';']).next()?.trim().parse().ok()
    }
}

/// `RateLimitRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Question {
    #[prost(string, tag = "1")]
    pub(super) domain: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) descriptors: Vec<Described>,
    #[prost(uint32, tag = "3")]
    pub(super) hits_addend: u32,
}

/// `RateLimitDescriptor`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Described {
    #[prost(message, repeated, tag = "1")]
    pub(super) entries: Vec<Entry>,
    /// `RateLimitOverride`.
    #[prost(message, optional, tag = "2")]
    pub(super) limit: Option<Limit>,
}

/// `RateLimitDescriptor.Entry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `RateLimitOverride`, and `RateLimitResponse.RateLimit`, whose numbers are the same.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Limit {
    #[prost(uint32, tag = "1")]
    pub(super) requests_per_unit: u32,
    #[prost(int32, tag = "2")]
    pub(super) unit: i32,
}

/// `RateLimitResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(int32, tag = "1")]
    pub(super) overall_code: i32,
    #[prost(message, repeated, tag = "2")]
    pub(super) statuses: Vec<Status>,
    /// `response_headers_to_add`.
    #[prost(message, repeated, tag = "3")]
    pub(super) headers: Vec<Header>,
}

/// `RateLimitResponse.DescriptorStatus`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(message, optional, tag = "2")]
    pub(super) current_limit: Option<Limit>,
    #[prost(uint32, tag = "3")]
    pub(super) limit_remaining: u32,
    #[prost(message, optional, tag = "4")]
    pub(super) duration_until_reset: Option<prost_types::Duration>,
}

/// `HeaderValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) raw_value: Vec<u8>,
}

const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;

/// The protocol's units, without months and years, whose lengths vary.
const UNITS: [(i32, Millis); 5] = [
    (1, Millis::new(1000)),
    (2, Millis::new(60_000)),
    (3, Millis::new(3_600_000)),
    (4, Millis::new(86_400_000)),
    (WEEK, Millis::new(604_800_000)),
];

/// A unit of answers only.
const WEEK: i32 = 7;

/// How long a refused key counts as exhausted if the server does not tell.
const UNTOLD_RESET: Millis = Millis::new(1000);

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        limit: 100,
        window: Millis::new(60_000),
        burst: 100,
    };

    fn response(code: i32, statuses: Vec<Status>, headers: &[(&str, &str)]) -> Response {
        let header = |(key, value): &(&str, &str)| Header {
            key: (*key).into(),
            value: (*value).into(),
            raw_value: Vec::new(),
        };
        Response {
            overall_code: code,
            statuses,
            headers: headers.iter().map(header).collect(),
        }
    }

    /// Allowed, remaining, reset, retry_after; limit and window. Times are in milliseconds.
    type Short = ((bool, u64, u64, u64), Option<(u64, u64)>);

    fn told(response: &Response) -> Short {
        let Told { verdict, rate } = read(response, &RATE).unwrap();
        let (reset, retry_after) = (verdict.reset.get(), verdict.retry_after.get());
        let verdict = (verdict.allowed, verdict.remaining, reset, retry_after);
        (verdict, rate.map(|rate| (rate.limit, rate.window.get())))
    }

    #[test]
    fn the_server_may_say_much_or_little() {
        let status = Status {
            current_limit: Some(Limit {
                requests_per_unit: 7,
                unit: 3,
            }),
            limit_remaining: 5,
            duration_until_reset: Some(prost_types::Duration { seconds: 9, nanos: 1 }),
        };
        assert_eq!(
            told(&response(OK, vec![status.clone()], &[])),
            ((true, 5, 9001, 0), Some((7, 3_600_000)))
        );
        assert_eq!(
            told(&response(OVER_LIMIT, vec![status], &[])),
            ((false, 5, 9001, 9001), Some((7, 3_600_000)))
        );
        // The format of Limitador.
        let headers = &[
            ("X-RateLimit-Limit", "10, 10;w=60;name=\"a\""),
            ("X-RateLimit-Remaining", "3"),
            ("X-RateLimit-Reset", "12"),
        ];
        assert_eq!(
            told(&response(OK, vec![], headers)),
            ((true, 3, 12_000, 0), Some((10, 60_000)))
        );
        let headers = &[("ratelimit-reset", "12")];
        assert_eq!(told(&response(OK, vec![], headers)), ((true, 0, 12_000, 0), None));
        assert_eq!(
            told(&response(OVER_LIMIT, vec![], headers)),
            ((false, 0, 12_000, 12_000), Some((100, 60_000)))
        );
        // If the server tells nothing, the client is told nothing.
        for statuses in [vec![], vec![Status::default()]] {
            assert_eq!(told(&response(OK, statuses.clone(), &[])), ((true, 0, 0, 0), None));
            assert_eq!(told(&response(OVER_LIMIT, statuses, &[])), ((false, 0, 0, 1000), None));
        }
    }

    #[test]
    fn nonsense_is_no_number_and_no_verdict() {
        for headers in [
            [("x-ratelimit-reset", "-1")],
            [("x-ratelimit-reset", "18446744073709551616")],
            [("x-x-ratelimit-reset", "1")],
        ] {
            assert_eq!(
                told(&response(OVER_LIMIT, vec![], &headers)),
                ((false, 0, 0, 1000), None)
            );
        }
        let status = Status {
            duration_until_reset: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            ..Status::default()
        };
        assert_eq!(
            told(&response(OVER_LIMIT, vec![status], &[])),
            ((false, 0, 0, 1000), None)
        );
        for code in [0, 3, -1] {
            assert_eq!(read(&response(code, vec![], &[]), &RATE), Err("unknown_code"));
        }
    }

    #[test]
    fn a_limit_is_told_where_the_protocol_has_a_word_for_it() {
        let descriptor = vec![("limit".to_owned(), "a".to_owned())];
        let asked = |limit, window, cost| {
            let rate = Rate {
                limit,
                window: Millis::new(window),
                burst: limit,
            };
            let bytes = question("d", &descriptor, &rate, cost).encode_to_vec();
            let question = Question::decode(bytes.as_slice()).unwrap();
            let limit = question.descriptors[0].limit.clone();
            (
                limit.map(|limit| (limit.requests_per_unit, limit.unit)),
                question.hits_addend,
            )
        };
        assert_eq!(asked(5, 60_000, 1), (Some((5, 2)), 1));
        assert_eq!(asked(5, 86_400_000, 3), (Some((5, 4)), 3));
        assert_eq!(asked(5, 604_800_000, 1), (None, 1));
        assert_eq!(asked(5, 61_000, u64::MAX), (None, u32::MAX));
        assert_eq!(asked(1 << 32, 1000, 1), (None, 1));
    }
}
