// SPDX-License-Identifier: GPL-3.0-or-later
//! The hold-off: how many runs and how much time must pass before something given up is deleted.
//! Both must pass; neither goes by the wall clock.

use crate::format::{Commit, EarlierHoldOff, HoldOff, Stamp};

/// Runs and time left of a hold-off. Both are 0 when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Runs still to be counted.
    pub runs: u64,
    /// Time still to pass, seconds of the kept clock.
    pub secs: u64,
}

impl Left {
    /// Nothing is left.
    pub fn is_over(self) -> bool {
        self == Self::default()
    }
}

impl HoldOff {
    /// Runs and time left at `now` for a pack that was given up at `given_up`; more than the whole
    /// hold-off if `now` is before.
    pub fn left(self, given_up: Stamp, now: Stamp) -> Left {
        let run = given_up.run.saturating_add(self.runs);
        let kept_secs = given_up.kept_secs.saturating_add(self.secs);
        Left {
            runs: run.saturating_sub(now.run),
            secs: kept_secs.saturating_sub(now.kept_secs),
        }
    }

    /// The larger of both in each part.
    fn max(self, other: Self) -> Self {
        Self {
            runs: self.runs.max(other.runs),
            secs: self.secs.max(other.secs),
        }
    }
}

/// The hold-off in force now, and the longer one that still holds for what was given up before it
/// was lowered: lowering it shortens no wait that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldOffs {
    /// For everything given up from now on.
    pub current: HoldOff,
    /// For everything given up at or before a point in time.
    pub earlier: Option<EarlierHoldOff>,
}

impl HoldOffs {
    /// A hold-off that was never lowered.
    pub fn new(current: HoldOff) -> Self {
        Self {
            current,
            earlier: None,
        }
    }

    /// The hold-offs that a commit states.
    pub fn of_commit(commit: &Commit) -> Self {
        Self {
            current: HoldOff {
                runs: commit.settings.hold_off_runs.into(),
                secs: commit.settings.hold_off_secs,
            },
            earlier: commit.earlier_hold_off,
        }
    }

    /// The hold-off of a pack that was given up at `given_up`.
    pub fn of(&self, given_up: Stamp) -> HoldOff {
        match self.earlier {
            Some(earlier) if given_up.kept_secs <= earlier.until.kept_secs => {
                self.current.max(earlier.hold_off)
            }
            _ => self.current,
        }
    }

    /// Changes the hold-off in a commit at `now`. Where an earlier hold-off still applies, the
    /// longer one applies to everything given up until `now`: a commit has room for one earlier
    /// hold-off.
    #[must_use]
    pub fn change(self, to: HoldOff, now: Stamp) -> Self {
        let settled = self.settle(now);
        let before = settled.earlier.map_or(settled.current, |earlier| {
            settled.current.max(earlier.hold_off)
        });
        let is_lower = to.max(before) != to;
        Self {
            current: to,
            earlier: is_lower.then_some(EarlierHoldOff {
                until: now,
                hold_off: before,
            }),
        }
    }

    /// Drops an earlier hold-off for which nothing can wait any more.
    #[must_use]
    pub fn settle(self, now: Stamp) -> Self {
        let holds = |earlier: &EarlierHoldOff| !earlier.hold_off.left(earlier.until, now).is_over();
        Self {
            earlier: self.earlier.filter(holds),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn hold_off(runs: u64, days: u64) -> HoldOff {
        HoldOff {
            runs,
            secs: days * DAY,
        }
    }

    fn at(run: u64, day: u64) -> Stamp {
        Stamp {
            run,
            kept_secs: day * DAY,
        }
    }

    #[test]
    fn both_runs_and_time_must_pass() {
        let hold_off = hold_off(3, 7);
        let given_up = at(10, 100);
        assert_eq!(
            hold_off.left(given_up, at(30, 106)),
            Left { runs: 0, secs: DAY }
        );
        assert_eq!(
            hold_off.left(given_up, at(12, 200)),
            Left { runs: 1, secs: 0 }
        );
        assert!(hold_off.left(given_up, at(13, 107)).is_over());
    }

    #[test]
    fn a_time_before_the_commit_that_gave_up_leaves_more_than_all_of_it() {
        let left = hold_off(3, 7).left(at(10, 100), at(9, 50));
        assert_eq!((left.runs, left.secs), (4, 57 * DAY));
        assert!(!hold_off(0, 0).left(at(10, 100), at(9, 100)).is_over());
    }

    #[test]
    fn lowering_it_holds_only_for_what_is_given_up_afterwards() {
        let offs = HoldOffs::new(hold_off(3, 7)).change(hold_off(0, 0), at(10, 100));
        assert_eq!(offs.of(at(10, 100)), hold_off(3, 7));
        assert_eq!(offs.of(at(10, 101)), hold_off(0, 0));
    }

    #[test]
    fn raising_it_holds_for_what_waits_too() {
        let offs = HoldOffs::new(hold_off(3, 7)).change(hold_off(5, 30), at(10, 100));
        assert_eq!(offs.of(at(1, 1)), hold_off(5, 30));
    }

    #[test]
    fn lowering_it_twice_or_raising_it_between_shortens_no_wait() {
        let offs = HoldOffs::new(hold_off(3, 30))
            .change(hold_off(1, 7), at(10, 100))
            .change(hold_off(2, 9), at(10, 102))
            .change(hold_off(0, 0), at(11, 103));
        assert_eq!(offs.of(at(10, 99)), hold_off(3, 30));
        assert_eq!(offs.of(at(11, 104)), hold_off(0, 0));
    }

    #[test]
    fn an_earlier_hold_off_is_dropped_when_its_last_wait_is_over() {
        let offs = HoldOffs::new(hold_off(3, 7)).change(hold_off(0, 1), at(10, 100));
        assert_eq!(offs.settle(at(13, 106)), offs);
        assert_eq!(offs.settle(at(13, 107)), HoldOffs::new(hold_off(0, 1)));
    }
}
