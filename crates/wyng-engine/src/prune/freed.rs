// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds the packs that nothing needs once sessions are removed. It changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use wyng_archive::format::{PackEntry, PackState, SessionEntry, VolumeEntry, VolumeId};
use wyng_archive::plan::giving_up::{is_worth_commits, to_give_up};
use wyng_control::Failure;

use crate::archive::{Archive, Packs};
use crate::outcome::internal;
use crate::space::{CopyTimes, Roots, alive_packs};
use crate::store::{PackChanges, packs_below};
use crate::world::{Client, Files};

/// The sessions that leave the archive: the volume's id, and the session's name.
pub(super) type Removed = HashSet<(VolumeId, i64)>;

/// Packs that a prune frees.
#[derive(Debug, Default)]
pub(super) struct Freed {
    /// The packs that are given up, and the nodes of the pack table that lie in them.
    pub packs: PackChanges,
    /// Length of these packs, bytes.
    pub bytes: u64,
    /// Length of the packs that wait for their deletion already, bytes.
    pub waiting_bytes: u64,
    /// Number of lost parts of the archive. The needs of a lost part are not known, so nothing is
    /// given up while this is not 0.
    pub unknown: u64,
}

/// The packs of the head, and of its pack table the packs that hold nodes, with the indices at
/// which the ranges of these nodes begin.
struct Table {
    packs: Packs,
    nodes: BTreeMap<u64, BTreeSet<u64>>,
}

/// Finds the packs that are freed once these sessions are removed. `healing`: changes of the pack
/// table by the notes of damage, which come first. `now_kept_secs` is the chain's kept clock.
pub(super) fn find_freed(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    (removed, healing): (&Removed, &PackChanges),
    now_kept_secs: u64,
) -> Result<Freed, Failure> {
    let mut nodes: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut packs = packs_below(files, archive, &mut |pack, base| {
        nodes.entry(pack).or_default().insert(base);
    })?;
    packs.extend(&healing.entries);
    let table = Table { packs, nodes };
    let mut freed = Freed {
        waiting_bytes: waiting_bytes(&table.packs),
        ..Freed::default()
    };
    let times = CopyTimes::of(files, archive, now_kept_secs)?;
    let stays = &mut |volume: &_, session: &_| is_kept(removed, volume, session);
    let roots = Roots::of_head(files, archive, stays)?;
    let alive = alive_packs(files, client, archive, &roots, &|pack| times.copy(pack))?;
    freed.unknown = alive.unknown;
    if alive.unknown > 0 {
        return Ok(freed);
    }
    // Nodes of the pack table keep no pack: they are written anew in the commit that gives it up.
    let marked = alive.marked(&table.packs, &BTreeSet::new());
    let given_up = to_give_up(&marked, archive.floor(now_kept_secs));
    // A commit brings a pack with nodes of the pack table, which may be all that is in it.
    let without_nodes = given_up
        .iter()
        .filter(|pack| !table.nodes.contains_key(pack));
    let entries = without_nodes.filter_map(|number| table.packs.get(number));
    let bytes = entries.fold(0, |sum: u64, entry| {
        sum.saturating_add(entry.length_bytes.into())
    });
    let hold_off_runs = archive.head.settings.hold_off_runs;
    if removed.is_empty() && !is_worth_commits(bytes, hold_off_runs) {
        return Ok(freed);
    }
    for number in given_up {
        let entry = table
            .packs
            .get(&number)
            .ok_or_else(|| internal("a pack without an entry was marked"))?;
        freed.packs.give_up(number, entry, None);
        freed.bytes = freed.bytes.saturating_add(entry.length_bytes.into());
        let nodes = table.nodes.get(&number).into_iter().flatten();
        freed.packs.rewritten.extend(nodes);
    }
    Ok(freed)
}

fn is_kept(removed: &Removed, volume: &VolumeEntry, session: &SessionEntry) -> bool {
    !removed.contains(&(volume.id, session.time))
}

/// Length of the packs that wait for their deletion, bytes.
fn waiting_bytes(packs: &Packs) -> u64 {
    let waits =
        |entry: &&PackEntry| matches!(entry.state, PackState::GivenUp(_) | PackState::Going(_));
    packs.values().filter(waits).fold(0, |sum: u64, entry| {
        sum.saturating_add(entry.length_bytes.into())
    })
}
