//! The schedule of fetches that all workers share: a few numbers in shared memory.

use crate::seam::store;

/// The shared state of one issuer's keys. Times are milliseconds since the epoch; 0 is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Counts the key sets that were published; 0 before the first.
    pub(super) version: u64,
    /// When the current set was fetched.
    pub(super) fetched_at: u64,
    /// When the next fetch is due.
    pub(super) refresh_at: u64,
    /// Until when a worker holds the lease to fetch.
    pub(super) lease_until: u64,
    /// Failed fetches since the last successful one.
    pub(super) failures: u64,
    /// The theoretical arrival time (GCRA) of fetches for unknown keys.
    pub(super) demand_at: u64,
}

impl Schedule {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let [version, fetched_at, refresh_at, lease_until, failures, demand_at] = store::numbers(bytes)?;
        Some(Self {
            version,
            fetched_at,
            refresh_at,
            lease_until,
            failures,
            demand_at,
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
        } = self;
        store::encode(&[version, fetched_at, refresh_at, lease_until, failures, demand_at])
    }

    /// Takes the lease if a fetch is due, or `demanded` by an unknown key that [may](Self::may_demand).
    pub(super) fn begin(self, now: u64, demanded: bool, lease: u64, cooldown: u64) -> Option<Self> {
        if self.lease_until > now {
            return None;
        }
        let mut next = self;
        if now < self.refresh_at {
            if !demanded || !self.may_demand(now, cooldown) {
                return None;
            }
            next.demand_at = self.demand_at.max(now).saturating_add(cooldown);
        }
        next.lease_until = now.saturating_add(lease);
        Some(next)
    }

    /// Whether an unknown key may cause a fetch: [`DEMAND_BURST`] at once, then one in each cooldown.
    pub(super) fn may_demand(self, now: u64, cooldown: u64) -> bool {
        let ahead = self.demand_at.max(now).saturating_sub(now);
        ahead <= cooldown.saturating_mul(DEMAND_BURST.saturating_sub(1))
    }

    /// Records a successful fetch; the next one is due after `interval` milliseconds.
    pub(super) fn succeed(self, now: u64, interval: u64) -> Self {
        Self {
            version: self.version.saturating_add(1),
            fetched_at: now,
            refresh_at: now.saturating_add(interval),
            lease_until: 0,
            failures: 0,
            ..self
        }
    }

    /// Records a failed fetch. The next one is due after a growing pause, or as before if that is later.
    pub(super) fn fail(self, now: u64) -> Self {
        let exponent = u32::try_from(self.failures).unwrap_or(u32::MAX).min(MAX_DOUBLINGS);
        let pause = FIRST_PAUSE.saturating_mul(1_u64.checked_shl(exponent).unwrap_or(u64::MAX));
        Self {
            refresh_at: self.refresh_at.max(now.saturating_add(pause)),
            lease_until: 0,
            failures: self.failures.saturating_add(1),
            ..self
        }
    }
}

/// The burst of fetches for unknown keys.
const DEMAND_BURST: u64 = 3;

/// The pause after the first failure, in milliseconds.
const FIRST_PAUSE: u64 = 1000;

/// How often the pause doubles: up to 32 s.
const MAX_DOUBLINGS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: u64 = 30_000;

    #[test]
    fn it_survives_shared_memory() {
        let schedule = Schedule {
            version: 1,
            fetched_at: 2,
            refresh_at: 3,
            lease_until: 4,
            failures: 5,
            demand_at: u64::MAX,
        };
        assert_eq!(Schedule::decode(&schedule.encode()), Some(schedule));
        for bad in [&[][..], &[0; 47], &[0; 49]] {
            assert_eq!(Schedule::decode(bad), None);
        }
    }

    #[test]
    fn one_fetches_at_a_time_and_a_lost_lease_ends() {
        let held = Schedule::default().begin(1000, false, 6000, COOLDOWN).unwrap();
        assert_eq!(held.begin(6999, true, 6000, COOLDOWN), None);
        assert!(held.begin(7000, false, 6000, COOLDOWN).is_some());
        let fetched = held.succeed(2000, 600_000);
        assert_eq!(
            (fetched.version, fetched.fetched_at, fetched.refresh_at),
            (1, 2000, 602_000)
        );
        assert_eq!(fetched.begin(601_999, false, 6000, COOLDOWN), None);
        assert!(fetched.begin(602_000, false, 6000, COOLDOWN).is_some());
    }

    #[test]
    fn unknown_keys_ask_three_times_and_then_once_in_a_cooldown() {
        let mut schedule = Schedule::default().succeed(0, 1_000_000_000);
        let mut asked = Vec::new();
        for now in (0..200_000).step_by(100) {
            if let Some(next) = schedule.begin(now, true, 0, COOLDOWN) {
                asked.push(now);
                schedule = next.succeed(now, 1_000_000_000);
            }
        }
        assert_eq!(asked, [0, 100, 200, 30_000, 60_000, 90_000, 120_000, 150_000, 180_000]);
    }

    #[test]
    fn failures_are_followed_by_growing_pauses() {
        let mut schedule = Schedule::default();
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            schedule = schedule.begin(now, false, 6000, COOLDOWN).unwrap().fail(now);
            pauses.push(schedule.refresh_at - now);
            now = schedule.refresh_at;
        }
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 32_000, 32_000]);
        assert_eq!(schedule.succeed(now, 5).failures, 0);
    }

    #[test]
    fn a_failed_demand_does_not_bring_the_next_refresh_nearer() {
        let schedule = Schedule::default()
            .succeed(0, 600_000)
            .begin(10, true, 6000, COOLDOWN)
            .unwrap()
            .fail(20);
        assert_eq!(schedule.refresh_at, 600_000);
    }
}
