// SPDX-License-Identifier: GPL-3.0-or-later
//! Hours of the day, as people write them: `08:00-18:00`.

use std::str::FromStr;

/// A part of each day. It may include midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// Its first minute, counted from midnight.
    from: u16,
    /// The first minute after it.
    to: u16,
}

/// The text is no part of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHours;

impl Hours {
    /// Whether a minute, counted from midnight, is in it.
    pub fn contain(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl FromStr for Hours {
    type Err = NoHours;

    fn from_str(text: &str) -> Result<Self, NoHours> {
        let (from, to) = text.split_once('-').ok_or(NoHours)?;
        let (from, to) = (minute(from.trim())?, minute(to.trim())?);
        if from == to {
            Err(NoHours)
        } else {
            Ok(Self { from, to })
        }
    }
}

/// A time `HH:MM` as a minute of the day; `24:00` is midnight.
fn minute(text: &str) -> Result<u16, NoHours> {
    let digits = |text: &str| {
        let fits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').ok_or(NoHours)?;
    match (digits(hour), digits(minute)) {
        (Some(24), Some(0)) => Ok(0),
        (Some(hour @ 0..=23), Some(minute @ 0..=59)) => {
            Ok(hour.saturating_mul(60).saturating_add(minute))
        }
        _ => Err(NoHours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_may_include_midnight_and_their_end_is_not_in_them() {
        let day: Hours = "08:00-18:00".parse().unwrap();
        assert!(day.contain(480) && day.contain(1079) && !day.contain(1080) && !day.contain(0));
        let night: Hours = "22:30 - 6:00".parse().unwrap();
        assert!(night.contain(1350) && night.contain(0) && !night.contain(360));
        let evening: Hours = "18:00-24:00".parse().unwrap();
        assert!(evening.contain(1439) && !evening.contain(0));
    }

    #[test]
    fn what_is_no_part_of_a_day_is_refused() {
        for text in [
            "",
            "8-18",
            "08:00",
            "08:00-08:00",
            "25:00-26:00",
            "08:60-09:00",
            "a:b-c:d",
            "+8:00-9:00",
            "00:00-24:00",
        ] {
            assert_eq!(text.parse::<Hours>(), Err(NoHours), "{text:?}");
        }
    }
}
