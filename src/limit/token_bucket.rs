//! The token bucket by the generic cell rate algorithm: the state is the time at which the bucket will be full again, in
//! nanoseconds.

use super::{Rate, Taken, Verdict, scaled_up};
use crate::clock::Millis;
use crate::seam::store::{encode, numbers};
use crate::shared::table::Entry;

/// Nanoseconds in a millisecond: several tokens may come in a millisecond.
const FINE: u64 = 1_000_000;

fn nanos(time: Millis) -> u64 {
    time.get().saturating_mul(FINE)
}

/// Rounded up.
fn millis(nanos: u64) -> Millis {
    Millis::new(nanos.div_ceil(FINE))
}

/// The time in which `tokens` come, in nanoseconds. Rounded up, so that every cost takes time.
fn span(rate: &Rate, tokens: u64) -> u64 {
    scaled_up(tokens, nanos(rate.window), rate.limit)
}

fn write(full_at: u64) -> Entry {
    Entry {
        until: millis(full_at),
        value: encode(&[full_at]),
    }
}

pub(super) fn take(rate: &Rate, state: Option<&Entry>, cost: u64, now: Millis) -> Taken {
    let now_nanos = nanos(now);
    let full_at = state
        .and_then(|entry| numbers(&entry.value))
        .map_or(now_nanos, |[full_at]: [u64; 1]| full_at.max(now_nanos));
    let capacity = span(rate, rate.burst);
    let left = |full_at: u64| {
        let room = u128::from(capacity.saturating_sub(full_at.saturating_sub(now_nanos)));
        let window = u128::from(nanos(rate.window));
        let tokens = room.saturating_mul(rate.limit.into()).checked_div(window);
        tokens.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(u64::MAX)
    };
    let reset = |full_at: u64| millis(full_at.saturating_sub(now_nanos));
    let after = full_at.saturating_add(span(rate, cost));
    let over = after.saturating_sub(now_nanos).saturating_sub(capacity);
    if over > 0 {
        let wait = if cost > rate.burst { rate.window } else { millis(over) };
        return (Verdict::refused(left(full_at), reset(full_at), wait), None);
    }
    (Verdict::allowed(left(after), reset(after)), Some(write(after)))
}

pub(super) fn give_back(rate: &Rate, state: &Entry, cost: u64) -> Option<Entry> {
    let [full_at]: [u64; 1] = numbers(&state.value)?;
    Some(write(full_at.saturating_sub(span(rate, cost))))
}

pub(super) fn usage(state: &Entry) -> u64 {
    numbers(&state.value).map_or(0, |[full_at]: [u64; 1]| full_at)
}
