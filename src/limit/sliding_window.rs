//! The sliding window: the current count, plus the previous one weighted by its overlap with the last `window`.

use super::{Rate, Taken, Verdict, scaled_down, scaled_up};
use crate::clock::Millis;
use crate::seam::store::{encode, numbers};
use crate::shared::table::Entry;

struct State {
    start: Millis,
    used: u64,
    before: u64,
}

impl State {
    fn read(rate: &Rate, state: Option<&Entry>, now: Millis) -> Self {
        let start = rate.window_start(now);
        let (used, before) = match state.and_then(|entry| numbers(&entry.value)) {
            // Another worker may already have begun the next window.
            Some([began, used, before]) if Millis::new(began) >= start => {
                return Self {
                    start: Millis::new(began),
                    used,
                    before,
                };
            }
            Some([began, used, _]) if Millis::new(began).saturating_add(rate.window) == start => (0, used),
            _ => (0, 0),
        };
        Self { start, used, before }
    }

    fn write(&self, rate: &Rate) -> Entry {
        Entry {
            until: self.start.saturating_add(rate.window.saturating_mul(2)),
            value: encode(&[self.start.get(), self.used, self.before]),
        }
    }

    /// The time until the current window ends.
    fn left(&self, rate: &Rate, now: Millis) -> Millis {
        self.start
            .saturating_add(rate.window)
            .saturating_sub(now)
            .min(rate.window)
    }

    /// The weighted count, rounded down. The overlap excludes the millisecond exactly `window` ago: so a client with
    /// evenly spaced requests at its limit never exceeds it. (With `limit` requests in the previous window, the
    /// overlapping part plus the new ones are at most `limit`.)
    fn weighted(&self, rate: &Rate, now: Millis) -> u64 {
        let overlap = self.left(rate, now).saturating_sub(Millis::new(1));
        let before = scaled_down(self.before, overlap.get(), rate.window.get());
        self.used.saturating_add(before)
    }

    /// The time until `cost` fits without further requests.
    fn wait(&self, rate: &Rate, cost: u64, now: Millis) -> Millis {
        let left = self.left(rate, now);
        let room = rate.limit.saturating_sub(cost);
        if cost > rate.limit {
            return rate.window;
        }
        // The millisecond of a window from which on at most `room` of the previous window's `count` overlaps.
        let until = |count: u64, room: u64| match count.checked_sub(room) {
            None | Some(0) => Millis::ZERO,
            Some(_) => {
                let overlap = scaled_up(room.saturating_add(1), rate.window.get(), count);
                rate.window.saturating_sub(Millis::new(overlap))
            }
        };
        if self.used <= room {
            let elapsed = rate.window.saturating_sub(left);
            until(self.before, room.saturating_sub(self.used)).saturating_sub(elapsed)
        } else {
            left.saturating_add(until(self.used, room))
        }
    }
}

pub(super) fn take(rate: &Rate, state: Option<&Entry>, cost: u64, now: Millis) -> Taken {
    let mut state = State::read(rate, state, now);
    let weighted = state.weighted(rate, now);
    let left = state.left(rate, now);
    let reset = |state: &State| match (state.used, state.before) {
        (0, 0) => Millis::ZERO,
        (0, _) => left,
        _ => left.saturating_add(rate.window),
    };
    if weighted.saturating_add(cost) > rate.limit {
        let verdict = Verdict::refused(
            rate.limit.saturating_sub(weighted),
            reset(&state),
            state.wait(rate, cost, now),
        );
        return (verdict, None);
    }
    state.used = state.used.saturating_add(cost);
    let remaining = rate.limit.saturating_sub(weighted).saturating_sub(cost);
    (Verdict::allowed(remaining, reset(&state)), Some(state.write(rate)))
}

pub(super) fn give_back(rate: &Rate, state: &Entry, cost: u64, taken: Millis) -> Option<Entry> {
    let mut state = State::read(rate, Some(state), taken);
    if state.used == 0 {
        return None;
    }
    state.used = state.used.saturating_sub(cost);
    Some(state.write(rate))
}

pub(super) fn usage(state: &Entry) -> u64 {
    numbers(&state.value).map_or(0, |[_, used, before]: [u64; 3]| used.saturating_add(before))
}
