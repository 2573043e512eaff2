//! Rate limiting: four algorithms, each over a few bytes of state in the store.
//!
//! Times are of a monotonic clock. All computations saturate. A state that the algorithm cannot read counts as empty: a
//! client that has used nothing.

mod exact_window;
mod fixed_window;
mod sliding_window;
mod token_bucket;

use serde::Deserialize;

use crate::clock::Millis;
use crate::shared::table::Entry;

/// The algorithm of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// The current window's count, plus the previous one's in proportion to its overlap with the last `window`. Up to
    /// just under twice the limit in some windows, with bursts; evenly spaced requests are never refused.
    SlidingWindow,
    /// The time of every request in the last `window`: never more than the limit in any window. For limits up to 100.
    ExactWindow,
    /// A bucket that refills evenly by `limit` tokens in each `window`, and holds up to `burst` (GCRA). Up to `limit`
    /// plus `burst` in some windows.
    TokenBucket,
    /// Consecutive windows with separate counts. Up to twice the limit in some windows, across the edge of two.
    FixedWindow,
}

/// The parameters of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Cost units in each window; at least 1.
    pub limit: u64,
    /// The window; at least a millisecond.
    pub window: Millis,
    /// Maximum cost units at once, for the token bucket.
    pub burst: u64,
}

impl Rate {
    fn window_start(&self, now: Millis) -> Millis {
        let elapsed = now.get().checked_rem(self.window.get()).unwrap_or_default();
        now.saturating_sub(Millis::new(elapsed))
    }
}

/// The decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request is within the limit; only then it is counted.
    pub allowed: bool,
    /// The remaining cost units after it.
    pub remaining: u64,
    /// The time until the whole limit is available, without further requests.
    pub reset: Millis,
    /// The time until the same request would be allowed without further requests; zero if it is allowed.
    pub retry_after: Millis,
}

/// The verdict about a request, and the new state if it has changed.
type Taken = (Verdict, Option<Entry>);

impl Algorithm {
    /// Counts a request of this cost if it is allowed now.
    pub fn take(self, rate: &Rate, state: Option<&Entry>, cost: u64, now: Millis) -> Taken {
        match self {
            Self::SlidingWindow => sliding_window::take(rate, state, cost, now),
            Self::ExactWindow => exact_window::take(rate, state, cost, now),
            Self::TokenBucket => token_bucket::take(rate, state, cost, now),
            Self::FixedWindow => fixed_window::take(rate, state, cost, now),
        }
    }

    /// The state without a request of this cost that was allowed at `taken`; `None` if it is not in the state any more.
    pub fn give_back(self, rate: &Rate, state: &Entry, cost: u64, taken: Millis) -> Option<Entry> {
        match self {
            Self::SlidingWindow => sliding_window::give_back(rate, state, cost, taken),
            Self::ExactWindow => exact_window::give_back(state, cost, taken),
            Self::TokenBucket => token_bucket::give_back(rate, state, cost),
            Self::FixedWindow => fixed_window::give_back(rate, state, cost, taken),
        }
    }

    /// Whether a state has used less than half of its limit, so that it may be evicted.
    pub fn is_little(self, rate: &Rate, state: &Entry, now: Millis) -> bool {
        let (verdict, _) = self.take(rate, Some(state), 0, now);
        let whole = if self == Self::TokenBucket {
            rate.burst
        } else {
            rate.limit
        };
        verdict.remaining > whole / 2
    }

    /// A measure of how much of the limit is used, for comparison with other states of the same limit.
    pub fn usage(self, state: &Entry) -> u64 {
        match self {
            Self::SlidingWindow => sliding_window::usage(state),
            Self::ExactWindow => exact_window::usage(state),
            Self::TokenBucket => token_bucket::usage(state),
            Self::FixedWindow => fixed_window::usage(state),
        }
    }

    /// The maximum size of a state in bytes.
    pub fn state_size(self, limit: u64) -> usize {
        match self {
            Self::SlidingWindow => 24,
            Self::ExactWindow => usize::try_from(limit.min(MOST_EXACT))
                .unwrap_or_default()
                .saturating_mul(8),
            Self::TokenBucket => 8,
            Self::FixedWindow => 16,
        }
    }
}

impl Verdict {
    fn allowed(remaining: u64, reset: Millis) -> Self {
        Self {
            allowed: true,
            remaining,
            reset,
            retry_after: Millis::ZERO,
        }
    }

    fn refused(remaining: u64, reset: Millis, retry_after: Millis) -> Self {
        Self {
            allowed: false,
            remaining,
            reset,
            retry_after: retry_after.max(Millis::new(1)),
        }
    }
}

/// `value * numerator / denominator`, rounded up.
fn scaled_up(value: u64, numerator: u64, denominator: u64) -> u64 {
    let product = u128::from(value).saturating_mul(numerator.into());
    u64::try_from(product.div_ceil(u128::from(denominator).max(1))).unwrap_or(u64::MAX)
}

/// `value * numerator / denominator`, rounded down.
fn scaled_down(value: u64, numerator: u64, denominator: u64) -> u64 {
    let product = u128::from(value).saturating_mul(numerator.into());
    let quotient = product.checked_div(u128::from(denominator).max(1)).unwrap_or_default();
    u64::try_from(quotient).unwrap_or(u64::MAX)
}

/// The highest limit of the exact window.
pub const MOST_EXACT: u64 = 100;

#[cfg(test)]
mod tests;
