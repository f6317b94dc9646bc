// SPDX-License-Identifier: GPL-3.0-or-later
//! Ages for warnings. Deletion goes by the kept clock alone and uses nothing from here.
//!
//! A warning must not be silenced by either clock: a wall clock that was set back and a kept clock
//! that started anew both make things look young. So the larger age counts, and a time ahead of now
//! counts as if the thing had never happened. A few minutes ahead are no other clock: sessions of
//! one second are named by the following seconds, and a crash loses the newest reading of a clock.

/// Maximum time ahead of now that counts as now, seconds.
const AHEAD_MAX_SECS: u64 = 600;

/// A time on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock, seconds since 1970 UTC.
    pub wall_secs: i64,
    /// By the chain's kept clock, seconds.
    pub kept_secs: u64,
}

/// An age. Ordered: never is older than everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// Time since the event, seconds.
    Secs(u64),
    /// It did not happen, or one of its times is ahead of now by more than ten minutes.
    Never,
}

impl Age {
    /// The age at `now` of what happened `then`; `None`: it did not happen.
    pub fn of(then: Option<Moment>, now: Moment) -> Self {
        let ages = then.and_then(|then| {
            let wall = now.wall_secs.checked_sub(then.wall_secs)?;
            let wall = match u64::try_from(wall) {
                Ok(passed) => passed,
                Err(_) if wall.unsigned_abs() <= AHEAD_MAX_SECS => 0,
                Err(_) => return None,
            };
            Some(wall.max(passed(then.kept_secs, now.kept_secs)?))
        });
        ages.map_or(Self::Never, Self::Secs)
    }

    /// The age of what has a kept time only, such as a verify's mark.
    pub fn of_kept(then_kept_secs: Option<u64>, now_kept_secs: u64) -> Self {
        then_kept_secs
            .and_then(|then| passed(then, now_kept_secs))
            .map_or(Self::Never, Self::Secs)
    }

    /// The age in seconds; `None` for never.
    pub fn secs(self) -> Option<u64> {
        match self {
            Self::Secs(secs) => Some(secs),
            Self::Never => None,
        }
    }

    /// Is it older than `limit_secs`? Never is.
    pub fn is_over(self, limit_secs: u64) -> bool {
        self > Self::Secs(limit_secs)
    }
}

/// Kept time from `then` to `now`, seconds; `None` if `then` is too far ahead.
fn passed(then: u64, now: u64) -> Option<u64> {
    (then.saturating_sub(now) <= AHEAD_MAX_SECS).then(|| now.saturating_sub(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn moment(wall_days: i64, kept_days: u64) -> Moment {
        Moment {
            wall_secs: wall_days * 86_400,
            kept_secs: kept_days * DAY,
        }
    }

    #[test]
    fn the_larger_of_both_ages_counts() {
        let now = moment(20_000, 100);
        assert_eq!(Age::of(Some(moment(19_990, 99)), now), Age::Secs(10 * DAY));
        assert_eq!(Age::of(Some(moment(20_000, 60)), now), Age::Secs(40 * DAY));
    }

    #[test]
    fn a_time_ahead_of_now_on_either_clock_counts_as_never() {
        let now = moment(20_000, 100);
        for then in [moment(46_000, 99), moment(19_999, 101)] {
            assert_eq!(Age::of(Some(then), now), Age::Never);
            assert!(Age::of(Some(then), now).is_over(u64::MAX));
        }
        assert_eq!(Age::of_kept(Some(701), 100), Age::Never);
        assert_eq!(Age::of_kept(None, 100), Age::Never);
    }

    #[test]
    fn ten_minutes_ahead_are_now_and_a_second_more_is_never() {
        let now = Moment {
            wall_secs: 5000,
            kept_secs: 5000,
        };
        let ahead = |wall_secs, kept_secs| {
            let then = Moment {
                wall_secs,
                kept_secs,
            };
            Age::of(Some(then), now)
        };
        assert_eq!(ahead(5600, 5600), Age::Secs(0));
        assert_eq!(ahead(5600, 4000), Age::Secs(1000));
        assert_eq!(ahead(5601, 5000), Age::Never);
        assert_eq!(ahead(5000, 5601), Age::Never);
    }

    #[test]
    fn extreme_wall_clocks_make_nothing_young() {
        let now = Moment {
            wall_secs: i64::MAX,
            kept_secs: 5,
        };
        let then = Moment {
            wall_secs: i64::MIN,
            kept_secs: 5,
        };
        assert!(Age::of(Some(then), now).is_over(u64::MAX));
        assert_eq!(Age::of(Some(now), then), Age::Never);
    }

    #[test]
    fn an_age_of_just_the_limit_is_not_over_it() {
        assert!(!Age::Secs(DAY).is_over(DAY));
        assert!(Age::Secs(DAY + 1).is_over(DAY));
    }
}
