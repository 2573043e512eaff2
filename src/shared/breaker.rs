//! Circuit breakers, which pause calls to a service that does not answer, so that requests do not wait in vain.

use crate::clock::{Millis, Seconds};
use crate::seam::store::{self, Store, update};

/// The circuit breaker of one service, shared by all workers. All times are of one clock.
#[derive(Debug)]
pub struct Breaker {
    key: String,
}

impl Breaker {
    /// A breaker with its state under `PREFIX.health` in the store.
    pub fn new(prefix: &str) -> Self {
        Self {
            key: format!("{prefix}.health"),
        }
    }

    /// How long the breaker is still open, rounded up; `None` if the service may be called.
    pub fn open_for(&self, now: Millis, store: &dyn Store) -> Option<Seconds> {
        let [_, until] = self.state(store);
        left(Millis::new(until), now).map(Millis::seconds_up)
    }

    /// Records an answer of the service.
    pub fn succeeded(&self, store: &dyn Store) {
        if self.state(store) != [0, 0] {
            store.write(&self.key, &store::encode(&[0, 0]), 0);
        }
    }

    /// Records a failure. After `TOLERATED` in a row, the breaker opens, each time for twice as long. Later answers
    /// to earlier calls do not count.
    pub fn failed(&self, now: Millis, store: &dyn Store) {
        update(store, &self.key, |bytes| {
            let [failures, until] = bytes.and_then(store::numbers).unwrap_or_default();
            if left(Millis::new(until), now).is_some() {
                return None;
            }
            let failures = failures.saturating_add(1);
            let pause = match failures.checked_sub(TOLERATED) {
                None => Millis::ZERO,
                Some(more) => FIRST_PAUSE.saturating_mul(1 << more.min(MAX_DOUBLINGS)),
            };
            Some((store::encode(&[failures, now.saturating_add(pause).get()]), ()))
        });
    }

    /// The failures in a row, and until when the breaker is open, in milliseconds.
    fn state(&self, store: &dyn Store) -> [u64; 2] {
        store
            .read(&self.key)
            .and_then(|(bytes, _)| store::numbers(&bytes))
            .unwrap_or_default()
    }
}

/// The rest of a pause. One longer than possible is ignored, as the clock was set back.
fn left(until: Millis, now: Millis) -> Option<Millis> {
    let left = until.saturating_sub(now);
    (left > Millis::ZERO && left <= LONGEST_PAUSE).then_some(left)
}

/// Failures in a row that open the breaker.
const TOLERATED: u64 = 3;

const FIRST_PAUSE: Millis = Millis::new(1000);
const MAX_DOUBLINGS: u64 = 3;
const LONGEST_PAUSE: Millis = FIRST_PAUSE.saturating_mul(1 << MAX_DOUBLINGS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::store::memory::Memory;

    /// For how many seconds it is open, at a time in milliseconds.
    fn open_for(breaker: &Breaker, now: u64, store: &Memory) -> Option<u64> {
        breaker.open_for(Millis::new(now), store).map(Seconds::get)
    }

    #[test]
    fn a_service_that_fails_is_left_alone_for_longer_and_longer() {
        let (breaker, store) = (Breaker::new("p"), Memory::default());
        for now in 0..2 {
            breaker.failed(Millis::new(now), &store);
            assert_eq!(open_for(&breaker, now, &store), None);
        }
        let mut now = 2;
        for seconds in [1, 2, 4, 8, 8] {
            // The second call was sent before.
            breaker.failed(Millis::new(now), &store);
            breaker.failed(Millis::new(now + 10), &store);
            assert_eq!(open_for(&breaker, now, &store), Some(seconds));
            now += seconds * 1000;
            assert_eq!(open_for(&breaker, now - 1, &store), Some(1));
            assert_eq!(open_for(&breaker, now, &store), None, "it is tried again");
        }
        breaker.succeeded(&store);
        breaker.failed(Millis::new(now), &store);
        assert_eq!(open_for(&breaker, now, &store), None, "the count begins anew");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_closed() {
        let (breaker, store) = (Breaker::new("p"), Memory::default());
        (0..3).for_each(|_| breaker.failed(Millis::new(1_000_000), &store));
        assert_eq!(open_for(&breaker, 1_000_000, &store), Some(1));
        assert_eq!(open_for(&breaker, 500_000, &store), None);
    }
}
