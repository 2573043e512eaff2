//! Times, with the unit in the type: a number alone does not say whether it counts milliseconds or seconds.

use std::time::Duration;

/// Milliseconds: a point in time of one of the host's clocks, or a span of time. What names the value says which of the
/// two, and of which clock: the wall clock counts from the Unix epoch, the monotonic clock from an unknown moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u64);

/// Whole seconds: a point in time of the wall clock, counted from the Unix epoch, or a span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u64);

impl Millis {
    /// The empty span; as a point in time, one before all others.
    pub const ZERO: Self = Self(0);

    /// This many milliseconds.
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// The number of milliseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A span later, or the last point in time.
    pub const fn saturating_add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The difference, or zero if `other` is more.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// A span so many times as long, or the longest one.
    pub const fn saturating_mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }

    /// Whole seconds, rounded down.
    pub const fn seconds(self) -> Seconds {
        Seconds(self.0 / 1000)
    }

    /// Whole seconds, rounded up: after that time, the span is over.
    pub const fn seconds_up(self) -> Seconds {
        Seconds(self.0.div_ceil(1000))
    }

    /// The span as the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The bytes in the memory that workers share, for [`from_le_bytes`](Self::from_le_bytes).
    pub const fn to_le_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// Reads the bytes of [`to_le_bytes`](Self::to_le_bytes).
    pub const fn from_le_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }
}

impl From<Duration> for Millis {
    /// Rounded down; the longest span if it is longer.
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Seconds {
    /// This many seconds.
    pub const fn new(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The number of seconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A span later, or the last point in time.
    pub const fn saturating_add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The same in milliseconds, or the most of them that there are.
    pub const fn millis(self) -> Millis {
        Millis(self.0.saturating_mul(1000))
    }

    /// The span as the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_as_they_say() {
        for (millis, down, up) in [
            (0, 0, 0),
            (1, 0, 1),
            (999, 0, 1),
            (1000, 1, 1),
            (1001, 1, 2),
            (u64::MAX, u64::MAX / 1000, u64::MAX / 1000 + 1),
        ] {
            let millis = Millis::new(millis);
            assert_eq!((millis.seconds().get(), millis.seconds_up().get()), (down, up));
        }
    }

    #[test]
    fn nothing_overflows() {
        let (last, one) = (Millis::new(u64::MAX), Millis::new(1));
        assert_eq!(last.saturating_add(one), last);
        assert_eq!(last.saturating_mul(2), last);
        assert_eq!(one.saturating_sub(last), Millis::ZERO);
        assert_eq!(Millis::from(Duration::MAX), last);
        let last_second = Seconds::new(u64::MAX);
        assert_eq!(last_second.saturating_add(Seconds::new(1)), last_second);
        assert_eq!(last_second.millis(), last);
    }

    #[test]
    fn it_survives_shared_memory() {
        let millis = Millis::new(0x0102_0304_0506_0708);
        assert_eq!(millis.to_le_bytes(), [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(Millis::from_le_bytes(millis.to_le_bytes()), millis);
    }
}
