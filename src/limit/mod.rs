//! How much is allowed in how much time: four algorithms over a few bytes of state, which the store keeps.
//!
//! Times are milliseconds of a clock that never goes back. Every computation saturates, and every state that is not one of
//! the algorithm's own is an empty one: a client that has used nothing.

mod exact_window;
mod fixed_window;
mod sliding_window;
mod token_bucket;

use serde::Deserialize;

use crate::shared::table::Entry;

/// How a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// The present window, and of the one before as much as still overlaps the last `window`. Up to just under twice the
    /// limit in some windows, where requests come in bursts; who comes evenly is never refused.
    SlidingWindow,
    /// Every request of the last `window`, one by one: never more than the limit in any window. For limits up to 100.
    ExactWindow,
    /// `limit` tokens come evenly in each `window`, and up to `burst` of them are saved (GCRA). Up to `limit` and `burst`
    /// together in some windows.
    TokenBucket,
    /// Windows one after the other. Up to twice the limit in some windows, at the edge of two.
    FixedWindow,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Cost units in each window; at least 1.
    pub limit: u64,
    /// Milliseconds; at least 1.
    pub window: u64,
    /// Cost units at once, for the token bucket.
    pub burst: u64,
}

impl Rate {
    /// When the window began that `now` is in.
    fn window_start(&self, now: u64) -> u64 {
        now.saturating_sub(now.checked_rem(self.window).unwrap_or_default())
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is within the limit; only then it has been counted.
    pub allowed: bool,
    /// What is left after it.
    pub remaining: u64,
    /// Until everything is left again, if nothing more comes.
    pub reset: u64,
    /// Until the same request would be allowed, if nothing more comes; 0 where it is.
    pub retry_after: u64,
}

/// What an algorithm makes of a request: the verdict, and the state after it where it has changed.
type Taken = (Verdict, Option<Entry>);

impl Algorithm {
    /// Whether a request of this cost is allowed now.
    pub fn take(self, rate: &Rate, state: Option<&Entry>, cost: u64, now: u64) -> Taken {
        match self {
            Self::SlidingWindow => sliding_window::take(rate, state, cost, now),
            Self::ExactWindow => exact_window::take(rate, state, cost, now),
            Self::TokenBucket => token_bucket::take(rate, state, cost, now),
            Self::FixedWindow => fixed_window::take(rate, state, cost, now),
        }
    }

    /// The state without a request of this cost that was allowed at `taken`; `None` where nothing is left to give back.
    pub fn give_back(self, rate: &Rate, state: &Entry, cost: u64, taken: u64) -> Option<Entry> {
        match self {
            Self::SlidingWindow => sliding_window::give_back(rate, state, cost, taken),
            Self::ExactWindow => exact_window::give_back(state, cost, taken),
            Self::TokenBucket => token_bucket::give_back(rate, state, cost),
            Self::FixedWindow => fixed_window::give_back(rate, state, cost, taken),
        }
    }

    /// Whether a state has used so little of a limit that it may be forgotten: less than half.
    pub fn is_little(self, rate: &Rate, state: &Entry, now: u64) -> bool {
        let (verdict, _) = self.take(rate, Some(state), 0, now);
        let whole = if self == Self::TokenBucket {
            rate.burst
        } else {
            rate.limit
        };
        verdict.remaining > whole / 2
    }

    /// How much of a limit a state has used, for comparison with others of the same limit.
    pub fn usage(self, state: &Entry) -> u64 {
        match self {
            Self::SlidingWindow => sliding_window::usage(state),
            Self::ExactWindow => exact_window::usage(state),
            Self::TokenBucket => token_bucket::usage(state),
            Self::FixedWindow => fixed_window::usage(state),
        }
    }

    /// The most bytes of a state.
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
    fn allowed(remaining: u64, reset: u64) -> Self {
        Self {
            allowed: true,
            remaining,
            reset,
            retry_after: 0,
        }
    }

    fn refused(remaining: u64, reset: u64, retry_after: u64) -> Self {
        Self {
            allowed: false,
            remaining,
            reset,
            retry_after: retry_after.max(1),
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

/// The most requests that the exact window counts one by one.
pub const MOST_EXACT: u64 = 100;

#[cfg(test)]
mod tests;
