// SPDX-License-Identifier: GPL-3.0-or-later
//! The hours of the day in which the limits of the rate apply, in the time zone of this machine.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wyng_config::{FarEnds, Hours};

/// The limits of the rate, and when they apply.
pub(super) struct Rates {
    up_bytes: Option<u64>,
    down_bytes: Option<u64>,
    /// `None`: always.
    hours: Option<(Hours, TimeZone)>,
}

/// The limits that apply now, bytes a second; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RatesNow {
    /// To the far end.
    pub(super) up_bytes: Option<u64>,
    /// From the far end.
    pub(super) down_bytes: Option<u64>,
}

impl Rates {
    /// The limits of the configuration. Reads the time zone, so it must be called before the jail.
    pub(super) fn of(far_ends: &FarEnds) -> Self {
        Self {
            up_bytes: far_ends.limit_up_bytes,
            down_bytes: far_ends.limit_down_bytes,
            hours: far_ends
                .limit_hours
                .map(|hours| (hours, TimeZone::system())),
        }
    }

    /// The limits that apply now.
    pub(super) fn now(&self) -> RatesNow {
        self.at(Timestamp::now())
    }

    fn at(&self, now: Timestamp) -> RatesNow {
        let applies = self.hours.as_ref().is_none_or(|(hours, zone)| {
            let local = zone.to_datetime(now);
            let minute = i32::from(local.hour())
                .saturating_mul(60)
                .saturating_add(i32::from(local.minute()));
            u16::try_from(minute).is_ok_and(|minute| hours.contain(minute))
        });
        RatesNow {
            up_bytes: self.up_bytes.filter(|_| applies),
            down_bytes: self.down_bytes.filter(|_| applies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_apply_in_the_hours_of_the_time_zone_alone() {
        let rates = Rates {
            up_bytes: Some(1 << 20),
            down_bytes: None,
            hours: Some((
                "22:00-06:30".parse().unwrap(),
                TimeZone::fixed(jiff::tz::offset(2)),
            )),
        };
        let limited = |time: &str| rates.at(time.parse().unwrap()).up_bytes.is_some();
        assert!(!limited("2026-11-29T19:59:59Z"));
        assert!(limited("2026-11-29T20:00:00Z"));
        assert!(limited("2026-11-30T04:29:59Z"));
        assert!(!limited("2026-11-30T04:30:00Z"));
        let always = Rates {
            hours: None,
            ..rates
        };
        assert!(
            always
                .at("2026-11-30T10:00:00Z".parse().unwrap())
                .up_bytes
                .is_some()
        );
    }
}
