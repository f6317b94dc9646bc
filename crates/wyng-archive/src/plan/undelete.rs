// SPDX-License-Identifier: GPL-3.0-or-later
//! Decides whether a removed session can come back, and which packs become live again with it. The
//! packs are read whole first, where the store may be read; that is the caller's part.

use std::collections::{BTreeMap, BTreeSet};

use super::hold_off::HoldOffs;
use super::pack_life::Pack;
use crate::format::{NAME_MAX_BYTES, PackState, Stamp, is_volume_name};

/// The reason why a session does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The hold-off since its removal is over.
    #[error("its hold-off is over")]
    HoldOffOver,
    /// The commit that removed it is ahead of the head.
    #[error("it was not removed from this head")]
    NotRemoved,
    /// A pack that it needs is being deleted.
    #[error("pack {0} is being deleted")]
    Going(u64),
    /// A pack that it needs has no entry any more.
    #[error("pack {0} was deleted")]
    Deleted(u64),
    /// A pack that it needs is missing or damaged.
    #[error("pack {0} is lost")]
    Lost(u64),
}

/// The packs, ascending, that become live again in the commit that brings a session back. `needs`:
/// the pack that counts for each record of the session, as the head before its removal had it.
///
/// Fails with the first [`Refusal`]; nothing may be changed then.
pub fn packs_to_revive(
    removed: Stamp,
    now: Stamp,
    hold_offs: &HoldOffs,
    packs: &BTreeMap<u64, Pack>,
    needs: &BTreeSet<u64>,
) -> Result<BTreeSet<u64>, Refusal> {
    if now.run < removed.run || now.kept_secs < removed.kept_secs {
        return Err(Refusal::NotRemoved);
    }
    if hold_offs.of(removed).left(removed, now).is_over() {
        return Err(Refusal::HoldOffOver);
    }
    let mut revived = BTreeSet::new();
    for number in needs {
        match packs.get(number).map(|pack| pack.state) {
            Some(PackState::Live) => {}
            Some(PackState::GivenUp(_)) => {
                revived.insert(*number);
            }
            Some(PackState::Going(_)) => return Err(Refusal::Going(*number)),
            Some(PackState::Lost) => return Err(Refusal::Lost(*number)),
            None => return Err(Refusal::Deleted(*number)),
        }
    }
    Ok(revived)
}

/// A name for a removed volume that comes back: its own, or with `-2`, `-3` and so on behind it if
/// that is taken. At most [`NAME_MAX_BYTES`]; a longer one is cut before the number.
///
/// `None` if `name` is not valid for a volume, or if ten thousand names are taken.
pub fn free_name(name: &str, taken: &BTreeSet<String>) -> Option<String> {
    if is_volume_name(name) && !taken.contains(name) {
        return Some(name.to_owned());
    }
    let numbered = (2..10_000).map(|number| {
        let suffix = format!("-{number}");
        let room = NAME_MAX_BYTES.saturating_sub(suffix.len());
        let end = (0..=room.min(name.len()))
            .rev()
            .find(|end| name.is_char_boundary(*end));
        let stem = end.and_then(|end| name.get(..end)).unwrap_or_default();
        format!("{stem}{suffix}")
    });
    let mut free = numbered.filter(|name| is_volume_name(name) && !taken.contains(name));
    free.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{GivenUp, HoldOff};

    const REMOVED: Stamp = Stamp {
        run: 10,
        kept_secs: 1000,
    };
    const NOW: Stamp = Stamp {
        run: 12,
        kept_secs: 5000,
    };
    const GIVEN_UP: GivenUp = GivenUp {
        at: REMOVED,
        heirs: None,
    };

    fn hold_offs() -> HoldOffs {
        HoldOffs::new(HoldOff {
            runs: 3,
            secs: 4000,
        })
    }

    fn packs(states: &[(u64, PackState)]) -> BTreeMap<u64, Pack> {
        let pack = |state| Pack {
            length_bytes: 1,
            state,
        };
        states
            .iter()
            .map(|(number, state)| (*number, pack(*state)))
            .collect()
    }

    fn revive(states: &[(u64, PackState)], now: Stamp) -> Result<BTreeSet<u64>, Refusal> {
        packs_to_revive(
            REMOVED,
            now,
            &hold_offs(),
            &packs(states),
            &BTreeSet::from([1, 2]),
        )
    }

    #[test]
    fn given_up_packs_become_live_again_within_the_hold_off() {
        let states = [
            (1, PackState::Live),
            (2, PackState::GivenUp(GIVEN_UP)),
            (3, PackState::GivenUp(GIVEN_UP)),
        ];
        assert_eq!(
            revive(&states, NOW),
            Ok(BTreeSet::from([2])),
            "no more than it needs"
        );
    }

    #[test]
    fn nothing_comes_back_after_the_hold_off_nor_before_the_removal() {
        let states = [(1, PackState::Live), (2, PackState::Live)];
        assert_eq!(
            revive(&states, Stamp { run: 13, ..NOW }),
            Err(Refusal::HoldOffOver)
        );
        assert_eq!(
            revive(&states, Stamp { run: 9, ..NOW }),
            Err(Refusal::NotRemoved)
        );
        let early = Stamp {
            kept_secs: 999,
            ..NOW
        };
        assert_eq!(revive(&states, early), Err(Refusal::NotRemoved));
    }

    #[test]
    fn a_session_with_a_pack_that_is_going_gone_or_lost_does_not_come_back() {
        let live = (1, PackState::Live);
        let found = |state| revive(&[live, (2, state)], NOW);
        assert_eq!(found(PackState::Going(GIVEN_UP)), Err(Refusal::Going(2)));
        assert_eq!(found(PackState::Lost), Err(Refusal::Lost(2)));
        assert_eq!(revive(&[live], NOW), Err(Refusal::Deleted(2)));
    }

    #[test]
    fn a_removed_volume_comes_back_under_a_free_name() {
        let taken = BTreeSet::from(["home".to_owned(), "home-2".to_owned()]);
        assert_eq!(free_name("root", &taken).unwrap(), "root");
        assert_eq!(free_name("home", &taken).unwrap(), "home-3");
        let long = "ü".repeat(NAME_MAX_BYTES / 2);
        let cut = free_name(&long, &BTreeSet::from([long.clone()])).unwrap();
        assert!(is_volume_name(&cut) && cut.ends_with("ü-2"), "{cut}");
        assert_eq!(free_name("../etc", &taken), None);
    }
}
