// SPDX-License-Identifier: GPL-3.0-or-later
//! Times as users read them: in the time zone of this machine, and as an age.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Time ahead of now from which a date must be from another clock, seconds.
const AHEAD_SECS: i64 = 10 * MINUTE;

/// The present time, seconds since 1970 UTC.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The present time, and the time zone of this machine, or UTC if it has none.
pub(crate) struct Clock {
    now: i64,
    zone: TimeZone,
}

impl Clock {
    pub(crate) fn here() -> Self {
        Self {
            now: now(),
            zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
        }
    }

    /// A local time: `2026-11-23 07:43`.
    pub(crate) fn local(&self, time: i64) -> String {
        Timestamp::from_second(time).map_or_else(
            |_| time.to_string(),
            |time| {
                self.zone
                    .to_datetime(time)
                    .strftime("%Y-%m-%d %H:%M")
                    .to_string()
            },
        )
    }

    /// An age: `3 h`, or `in 3 h` for a time ahead of now.
    pub(crate) fn age(&self, time: i64) -> String {
        let secs = self.now.saturating_sub(time);
        if secs < 0 && !self.is_ahead(time) {
            return duration(0);
        }
        if secs < 0 {
            format!("in {}", duration(secs.saturating_neg()))
        } else {
            duration(secs)
        }
    }

    /// An age: `3 h ago`.
    pub(crate) fn ago(&self, time: i64) -> String {
        if self.is_ahead(time) {
            self.age(time)
        } else {
            format!("{} ago", self.age(time))
        }
    }

    /// Whether a time is ahead of now by more than a few minutes. Sessions of one second are named
    /// by the following seconds, and clocks differ.
    pub(crate) fn is_ahead(&self, time: i64) -> bool {
        time.saturating_sub(self.now) > AHEAD_SECS
    }

    /// An age that the daemon gave, in seconds, as [`age`](Self::age) shows it; `None` is one that
    /// no clock tells.
    pub(crate) fn given_age(&self, time: i64, age_secs: Option<u64>) -> String {
        match age_secs {
            Some(secs) => duration(i64::try_from(secs).unwrap_or(i64::MAX)),
            None if self.is_ahead(time) => self.age(time),
            None => "unknown".to_owned(),
        }
    }
}

/// A duration in the largest unit of which it has at least two: `90 s`, `36 h`.
pub(crate) fn duration(secs: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (365 * DAY, "years"),
        (30 * DAY, "months"),
        (DAY, "days"),
        (HOUR, "h"),
        (MINUTE, "min"),
    ];
    let unit = UNITS
        .iter()
        .find(|(length, _)| secs >= length.saturating_mul(2));
    unit.map_or_else(
        || format!("{secs} s"),
        |(length, name)| format!("{} {name}", secs / length),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_in_the_largest_unit_that_it_has_twice() {
        let cases = [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "119 min"),
            (2 * HOUR, "2 h"),
            (47 * HOUR, "47 h"),
            (2 * DAY, "2 days"),
        ];
        for (secs, told) in cases {
            assert_eq!(duration(secs), told);
        }
        assert_eq!(
            (
                duration(59 * DAY).as_str(),
                duration(61 * DAY).as_str(),
                duration(800 * DAY).as_str()
            ),
            ("59 days", "2 months", "2 years")
        );
    }

    #[test]
    fn what_is_ahead_of_now_says_so() {
        let clock = Clock {
            now: 1_795_416_190,
            zone: TimeZone::fixed(jiff::tz::offset(1)),
        };
        assert_eq!(clock.local(1_795_416_190), "2026-11-23 07:43");
        assert_eq!(
            (
                clock.ago(1_795_416_190 - 3 * HOUR).as_str(),
                clock.ago(1_795_416_190 + 3 * HOUR).as_str()
            ),
            ("3 h ago", "in 3 h")
        );
    }
}
