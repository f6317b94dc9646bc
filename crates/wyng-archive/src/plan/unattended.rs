// SPDX-License-Identifier: GPL-3.0-or-later
//! What the clocks must say before a timer's command does its work. A command that a person gave is
//! not asked.
//!
//! A wall clock that jumps fires a persistent timer at each jump. Without a bound it would have
//! sessions made in a row, which push out what came before.

use super::kept_clock::KeptClock;

/// Why a timer's command does not start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotNow {
    /// The profile's last run started too short a time ago by the kept clock.
    TooSoon {
        /// Time to wait, seconds of the kept clock.
        left_secs: u64,
    },
    /// The wall clock jumped, and nobody has looked since: nothing is removed.
    Jumped {
        /// How far the wall clock is ahead of the kernel's count, seconds.
        parted_secs: i64,
    },
}

/// May a timer start a run of a profile that runs every `interval_secs`? No closer than half the
/// interval after the last start, by the kept clock of the state directory.
///
/// `last_start` is the clock's instance and value then. A start under another instance, or ahead of
/// now, holds nothing up: the clock was lost since.
pub fn may_start(
    local: &KeptClock,
    last_start: Option<([u8; 16], u64)>,
    interval_secs: u64,
) -> Result<(), NotNow> {
    let passed = last_start
        .filter(|(instance, _)| *instance == local.instance)
        .and_then(|(_, started)| local.kept_secs.checked_sub(started));
    let Some(passed) = passed else {
        return Ok(());
    };
    let left_secs = interval_secs.div_ceil(2).saturating_sub(passed);
    if left_secs == 0 {
        Ok(())
    } else {
        Err(NotNow::TooSoon { left_secs })
    }
}

/// May a timer prune? Not after a jump, until a person has looked.
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

    const DAY: u64 = 86_400;

    fn clock(kept_secs: u64) -> KeptClock {
        let reading = Reading {
            boot: [0; 16],
            boottime_secs: 1000,
            awake_secs: 1000,
            wall_secs: 0,
        };
        KeptClock {
            kept_secs,
            ..KeptClock::start([1; 16], reading)
        }
    }

    #[test]
    fn a_timer_that_fires_in_a_row_starts_one_run_in_half_an_interval() {
        let last = Some(([1; 16], 10 * DAY));
        assert_eq!(
            may_start(&clock(10 * DAY + 60), last, DAY),
            Err(NotNow::TooSoon {
                left_secs: DAY / 2 - 60
            })
        );
        assert_eq!(may_start(&clock(10 * DAY + DAY / 2), last, DAY), Ok(()));
        assert_eq!(may_start(&clock(0), None, DAY), Ok(()));
    }

    #[test]
    fn a_clock_that_was_lost_holds_up_no_run() {
        assert_eq!(may_start(&clock(5), Some(([1; 16], DAY)), DAY), Ok(()));
        assert_eq!(may_start(&clock(DAY), Some(([2; 16], DAY)), DAY), Ok(()));
    }

    #[test]
    fn a_timer_does_not_prune_after_a_jump_until_a_person_has_looked() {
        let mut clock = clock(DAY);
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
