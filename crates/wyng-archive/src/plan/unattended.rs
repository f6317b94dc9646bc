// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks of the clocks before a timer's command does its work. A command that a person gave is
//! never held up.
//!
//! Timers fire on both clocks: after each boot, at a time of day, and at an interval. So a run may
//! come soon after another one, and a wall clock that jumps fires a persistent timer at each jump.
//! A run that comes too soon is skipped. An extra run costs time and a small session; a missing run
//! costs the backup. So the *larger* age of the last start counts: neither a frozen wall clock nor
//! a machine that is on for minutes a day, whose kept clock gains little, can hold the next run up
//! for longer than half the interval by the other clock. [`SPACING_SECS`] bounds the runs that
//! whoever sets the wall clock can still cause.

use super::age::{Age, Moment};
use super::kept_clock::KeptClock;

/// Minimum time between the starts of two runs of a profile, seconds of the kept clock, whatever
/// the wall clock says. It is as short as the time from a boot to the timers' first run: a boot in
/// which a run can begin has counted this much.
pub const SPACING_SECS: u64 = 600;

/// The reason why a timer's command does not start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotNow {
    /// The profile's last run started too short a time ago.
    TooSoon {
        /// Time to wait, seconds, by the clock by which the last start is older.
        left_secs: u64,
    },
    /// The wall clock jumped, and nobody has looked since: nothing is removed.
    Jumped {
        /// How far the wall clock is ahead of the kernel's count, seconds.
        parted_secs: i64,
    },
}

/// The start of a run that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The instance of the state directory's kept clock.
    pub instance: [u8; 16],
    /// The time of the start, by the wall clock and by the state directory's kept clock.
    pub at: Moment,
}

impl Start {
    /// A start now. `local` has observed the present.
    pub fn now(local: &KeptClock) -> Self {
        Self {
            instance: local.instance,
            at: Moment {
                wall_secs: local.last.wall_secs,
                kept_secs: local.kept_secs,
            },
        }
    }
}

/// Checks whether a timer may start a run of a profile that runs every `interval_secs`. It may not
/// while the larger age of the last start is below half the interval, nor within [`SPACING_SECS`]
/// of the kept clock. `local` has observed the present.
///
/// A start under another instance of the kept clock, or ahead of now, holds nothing up: a clock was
/// lost or set since.
pub fn may_start(
    local: &KeptClock,
    last_start: Option<Start>,
    interval_secs: u64,
) -> Result<(), NotNow> {
    let Some(start) = last_start.filter(|start| start.instance == local.instance) else {
        return Ok(());
    };
    let half_secs = interval_secs.div_ceil(2);
    let Some(kept_secs) = local.kept_secs.checked_sub(start.at.kept_secs) else {
        return Ok(());
    };
    let spacing_secs = SPACING_SECS.min(half_secs).saturating_sub(kept_secs);
    let age_secs = Age::of(Some(start.at), Start::now(local).at).secs();
    let half_secs = age_secs.map_or(0, |age| half_secs.saturating_sub(age));
    match spacing_secs.max(half_secs) {
        0 => Ok(()),
        left_secs => Err(NotNow::TooSoon { left_secs }),
    }
}

/// Checks whether a timer may prune: after a jump it may not, until a person has accepted it.
pub fn may_prune(local: &KeptClock) -> Result<(), NotNow> {
    if local.jumped {
        Err(NotNow::Jumped {
            parted_secs: local.parted_secs,
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::kept_clock::Reading;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    /// A clock at these times, seconds.
    fn clock(kept_secs: u64, wall_secs: i64) -> KeptClock {
        let reading = Reading {
            boot: [0; 16],
            boottime_secs: 1000,
            awake_secs: 1000,
            wall_secs,
        };
        KeptClock {
            kept_secs,
            ..KeptClock::start([1; 16], reading)
        }
    }

    fn left(local: &KeptClock, last: KeptClock) -> u64 {
        match may_start(local, Some(Start::now(&last)), DAY) {
            Err(NotNow::TooSoon { left_secs }) => left_secs,
            other => {
                assert_eq!(other, Ok(()));
                0
            }
        }
    }

    #[test]
    fn a_timer_that_fires_in_a_row_starts_one_run_in_half_an_interval() {
        let last = clock(10 * DAY, 0);
        assert_eq!(left(&clock(10 * DAY + 60, 60), last), DAY / 2 - 60);
        assert_eq!(left(&clock(10 * DAY + DAY / 2, 43_200), last), 0);
        assert_eq!(may_start(&clock(0, 0), None, DAY), Ok(()));
    }

    #[test]
    fn either_clock_alone_brings_the_next_run() {
        let last = clock(10 * DAY, 0);
        assert_eq!(left(&clock(10 * DAY + DAY / 2, 0), last), 0, "frozen");
        let minutes_a_day = clock(10 * DAY + 40 * 60, 86_400);
        assert_eq!(left(&minutes_a_day, last), 0);
        let set_back = clock(10 * DAY + SPACING_SECS, -86_400);
        assert_eq!(left(&set_back, last), 0, "a start ahead of now");
    }

    #[test]
    fn a_wall_clock_that_jumps_starts_no_two_runs_within_ten_minutes() {
        let last = clock(10 * DAY, 0);
        for wall_secs in [86_400 * 365, -86_400 * 365] {
            assert_eq!(
                left(&clock(10 * DAY + 1, wall_secs), last),
                SPACING_SECS - 1
            );
            assert_eq!(left(&clock(10 * DAY + SPACING_SECS, wall_secs), last), 0);
        }
        let local = clock(10 * DAY + 30, 86_400);
        let minutely = may_start(&local, Some(Start::now(&last)), 60);
        assert_eq!(minutely, Ok(()), "half an interval that is shorter");
    }

    #[test]
    fn a_clock_that_was_lost_holds_up_no_run() {
        assert_eq!(left(&clock(5, 0), clock(DAY, 0)), 0);
        let other = Start {
            instance: [2; 16],
            ..Start::now(&clock(DAY, 0))
        };
        assert_eq!(may_start(&clock(DAY, 0), Some(other), DAY), Ok(()));
    }

    #[test]
    fn a_timer_does_not_prune_after_a_jump_until_a_person_has_looked() {
        let mut clock = clock(DAY, 0);
        let mut reading = clock.last;
        reading.boottime_secs += 10;
        reading.awake_secs += 10;
        reading.wall_secs += 7200;
        clock.observe(reading);
        assert_eq!(may_prune(&clock), Err(NotNow::Jumped { parted_secs: 7190 }));
        clock.trust_wall();
        assert_eq!(may_prune(&clock), Ok(()));
    }
}
