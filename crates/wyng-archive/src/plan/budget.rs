// SPDX-License-Identifier: GPL-3.0-or-later
//! The maximum of new data that a volume sends in a day of the chain's kept clock
//! (`max_new_bytes`), so that one guest does not fill the store. Healing is counted separately and
//! never stopped: a guest must not be able to keep an archive damaged.
//!
//! A volume over its budget gets no session in this run. Its packs stay behind the floor and its
//! chunks are known, so the run of the next day continues there.

const DAY_SECS: u64 = 24 * 3600;

/// Bytes that a volume sent in a day. They are stored before they are sent, so that a restart does
/// not give the volume the day anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The day, counted from the beginning of the kept clock.
    pub day: u64,
    /// New records sent in it, bytes.
    pub new_bytes: u64,
    /// Records sent in it to heal damage, bytes. No limit holds for them.
    pub healed_bytes: u64,
}

/// A volume may send no more today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the volume's budget for today is spent; {left_secs} s of the kept clock are left of it")]
pub struct OverBudget {
    /// Time until the next day, seconds of the kept clock.
    pub left_secs: u64,
}

impl Spent {
    /// Bytes spent of the day at `now_kept_secs`; 0 on another day. A day ahead of now is another
    /// day: it comes from a clock that was lost or a head that was left.
    pub fn today(self, now_kept_secs: u64) -> Self {
        let day = now_kept_secs.checked_div(DAY_SECS).unwrap_or(0);
        if self.day == day {
            self
        } else {
            Self {
                day,
                ..Self::default()
            }
        }
    }

    /// Counts a new record of `bytes` before it is sent, under a limit of `max_new_bytes` a day.
    /// Fails with [`OverBudget`]; nothing is counted then.
    ///
    /// The first record of a day is always allowed: with a limit below a record a volume would
    /// never get a session.
    pub fn charge(
        &mut self,
        bytes: u64,
        max_new_bytes: u64,
        now_kept_secs: u64,
    ) -> Result<(), OverBudget> {
        let today = self.today(now_kept_secs);
        let new_bytes = today.new_bytes.saturating_add(bytes);
        if new_bytes > max_new_bytes && today.new_bytes > 0 {
            let into = now_kept_secs.checked_rem(DAY_SECS).unwrap_or(0);
            return Err(OverBudget {
                left_secs: DAY_SECS.saturating_sub(into),
            });
        }
        *self = Self { new_bytes, ..today };
        Ok(())
    }

    /// Counts a record of `bytes` that heals damage.
    pub fn heal(&mut self, bytes: u64, now_kept_secs: u64) {
        let today = self.today(now_kept_secs);
        *self = Self {
            healed_bytes: today.healed_bytes.saturating_add(bytes),
            ..today
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_volume_stops_at_its_budget_until_the_next_kept_day() {
        let mut spent = Spent::default();
        let noon = 5 * DAY_SECS + DAY_SECS / 2;
        assert_eq!(spent.charge(60, 100, noon), Ok(()));
        assert_eq!(spent.charge(40, 100, noon), Ok(()));
        let over = OverBudget {
            left_secs: DAY_SECS / 2,
        };
        assert_eq!(spent.charge(1, 100, noon), Err(over));
        assert_eq!(spent.new_bytes, 100, "what was refused is not counted");
        assert_eq!(spent.charge(1, 100, 6 * DAY_SECS), Ok(()));
        assert_eq!(spent.new_bytes, 1);
    }

    #[test]
    fn a_restart_does_not_give_the_day_anew() {
        let mut spent = Spent::default();
        assert_eq!(spent.charge(100, 100, DAY_SECS), Ok(()));
        let Spent {
            day,
            new_bytes,
            healed_bytes,
        } = spent;
        let mut read_again = Spent {
            day,
            new_bytes,
            healed_bytes,
        };
        assert!(read_again.charge(1, 100, 2 * DAY_SECS - 1).is_err());
    }

    #[test]
    fn healing_is_counted_apart_and_never_stopped() {
        let mut spent = Spent::default();
        spent.heal(1000, DAY_SECS);
        assert_eq!(spent.charge(100, 100, DAY_SECS), Ok(()));
        spent.heal(1000, DAY_SECS);
        assert_eq!((spent.new_bytes, spent.healed_bytes), (100, 2000));
        assert!(spent.charge(1, 100, DAY_SECS).is_err());
        spent.heal(5, 2 * DAY_SECS);
        assert_eq!((spent.new_bytes, spent.healed_bytes), (0, 5));
    }

    #[test]
    fn a_limit_below_a_record_lets_one_pass_a_day() {
        let mut spent = Spent::default();
        assert_eq!(spent.charge(500, 100, 0), Ok(()));
        assert!(spent.charge(500, 100, 1).is_err());
        assert_eq!(spent.charge(500, 100, DAY_SECS), Ok(()));
    }

    #[test]
    fn a_day_ahead_of_now_holds_nothing_up() {
        let mut spent = Spent {
            day: 900,
            new_bytes: 100,
            healed_bytes: 0,
        };
        assert_eq!(spent.charge(100, 100, DAY_SECS), Ok(()));
    }

    proptest! {
        #[test]
        fn no_day_sends_more_than_its_limit_but_for_its_first_record(
            steps in prop::collection::vec((0..20_000_u64, 1..400_u64, any::<bool>()), 1..200),
            limit in 0..2000_u64,
        ) {
            let (mut spent, mut now) = (Spent::default(), 0);
            let mut days = std::collections::BTreeMap::<u64, (u64, u64)>::new();
            for (passed, bytes, heals) in steps {
                now += passed;
                if heals {
                    spent.heal(bytes, now);
                } else if spent.charge(bytes, limit, now).is_ok() {
                    let (first, sum) = days.entry(now / DAY_SECS).or_insert((bytes, 0));
                    *sum += bytes;
                    prop_assert!(*sum <= limit.max(*first));
                }
            }
        }
    }
}
