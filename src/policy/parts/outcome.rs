//! Outcomes of parts: one closed set, with what a client and a metric see of each.

use crate::denial::Refusal;

/// The outcome of a part, or of one of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered.
    Ok,
    /// A kept answer was used.
    Cached,
    /// A status of `statuses.none`, or 204.
    None,
    /// There was nothing to ask for: a value is absent or `null`, or `when` does not hold.
    Skipped,
    /// The answer did not come within the part's timeout (or the service answered 504).
    Timeout,
    /// The answer did not come within the aggregate's deadline.
    Deadline,
    /// No call was made: the cluster's circuit breaker is open, or it has no healthy host.
    Unavailable,
    /// A status that is not `ok` or `none`, also Envoy's own 503 for a refused connection.
    Status,
    /// The connection broke, or the answer was larger than Envoy holds.
    Reset,
    /// The answer has a content coding.
    Encoded,
    /// The answer is larger than `max_bytes`, or the worker holds too many bytes.
    TooLarge,
    /// The answer is not JSON.
    NotJson,
    /// The answer is not the array that `batch` or `each` needs.
    Shape,
    /// The path could be read in two ways, or is too long.
    Target,
    /// There are more items or calls than allowed.
    TooMany,
    /// A part that this one refers to has failed.
    Dependency,
    /// Nobody waits for the answer any more: the client has left, or the aggregate was answered without it.
    Abandoned,
}

impl Outcome {
    /// The stable code, for metrics and clients.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cached => "cached",
            Self::None => "none",
            Self::Skipped => "skipped",
            Self::Timeout => "timeout",
            Self::Deadline => "deadline",
            Self::Unavailable => "unavailable",
            Self::Status => "status",
            Self::Reset => "reset",
            Self::Encoded => "encoded",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::Shape => "shape",
            Self::Target => "target",
            Self::TooMany => "too_many",
            Self::Dependency => "dependency",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether the part has failed.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Ok | Self::Cached | Self::None | Self::Skipped)
    }

    /// The refusal of an aggregate whose required part has this outcome.
    pub const fn refusal(self) -> &'static Refusal {
        match self {
            Self::Timeout | Self::Deadline => &PART_TIMEOUT,
            Self::Unavailable => &PART_UNAVAILABLE,
            _ => &PART_FAILED,
        }
    }
}

/// A required part did not answer in time.
const PART_TIMEOUT: Refusal = Refusal {
    status: 504,
    title: "Gateway Timeout",
    code: "part_timeout",
    grpc_status: 4,
};

/// The service of a required part is not called at present.
const PART_UNAVAILABLE: Refusal = Refusal {
    status: 503,
    title: "Service Unavailable",
    code: "part_unavailable",
    grpc_status: 14,
};

/// A required part failed otherwise.
const PART_FAILED: Refusal = Refusal {
    status: 502,
    title: "Bad Gateway",
    code: "part_failed",
    grpc_status: 14,
};

/// A required part has a status that the part passes on; that status takes the place of this one.
pub const PART_REFUSED: Refusal = Refusal {
    status: 502,
    title: "Bad Gateway",
    code: "part_refused",
    grpc_status: 2,
};

/// The refusals that only aggregates make.
pub const REFUSALS: &[Refusal] = &[PART_TIMEOUT, PART_UNAVAILABLE, PART_FAILED, PART_REFUSED];
