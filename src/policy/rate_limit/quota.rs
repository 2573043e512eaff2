//! The quota that a client is told.

use std::sync::Arc;

use super::config::QuotaHeaders;
use crate::clock::Seconds;
use crate::limit::{Rate, Verdict};

/// The remaining quota of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    name: Arc<str>,
    limit: u64,
    /// The window, rounded up.
    window: Seconds,
    remaining: u64,
    /// The time until the whole limit is available again, rounded up.
    reset: Seconds,
}

impl Quota {
    pub(super) fn new(name: &Arc<str>, rate: &Rate, verdict: &Verdict) -> Self {
        Self {
            name: Arc::clone(name),
            limit: rate.limit,
            window: rate.window.seconds_up(),
            remaining: verdict.remaining,
            reset: verdict.reset.seconds_up(),
        }
    }

    /// The quota with less remaining.
    pub(super) fn tighter(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.remaining <= self.remaining => other,
            _ => self,
        }
    }

    /// The quota as response headers.
    pub fn headers(&self, kind: QuotaHeaders) -> Vec<(&'static str, String)> {
        let Self {
            name,
            limit,
            window,
            remaining,
            reset,
        } = self;
        let (window, reset) = (window.get(), reset.get());
        match kind {
            QuotaHeaders::Ratelimit => vec![
                ("ratelimit-policy", item(name, [(";q=", *limit), (";w=", window)])),
                ("ratelimit", item(name, [(";r=", *remaining), (";t=", reset)])),
            ],
            QuotaHeaders::XRatelimit => vec![
                ("x-ratelimit-limit", limit.to_string()),
                ("x-ratelimit-remaining", remaining.to_string()),
                ("x-ratelimit-reset", reset.to_string()),
            ],
            QuotaHeaders::None => Vec::new(),
        }
    }
}

/// A name as a string with parameters (RFC 9651 section 3.1.2), as `"name";q=1;w=60`.
fn item(name: &str, parameters: [(&str, u64); 2]) -> String {
    let mut text = String::with_capacity(name.len().saturating_add(48));
    text.push('"');
    text.push_str(name);
    text.push('"');
    for (parameter, number) in parameters {
        text.push_str(parameter);
        text.push_str(itoa::Buffer::new().format(number));
    }
    text
}
