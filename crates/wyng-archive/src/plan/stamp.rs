// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a commit stands in the time of its chain: its run number and its kept clock. Neither goes
//! back along a chain.
//!
//! A run, for the hold-off, is any command of the writer that ended with a commit, of which at most
//! one is counted in 12 hours of the kept clock: otherwise whoever fires timers would let the
//! hold-off's runs pass in minutes.

use crate::format::{CommitStamp, Stamp};

/// Minimum time between two commits that count as runs, seconds of the kept clock.
pub const RUN_SPACING_SECS: u64 = 12 * 3600;

/// The reason why a commit does not follow its predecessor. Such a commit is refused, as a rollback
/// is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Backwards {
    /// Its kept clock is below its predecessor's.
    #[error("its kept clock of {found_secs} s is below its predecessor's {before_secs} s")]
    KeptClock {
        /// The predecessor's, seconds.
        before_secs: u64,
        /// The refused commit's, seconds.
        found_secs: u64,
    },
    /// Its run number is below its predecessor's.
    #[error("its run number {found} is below its predecessor's {before}")]
    Run {
        /// The predecessor's.
        before: u64,
        /// The refused commit's.
        found: u64,
    },
}

impl CommitStamp {
    /// The first commit of a chain, which is its first run.
    pub fn first(kept_secs: u64) -> Self {
        Self {
            stamp: Stamp { run: 1, kept_secs },
            counted_secs: kept_secs,
        }
    }

    /// The commit that follows this one at `now_kept_secs` by the chain's clock. A clock below this
    /// commit's is raised to it, so that the successor is never refused.
    pub fn next(&self, now_kept_secs: u64) -> Self {
        let kept_secs = now_kept_secs.max(self.stamp.kept_secs);
        let counts = self.next_counts(kept_secs);
        Self {
            stamp: Stamp {
                run: self.stamp.run.saturating_add(u64::from(counts)),
                kept_secs,
            },
            counted_secs: if counts { kept_secs } else { self.counted_secs },
        }
    }

    /// Whether a successor of this commit at `now_kept_secs` counts as a run.
    pub fn next_counts(&self, now_kept_secs: u64) -> bool {
        now_kept_secs.saturating_sub(self.counted_secs) >= RUN_SPACING_SECS
    }

    /// Checks that this commit follows `before`. Fails with [`Backwards`].
    pub fn follows(&self, before: &Self) -> Result<(), Backwards> {
        if self.stamp.kept_secs < before.stamp.kept_secs {
            return Err(Backwards::KeptClock {
                before_secs: before.stamp.kept_secs,
                found_secs: self.stamp.kept_secs,
            });
        }
        if self.stamp.run < before.stamp.run {
            return Err(Backwards::Run {
                before: before.stamp.run,
                found: self.stamp.run,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    #[test]
    fn a_hundred_commits_in_half_a_day_count_as_one_run() {
        let mut commit = CommitStamp::first(1000);
        for second in 1..=100 {
            commit = commit.next(1000 + second * 400);
        }
        assert_eq!(commit.stamp.run, 1);
        assert_eq!(commit.next(1000 + 12 * HOUR).stamp.run, 2);
    }

    #[test]
    fn hourly_commits_count_twice_a_day() {
        let mut commit = CommitStamp::first(0);
        for hour in 1..=240 {
            commit = commit.next(hour * HOUR);
        }
        assert_eq!(commit.stamp.run, 1 + 20);
    }

    #[test]
    fn a_successor_below_its_predecessor_is_refused() {
        let before = CommitStamp::first(5000).next(5000 + 12 * HOUR);
        let mut early = before.next(60_000);
        early.stamp.kept_secs = before.stamp.kept_secs - 1;
        assert!(matches!(
            early.follows(&before),
            Err(Backwards::KeptClock { .. })
        ));
        let mut rewound = before.next(60_000);
        rewound.stamp.run = 1;
        assert_eq!(
            rewound.follows(&before),
            Err(Backwards::Run {
                before: 2,
                found: 1
            })
        );
    }

    #[test]
    fn what_next_gives_always_follows() {
        let before = CommitStamp::first(5000);
        for now in [0, 4999, 5000, 5001, u64::MAX] {
            assert_eq!(before.next(now).follows(&before), Ok(()));
        }
    }
}
