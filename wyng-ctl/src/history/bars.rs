// SPDX-License-Identifier: GPL-3.0-or-later
//! Days gathered into as many bars as fit.

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use wyng_control::DayLine;

const DAY_SECS: i64 = 86_400;
/// The time that one bar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    Day,
    Week,
    Month,
    Year,
}

impl Grain {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The number of the day's span, counted from any fixed one. Weeks begin on Monday.
    fn number(self, time: i64) -> i64 {
        let days = time.div_euclid(DAY_SECS);
        let date = date(time);
        let (year, month) = (i64::from(date.year()), i64::from(date.month()));
        match self {
            Self::Day => days,
            // 1970-01-01 was a Thursday.
            Self::Week => days.saturating_add(3).div_euclid(7),
            Self::Month => year.saturating_mul(12).saturating_add(month),
            Self::Year => year,
        }
    }

    /// The name of the day's span: its year, its month, or its first day.
    fn label(self, time: i64) -> String {
        match self {
            Self::Day => date(time).to_string(),
            Self::Week => {
                let days = time.div_euclid(DAY_SECS);
                let since_monday = days.saturating_add(3).rem_euclid(7);
                let monday = days.saturating_sub(since_monday);
                date(monday.saturating_mul(DAY_SECS)).to_string()
            }
            Self::Month => date(time).strftime("%Y-%m").to_string(),
            Self::Year => date(time).strftime("%Y").to_string(),
        }
    }
}

/// The days that a bar stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bar {
    /// Empty where no day of the span is known.
    pub(super) label: String,
    pub(super) added_bytes: u64,
    /// Sessions kept at the end of the last noted day.
    pub(super) sessions: Option<u64>,
    /// The most damaged sessions of any noted day.
    pub(super) damaged: Option<u64>,
}

/// The day's date in UTC; the first one of 1970 for a time that no calendar has.
fn date(time: i64) -> Date {
    let time = Timestamp::from_second(time).unwrap_or(Timestamp::UNIX_EPOCH);
    TimeZone::UTC.to_datetime(time).date()
}

/// The day's date: `2026-11-23`.
pub(crate) fn day_name(time: i64) -> String {
    date(time).to_string()
}

/// The days, oldest first, as at most `room` bars of the shortest span with which all of them fit;
/// the oldest years are left out if they do not fit.
pub(super) fn bars(days: &[DayLine], room: usize) -> (Grain, Vec<Bar>) {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return (Grain::Day, Vec::new());
    };
    let room = i64::try_from(room).unwrap_or(i64::MAX).max(1);
    let count = |grain: Grain| {
        let span = grain
            .number(last.time)
            .saturating_sub(grain.number(first.time));
        span.saturating_add(1)
    };
    let grain = [Grain::Day, Grain::Week, Grain::Month]
        .into_iter()
        .find(|grain| count(*grain) <= room)
        .unwrap_or(Grain::Year);
    let shown = count(grain).min(room);
    let begin = grain
        .number(last.time)
        .saturating_sub(shown)
        .saturating_add(1);
    let mut bars = vec![Bar::default(); usize::try_from(shown).unwrap_or(0)];
    for day in days {
        let place = grain.number(day.time).saturating_sub(begin);
        let Some(bar) = usize::try_from(place).ok().and_then(|at| bars.get_mut(at)) else {
            continue;
        };
        bar.label = grain.label(day.time);
        bar.added_bytes = bar.added_bytes.saturating_add(day.added_bytes);
        if let Some(state) = day.state {
            bar.sessions = Some(state.sessions);
            bar.damaged = bar.damaged.max(Some(state.damaged_sessions));
        }
    }
    (grain, bars)
}

#[cfg(test)]
pub(super) mod tests {
    use wyng_control::DayState;

    use super::*;

    /// A day of 2026-11 and later, counted from its first.
    pub(crate) fn day(number: i64, added_bytes: u64, sessions: u64, damaged: u64) -> DayLine {
        DayLine {
            time: 1_793_491_200 + number * DAY_SECS,
            added_bytes,
            state: Some(DayState {
                sessions,
                stored_bytes: 0,
                waiting_bytes: 0,
                damaged_sessions: damaged,
            }),
        }
    }

    #[test]
    fn days_become_weeks_months_and_years_until_they_fit() {
        let days: Vec<DayLine> = (0..800).map(|number| day(number, 1, 5, 0)).collect();
        for (room, grain, count) in [
            (800, Grain::Day, 800),
            (799, Grain::Week, 116),
            (114, Grain::Month, 27),
            (26, Grain::Year, 4),
            (2, Grain::Year, 2),
        ] {
            let (found, bars) = bars(&days, room);
            assert_eq!((found, bars.len()), (grain, count), "{room}");
            let added: u64 = bars.iter().map(|bar| bar.added_bytes).sum();
            assert_eq!(added == 800, room > 2, "{room}: {added}");
        }
        assert_eq!(bars(&[], 10).1, []);
        let (_, weeks) = bars(&days, 799);
        assert_eq!(weeks[0].label, "2026-10-26", "its Monday");
    }

    #[test]
    fn a_bar_has_the_last_number_of_sessions_and_any_damage() {
        let mut days = vec![day(0, 1, 5, 0), day(1, 2, 6, 2), day(29, 4, 3, 0)];
        days[2].state = None;
        let (grain, bars) = bars(&days, 1);
        assert_eq!(grain, Grain::Month);
        assert_eq!(
            bars,
            [Bar {
                label: "2026-11".into(),
                added_bytes: 7,
                sessions: Some(6),
                damaged: Some(2),
            }]
        );
    }
}
