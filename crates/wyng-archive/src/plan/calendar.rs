// SPDX-License-Identifier: GPL-3.0-or-later
//! Hours, days, weeks, months and years of a count of seconds, in UTC and the Gregorian calendar.
//! It decides only which times share a period, and has neither time zones nor names.

const HOUR_SECS: i64 = 3600;
const DAY_SECS: i64 = 24 * HOUR_SECS;

/// A length of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Hour,
    Day,
    /// Begins on Monday.
    Week,
    Month,
    Year,
}

impl Period {
    /// The number of the period in which `secs` since 1970-01-01 lie. Times share a period if and
    /// only if their numbers are equal. Total over all of `i64`.
    pub(super) fn of(self, secs: i64) -> i64 {
        let days = secs.div_euclid(DAY_SECS);
        match self {
            Self::Hour => secs.div_euclid(HOUR_SECS),
            Self::Day => days,
            // 1970-01-01 was a Thursday.
            Self::Week => days.saturating_add(3).div_euclid(7),
            Self::Month => month_of(days),
            Self::Year => month_of(days).div_euclid(12),
        }
    }
}

/// Months since January of year 0, of a day counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day is a year's last; 400 such years are an era
/// of 146,097 days.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a day of an era is below 146,097, so no term leaves its type"
)]
fn month_of(days: i64) -> i64 {
    // 0000-03-01 is 719,468 days before 1970-01-01.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let year = era.saturating_mul(400).saturating_add(year_of_era);
    year.saturating_mul(12)
        .saturating_add(month_from_march)
        .saturating_add(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks day by day through the calendar by its rule for leap years.
    #[test]
    fn months_and_years_are_those_of_the_calendar_for_eight_hundred_years() {
        let mut days = -719_468 + 306; // 0001-01-01
        for year in 1..=2400_i64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let lengths = [
                31,
                28 + i64::from(leap),
                31,
                30,
                31,
                30,
                31,
                31,
                30,
                31,
                30,
                31,
            ];
            for (month, length) in (0..).zip(lengths) {
                for day in [days, days + length - 1] {
                    assert_eq!(month_of(day), year * 12 + month);
                    assert_eq!(Period::Year.of(day * DAY_SECS), year);
                }
                days += length;
            }
        }
    }

    #[test]
    fn weeks_begin_on_monday() {
        // 1970-01-05 was a Monday.
        assert_eq!(Period::Week.of(4 * DAY_SECS), Period::Week.of(0) + 1);
        assert_eq!(Period::Week.of(4 * DAY_SECS - 1), Period::Week.of(0));
        assert_eq!(Period::Week.of(11 * DAY_SECS - 1), Period::Week.of(0) + 1);
    }

    #[test]
    fn extreme_times_have_a_period() {
        for secs in [i64::MIN, i64::MAX, -1, 0] {
            for period in [
                Period::Hour,
                Period::Day,
                Period::Week,
                Period::Month,
                Period::Year,
            ] {
                assert_eq!(period.of(secs), period.of(secs));
            }
        }
        assert_ne!(Period::Hour.of(-1), Period::Hour.of(0));
    }
}
