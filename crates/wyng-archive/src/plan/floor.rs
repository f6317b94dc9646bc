// SPDX-License-Identifier: GPL-3.0-or-later
//! The floor: packs sent for a volume whose session is not complete yet are alive, although no
//! session reaches them. It says which packs, not which records.
//!
//! A commit holds the lowest number of such a pack. From there on every pack is alive for prune and
//! compact until the volumes begun have their sessions, or until the minimum age has passed since
//! the last pack was sent for them: a backup that was given up must not hold packs for ever.

use crate::format::Floor;

/// Shortest time for which a floor holds, seconds: two days.
const HOLDS_MIN_SECS: u64 = 2 * 86_400;

/// A volume that was begun and has no session from it yet, as the writer's journal knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The lowest number of a pack sent for it.
    pub first_pack: u64,
    /// Kept clock of the newest commit after which a pack was sent for it, seconds.
    pub sent_secs: u64,
}

impl Floor {
    /// The floor of the commit that is made now. `begun`: the volumes that this writer's journal
    /// knows, without those that have their session with this commit. `inherited`: the head's floor
    /// where the journal does not say what it stands for, as after a take-over; else `None`.
    pub fn of(
        begun: &[Begun],
        inherited: Option<Self>,
        now_kept_secs: u64,
        minimum_age_secs: u64,
    ) -> Option<Self> {
        let begun = begun.iter().map(|volume| Self {
            pack: volume.first_pack,
            sent_secs: volume.sent_secs,
        });
        begun
            .chain(inherited)
            .filter(|floor| floor.holds(now_kept_secs, minimum_age_secs))
            .reduce(|a, b| Self {
                pack: a.pack.min(b.pack),
                sent_secs: a.sent_secs.max(b.sent_secs),
            })
    }

    /// Does it still hold? A time ahead of now holds. Without a minimum age it holds for two days,
    /// because a volume over its budget continues the next day.
    pub fn holds(&self, now_kept_secs: u64, minimum_age_secs: u64) -> bool {
        now_kept_secs.saturating_sub(self.sent_secs) < minimum_age_secs.max(HOLDS_MIN_SECS)
    }

    /// Is a pack alive because of it?
    pub fn covers(&self, pack: u64) -> bool {
        pack >= self.pack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn begun(first_pack: u64, sent_day: u64) -> Begun {
        Begun {
            first_pack,
            sent_secs: sent_day * DAY,
        }
    }

    #[test]
    fn the_lowest_pack_of_a_volume_that_was_begun_is_the_floor() {
        let floor = Floor::of(&[begun(40, 9), begun(12, 8)], None, 10 * DAY, 7 * DAY).unwrap();
        assert_eq!((floor.pack, floor.sent_secs), (12, 9 * DAY));
        assert!(floor.covers(12) && floor.covers(1000) && !floor.covers(11));
        assert_eq!(Floor::of(&[], None, 10 * DAY, 7 * DAY), None);
    }

    #[test]
    fn a_volume_that_got_its_session_or_its_age_raises_the_floor() {
        let both = [begun(12, 1), begun(40, 9)];
        let floor = Floor::of(&both, None, 10 * DAY, 7 * DAY).unwrap();
        assert_eq!(
            floor.pack, 40,
            "nothing was sent for the first in nine days"
        );
        assert_eq!(Floor::of(&both, None, 17 * DAY, 7 * DAY), None);
    }

    #[test]
    fn a_floor_that_the_journal_does_not_know_holds_until_the_minimum_age() {
        let head = Floor {
            pack: 5,
            sent_secs: DAY,
        };
        let floor = Floor::of(&[begun(40, 9)], Some(head), 7 * DAY, 7 * DAY).unwrap();
        assert_eq!((floor.pack, floor.sent_secs), (5, 9 * DAY));
        let floor = Floor::of(&[begun(40, 9)], Some(head), 9 * DAY, 7 * DAY).unwrap();
        assert_eq!(floor.pack, 40);
    }

    #[test]
    fn a_floor_ahead_of_now_holds() {
        let floor = Floor {
            pack: 5,
            sent_secs: 100 * DAY,
        };
        assert!(floor.holds(DAY, 7 * DAY));
    }

    #[test]
    fn without_a_minimum_age_a_floor_holds_for_two_days() {
        let floor = Floor::of(&[begun(12, 8)], None, 9 * DAY, 0).unwrap();
        assert!(floor.holds(10 * DAY - 1, 0) && !floor.holds(10 * DAY, 0));
    }
}
