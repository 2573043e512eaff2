//! Spans of time and moments.

use std::fmt;

use crate::clock::{Millis, Seconds};
use crate::schema::schema;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A span of time, written as a whole number and a unit: `250ms`, `60s`, `10m`, `24h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

/// A moment since the epoch, written as RFC 3339 has it: `2027-01-01T00:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub Seconds);

// === impl Duration ===

impl Duration {
    /// Whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// The span in whole milliseconds, rounded down.
    pub fn millis(self) -> Millis {
        Millis::from(self.0)
    }

    /// The span in whole seconds, rounded down.
    pub const fn seconds(self) -> Seconds {
        Seconds::new(self.0.as_secs())
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let millis = match text.strip_prefix(digits)? {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let count: u64 = digits.parse().ok()?;
        Some(Self(std::time::Duration::from_millis(count.checked_mul(millis)?)))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a duration such as `250ms`, `60s`, `10m` or `24h`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                Duration::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

// === impl Timestamp ===

impl Timestamp {
    /// Fractions of a second are cut off. `None` for what is no date, or one before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let seconds = u64::try_from(moment.unix_timestamp()).ok()?;
        Some(Self(Seconds::new(seconds)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever lies beyond the year 9999 is for ever.
        let seconds = i64::try_from(self.0.get()).unwrap_or(i64::MAX).min(LATEST);
        let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let text = moment.format(&Rfc3339).unwrap_or_default();
        formatter.write_str(&text)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"a moment such as `2027-01-01T00:00:00Z`"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// 9999-12-31T23:59:59Z, the last moment that RFC 3339 can write.
const LATEST: i64 = 253_402_300_799;

schema!(Duration, "Duration", {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"});
schema!(Timestamp, "Timestamp", {"type": "string", "format": "date-time"});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let millis = |text| Duration::parse(text).map(|duration| duration.0.as_millis());
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("60s"), Some(60_000));
        assert_eq!(millis("10m"), Some(600_000));
        assert_eq!(millis("24h"), Some(86_400_000));
        assert_eq!(millis("0s"), Some(0));
        for bad in [
            "",
            "s",
            "60",
            "60 s",
            "1.5s",
            "-1s",
            "60S",
            "1d",
            "1h30m",
            "99999999999999999999s",
            "9999999999999999999h",
            "+1s",
            "ÿs",
        ] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn moments_are_those_of_rfc_3339() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2027-01-01T00:00:00Z", 1_798_761_600),
            ("2027-01-01T01:00:00+01:00", 1_798_761_600),
            ("2027-01-01T00:00:00.999Z", 1_798_761_600),
        ] {
            let moment = Timestamp(Seconds::new(seconds));
            assert_eq!(Timestamp::parse(text), Some(moment), "{text}");
        }
        for bad in [
            "",
            "2027-01-01",
            "2027-01-01T00:00:00",
            "1969-12-31T23:59:59Z",
            "2027-13-01T00:00:00Z",
            "1798761600",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
        let written = |seconds| Timestamp(Seconds::new(seconds)).to_string();
        assert_eq!(written(1_798_761_600), "2027-01-01T00:00:00Z");
        assert_eq!(written(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
