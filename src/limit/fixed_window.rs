//! The fixed window: the state has the beginning of the current window, and what is used of it.

use super::{Rate, Taken, Verdict};
use crate::clock::Millis;
use crate::seam::store::{encode, numbers};
use crate::shared::table::Entry;

/// The beginning of the current window, and what is used of it. Another worker may already have begun the next one.
fn read(rate: &Rate, state: Option<&Entry>, now: Millis) -> (Millis, u64) {
    let start = rate.window_start(now);
    match state.and_then(|entry| numbers(&entry.value)) {
        Some([began, used]) if Millis::new(began) >= start => (Millis::new(began), used),
        _ => (start, 0),
    }
}

fn write(rate: &Rate, start: Millis, used: u64) -> Entry {
    Entry {
        until: start.saturating_add(rate.window),
        value: encode(&[start.get(), used]),
    }
}

pub(super) fn take(rate: &Rate, state: Option<&Entry>, cost: u64, now: Millis) -> Taken {
    let (start, used) = read(rate, state, now);
    let left = start.saturating_add(rate.window).saturating_sub(now);
    let after = used.saturating_add(cost);
    if after > rate.limit {
        return (Verdict::refused(rate.limit.saturating_sub(used), left, left), None);
    }
    let verdict = Verdict::allowed(rate.limit.saturating_sub(after), left);
    (verdict, Some(write(rate, start, after)))
}

pub(super) fn give_back(rate: &Rate, state: &Entry, cost: u64, taken: Millis) -> Option<Entry> {
    let (start, used) = read(rate, Some(state), taken);
    (used > 0).then(|| write(rate, start, used.saturating_sub(cost)))
}

pub(super) fn usage(state: &Entry) -> u64 {
    numbers(&state.value).map_or(0, |[_, used]: [u64; 2]| used)
}
