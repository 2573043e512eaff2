//! The schedule of fetches that all workers share: a few numbers in shared memory.

use crate::clock::Millis;
use crate::seam::store;

/// The shared state of one issuer's keys. Times are of the wall clock; [`Millis::ZERO`] is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Counts the key sets that were published; 0 before the first.
    pub(super) version: u64,
    /// When the current set was fetched.
    pub(super) fetched_at: Millis,
    /// When the next fetch is due.
    pub(super) refresh_at: Millis,
    /// Until when a worker holds the lease to fetch.
    pub(super) lease_until: Millis,
    /// Failed fetches since the last successful one.
    pub(super) failures: u64,
    /// The theoretical arrival time (GCRA) of fetches for unknown keys.
    pub(super) demand_at: Millis,
    /// Whether a request of any worker waits for a key that is not in the set.
    pub(super) is_demanded: bool,
}

impl Schedule {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let [
            version,
            fetched_at,
            refresh_at,
            lease_until,
            failures,
            demand_at,
            is_demanded,
        ] = store::numbers(bytes)?;
        Some(Self {
            version,
            fetched_at: Millis::new(fetched_at),
            refresh_at: Millis::new(refresh_at),
            lease_until: Millis::new(lease_until),
            failures,
            demand_at: Millis::new(demand_at),
            is_demanded: is_demanded != 0,
        })
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let Self {
            version,
            fetched_at,
            refresh_at,
            lease_until,
            failures,
            demand_at,
            is_demanded,
        } = self;
        store::encode(&[
            version,
            fetched_at.get(),
            refresh_at.get(),
            lease_until.get(),
            failures,
            demand_at.get(),
            is_demanded.into(),
        ])
    }

    /// Takes the lease if a fetch is due, or demanded by an unknown key that [may](Self::may_demand).
    pub(super) fn begin(self, now: Millis, lease: Millis, cooldown: Millis) -> Option<Self> {
        if self.lease_until > now {
            return None;
        }
        let mut next = self;
        if now < self.refresh_at {
            if !self.is_demanded || !self.may_demand(now, cooldown) {
                return None;
            }
            next.demand_at = self.demand_at.max(now).saturating_add(cooldown);
        }
        next.is_demanded = false;
        next.lease_until = now.saturating_add(lease);
        Some(next)
    }

    /// Whether an unknown key may cause a fetch: [`DEMAND_BURST`] at once, then one in each cooldown.
    pub(super) fn may_demand(self, now: Millis, cooldown: Millis) -> bool {
        let ahead = self.demand_at.max(now).saturating_sub(now);
        ahead <= cooldown.saturating_mul(DEMAND_BURST.saturating_sub(1))
    }

    /// Records a successful fetch; the next one is due after `interval`.
    pub(super) fn succeed(self, now: Millis, interval: Millis) -> Self {
        Self {
            version: self.version.saturating_add(1),
            fetched_at: now,
            refresh_at: now.saturating_add(interval),
            lease_until: Millis::ZERO,
            failures: 0,
            is_demanded: false,
            ..self
        }
    }

    /// Records a failed fetch. The next one is due after a growing pause, or as before if that is later.
    pub(super) fn fail(self, now: Millis) -> Self {
        let exponent = u32::try_from(self.failures).unwrap_or(u32::MAX).min(MAX_DOUBLINGS);
        let pause = FIRST_PAUSE.saturating_mul(1_u64.checked_shl(exponent).unwrap_or(u64::MAX));
        Self {
            refresh_at: self.refresh_at.max(now.saturating_add(pause)),
            lease_until: Millis::ZERO,
            failures: self.failures.saturating_add(1),
            ..self
        }
    }
}

/// The burst of fetches for unknown keys.
const DEMAND_BURST: u64 = 3;

/// The pause after the first failure.
const FIRST_PAUSE: Millis = Millis::new(1000);

/// How often the pause doubles: up to 32 s.
const MAX_DOUBLINGS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Millis = Millis::new(30_000);
    const LEASE: Millis = Millis::new(6000);

    fn at(millis: u64) -> Millis {
        Millis::new(millis)
    }

    fn demanded(schedule: Schedule) -> Schedule {
        Schedule {
            is_demanded: true,
            ..schedule
        }
    }

    #[test]
    fn it_survives_shared_memory() {
        let schedule = Schedule {
            version: 1,
            fetched_at: at(2),
            refresh_at: at(3),
            lease_until: at(4),
            failures: 5,
            demand_at: at(u64::MAX),
            is_demanded: true,
        };
        assert_eq!(Schedule::decode(&schedule.encode()), Some(schedule));
        for bad in [&[][..], &[0; 55], &[0; 57]] {
            assert_eq!(Schedule::decode(bad), None);
        }
    }

    #[test]
    fn one_fetches_at_a_time_and_a_lost_lease_ends() {
        let held = Schedule::default().begin(at(1000), LEASE, COOLDOWN).unwrap();
        assert_eq!(demanded(held).begin(at(6999), LEASE, COOLDOWN), None);
        assert!(held.begin(at(7000), LEASE, COOLDOWN).is_some());
        let fetched = held.succeed(at(2000), at(600_000));
        assert_eq!(
            (fetched.version, fetched.fetched_at, fetched.refresh_at),
            (1, at(2000), at(602_000))
        );
        assert_eq!(fetched.begin(at(601_999), LEASE, COOLDOWN), None);
        assert!(fetched.begin(at(602_000), LEASE, COOLDOWN).is_some());
    }

    #[test]
    fn unknown_keys_ask_three_times_and_then_once_in_a_cooldown() {
        let mut schedule = Schedule::default().succeed(at(0), at(1_000_000_000));
        let mut asked = Vec::new();
        for now in (0..200_000).step_by(100) {
            if let Some(next) = demanded(schedule).begin(at(now), Millis::ZERO, COOLDOWN) {
                asked.push(now);
                schedule = next.succeed(at(now), at(1_000_000_000));
            }
        }
        assert_eq!(asked, [0, 100, 200, 30_000, 60_000, 90_000, 120_000, 150_000, 180_000]);
    }

    #[test]
    fn failures_are_followed_by_growing_pauses() {
        let mut schedule = Schedule::default();
        let mut now = Millis::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            schedule = schedule.begin(now, LEASE, COOLDOWN).unwrap().fail(now);
            pauses.push(schedule.refresh_at.saturating_sub(now).get());
            now = schedule.refresh_at;
        }
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 32_000, 32_000]);
        assert_eq!(schedule.succeed(now, at(5)).failures, 0);
    }

    #[test]
    fn a_failed_demand_does_not_bring_the_next_refresh_nearer() {
        let schedule = demanded(Schedule::default().succeed(at(0), at(600_000)))
            .begin(at(10), LEASE, COOLDOWN)
            .unwrap()
            .fail(at(20));
        assert_eq!(schedule.refresh_at, at(600_000));
    }
}
