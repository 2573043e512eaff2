//! The exact window: the times of the last requests, one for each cost unit, the oldest first.

use super::{MOST_EXACT, Rate, Taken, Verdict};
use crate::clock::Millis;
use crate::shared::table::Entry;

/// The times within the last `window`.
fn read(rate: &Rate, state: Option<&Entry>, now: Millis) -> Vec<Millis> {
    let words = state
        .map_or(&[][..], |entry| entry.value.as_slice())
        .chunks_exact(size_of::<Millis>());
    words
        .filter_map(|word| word.try_into().ok().map(Millis::from_le_bytes))
        .filter(|moment| moment.saturating_add(rate.window) > now)
        .collect()
}

fn write(rate: &Rate, moments: &[Millis]) -> Entry {
    let newest = moments.iter().max().copied().unwrap_or_default();
    Entry {
        until: newest.saturating_add(rate.window),
        value: moments.iter().flat_map(|moment| moment.to_le_bytes()).collect(),
    }
}

pub(super) fn take(rate: &Rate, state: Option<&Entry>, cost: u64, now: Millis) -> Taken {
    let mut moments = read(rate, state, now);
    let limit = rate.limit.min(MOST_EXACT);
    let used = u64::try_from(moments.len()).unwrap_or(u64::MAX);
    let leaves = |moment: &Millis| moment.saturating_add(rate.window).saturating_sub(now);
    let reset = moments.iter().map(leaves).max().unwrap_or_default();
    let excess = used.saturating_add(cost).saturating_sub(limit);
    if excess > 0 {
        let mut sorted: Vec<Millis> = moments.iter().map(leaves).collect();
        sorted.sort_unstable();
        // `excess` units must leave first; if there are fewer, it never fits.
        let last = usize::try_from(excess.saturating_sub(1)).ok();
        let wait = last.and_then(|last| sorted.get(last)).copied().unwrap_or(rate.window);
        return (Verdict::refused(limit.saturating_sub(used), reset, wait), None);
    }
    let count = usize::try_from(cost).unwrap_or_default();
    moments.extend(std::iter::repeat_n(now, count));
    let reset = if cost > 0 { rate.window } else { reset };
    let remaining = limit.saturating_sub(used).saturating_sub(cost);
    (Verdict::allowed(remaining, reset), Some(write(rate, &moments)))
}

pub(super) fn give_back(state: &Entry, cost: u64, taken: Millis) -> Option<Entry> {
    let words: Vec<_> = state.value.chunks_exact(size_of::<Millis>()).collect();
    let mut left = cost;
    let mut value = Vec::new();
    for word in words.iter().rev() {
        if left > 0 && **word == taken.to_le_bytes() {
            left = left.saturating_sub(1);
        } else {
            value.splice(0..0, word.iter().copied());
        }
    }
    (left < cost).then_some(Entry {
        until: state.until,
        value,
    })
}

pub(super) fn usage(state: &Entry) -> u64 {
    u64::try_from(state.value.len()).unwrap_or(u64::MAX)
}
