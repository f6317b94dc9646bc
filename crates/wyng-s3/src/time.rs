// SPDX-License-Identifier: GPL-3.0-or-later
//! The time in a signature.

/// A second of UTC, in the form that signatures have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
}

impl Stamp {
    /// The time `secs` seconds after the beginning of 1970 UTC.
    pub fn at(secs: i64) -> Self {
        let (days, second_of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        // Days since 1 March of the year 0, in eras of 400 years: each has 146,097 days.
        let shifted = days.saturating_add(719_468);
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        Self {
            year: era
                .saturating_mul(400)
                .saturating_add(year_of_era)
                .saturating_add(i64::from(month <= 2)),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            second_of_day,
        }
    }

    /// `20130524`.
    pub fn day(&self) -> String {
        format!("{:04}{:02}{:02}", self.year, self.month, self.day)
    }

    /// `2013-05-24T00:00:00Z`.
    pub fn extended(&self) -> String {
        let (minutes, second) = (self.second_of_day / 60, self.second_of_day % 60);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{second:02}Z",
            self.year,
            self.month,
            self.day,
            minutes / 60,
            minutes % 60
        )
    }

    /// `20130524T000000Z`.
    pub fn basic(&self) -> String {
        let (minutes, second) = (self.second_of_day / 60, self.second_of_day % 60);
        format!(
            "{}T{:02}{:02}{second:02}Z",
            self.day(),
            minutes / 60,
            minutes % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_months_and_leap_years_are_right() {
        for (secs, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_369_353_600, "20130524T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
            (-1, "19691231T235959Z"),
        ] {
            assert_eq!(Stamp::at(secs).basic(), text);
        }
    }
}
