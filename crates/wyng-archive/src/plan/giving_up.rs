// SPDX-License-Identifier: GPL-3.0-or-later
//! Selects the live packs that a prune gives up, and the entries of the key table that go with
//! packs. It deletes nothing: see `deletion`.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::{Floor, PACK_SIZE_MIN_BYTES};

/// A live pack as a prune knows it, after all sessions that stay were marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// Its number.
    pub number: u64,
    /// A record in it is alive; [`alive_copies`] decides between the copies of an id.
    pub is_needed: bool,
    /// It holds a node of the head's pack table that the commit being made does not write anew.
    pub holds_table_node: bool,
}

/// A copy of an id that several live packs hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// The number of the pack that holds it.
    pub pack: u64,
    /// Kept clock of the commit that brought the pack, seconds.
    pub came_secs: u64,
    /// Kept clock at which the pack was last read whole and found sound, seconds.
    pub read_whole_secs: Option<u64>,
}

/// The packs, ascending, of which no record is alive and that nothing else keeps.
pub fn to_give_up(packs: &[Marked], floor: Option<Floor>) -> Vec<u64> {
    let unused = packs.iter().filter(|pack| {
        !pack.is_needed
            && !pack.holds_table_node
            && !floor.is_some_and(|floor| floor.covers(pack.number))
    });
    let numbers: BTreeSet<u64> = unused.map(|pack| pack.number).collect();
    numbers.into_iter().collect()
}

/// Commits that giving packs up takes beside the runs of its hold-off: the commit that gives them
/// up, the commit that marks them, the commit that drops their entries, and two to spare.
const COMMITS_BESIDE_RUNS: u64 = 5;

/// Whether packs of this length are worth the commits that their deletion takes, although no
/// session goes. Each of these commits brings a pack, which is dead after the next: if so little
/// were worth it, the prunes of an archive that is not backed up to any more would make commits and
/// give up the packs of these commits without end.
pub fn is_worth_commits(bytes: u64, hold_off_runs: u32) -> bool {
    let commits = u64::from(hold_off_runs).saturating_add(COMMITS_BESIDE_RUNS);
    bytes > commits.saturating_mul(PACK_SIZE_MIN_BYTES.into())
}

/// Numbers of the packs whose copies of an id in use are alive, ascending.
///
/// The copy in the pack of the lowest number counts. Another copy is dead only if that pack was
/// read whole since the other came: a pack that was read in part may turn out to be damaged just
/// where the copy lies.
pub fn alive_copies(copies: &[Copy]) -> BTreeSet<u64> {
    let Some(counts) = copies.iter().min_by_key(|copy| copy.pack) else {
        return BTreeSet::new();
    };
    let may_be_needed = |other: &&Copy| {
        counts
            .read_whole_secs
            .is_none_or(|read| read <= other.came_secs)
    };
    let others = copies.iter().filter(|copy| copy.pack != counts.pack);
    others
        .filter(may_be_needed)
        .chain([counts])
        .map(|copy| copy.pack)
        .collect()
}

/// Numbers of the keys, ascending, under which no pack that has an entry holds a record: their
/// entries go. `packs` has every entry of the pack table, whatever its state, with its keys.
pub fn keys_to_drop(keys: &BTreeSet<u64>, packs: &BTreeMap<u64, BTreeSet<u64>>) -> BTreeSet<u64> {
    let used: BTreeSet<u64> = packs.values().flatten().copied().collect();
    keys.difference(&used).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(number: u64, is_needed: bool) -> Marked {
        Marked {
            number,
            is_needed,
            holds_table_node: false,
        }
    }

    #[test]
    fn a_pack_is_given_up_when_nothing_in_it_is_alive() {
        let packs = [marked(3, false), marked(1, false), marked(2, true)];
        assert_eq!(to_give_up(&packs, None), [1, 3]);
    }

    #[test]
    fn a_pack_with_a_node_of_the_heads_pack_table_is_not_given_up() {
        let mut packs = [marked(1, false), marked(2, false)];
        packs[0].holds_table_node = true;
        assert_eq!(to_give_up(&packs, None), [2]);
    }

    #[test]
    fn a_pack_from_the_floor_on_is_not_given_up() {
        let floor = Floor {
            pack: 2,
            sent_secs: 0,
        };
        let packs = [marked(1, false), marked(2, false), marked(3, false)];
        assert_eq!(to_give_up(&packs, Some(floor)), [1]);
    }

    fn copy(pack: u64, came_secs: u64, read_whole_secs: Option<u64>) -> Copy {
        Copy {
            pack,
            came_secs,
            read_whole_secs,
        }
    }

    #[test]
    fn another_copy_is_dead_only_if_the_one_that_counts_was_read_whole_since_it_came() {
        let other = copy(9, 500, Some(900));
        for (read_whole_secs, alive) in [
            (None, vec![4, 9]),
            (Some(499), vec![4, 9]),
            (Some(500), vec![4, 9]),
            (Some(501), vec![4]),
        ] {
            let copies = [other, copy(4, 100, read_whole_secs)];
            assert_eq!(alive_copies(&copies), BTreeSet::from_iter(alive));
        }
        assert_eq!(alive_copies(&[]), BTreeSet::new());
    }

    #[test]
    fn each_other_copy_is_judged_by_itself() {
        let copies = [copy(1, 0, Some(50)), copy(2, 40, None), copy(3, 60, None)];
        assert_eq!(alive_copies(&copies), BTreeSet::from([1, 3]));
    }

    #[test]
    fn a_key_lives_while_any_pack_with_an_entry_holds_a_record_under_it() {
        let packs = BTreeMap::from([(1, BTreeSet::from([0, 2])), (7, BTreeSet::from([3]))]);
        let keys = BTreeSet::from([0, 1, 2, 3]);
        assert_eq!(keys_to_drop(&keys, &packs), BTreeSet::from([1]));
    }
}
