// SPDX-License-Identifier: GPL-3.0-or-later
//! How old something is, for warnings. What destroys goes by the kept clock alone and asks nothing
//! here.
//!
//! A warning must not be silenced by either clock: a wall clock that was set back and a kept clock
//! that started anew both make things look young. So the larger age counts, and a time ahead of now
//! counts as if the thing had never happened.

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
    /// It happened so long ago, seconds.
    Secs(u64),
    /// It did not happen, or one of its times is ahead of now.
    Never,
}

impl Age {
    /// The age at `now` of what happened `then`; `None`: it did not happen.
    pub fn of(then: Option<Moment>, now: Moment) -> Self {
        let ages = then.and_then(|then| {
            let wall = now.wall_secs.checked_sub(then.wall_secs)?;
            let kept = now.kept_secs.checked_sub(then.kept_secs)?;
            Some(u64::try_from(wall).ok()?.max(kept))
        });
        ages.map_or(Self::Never, Self::Secs)
    }

    /// The age of what has a kept time only, such as a verify's mark.
    pub fn of_kept(then_kept_secs: Option<u64>, now_kept_secs: u64) -> Self {
        then_kept_secs
            .and_then(|then| now_kept_secs.checked_sub(then))
            .map_or(Self::Never, Self::Secs)
    }

    /// Is it older than `limit_secs`? Never is.
    pub fn is_over(self, limit_secs: u64) -> bool {
        self > Self::Secs(limit_secs)
    }
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
        assert_eq!(Age::of_kept(Some(101), 100), Age::Never);
        assert_eq!(Age::of_kept(None, 100), Age::Never);
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
