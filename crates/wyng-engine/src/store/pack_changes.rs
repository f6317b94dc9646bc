// SPDX-License-Identifier: GPL-3.0-or-later
//! Changes of the pack table other than growth: packs that are marked lost, live again, given up or
//! going, and entries of deleted packs that are dropped.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::{Commit, GivenUp, Heirs, PackEntry, PackState, Stamp, depth_for};

/// Upper bound for a sealed node of the pack table, bytes: 32 entries of 112 bytes, and 52 bytes of
/// headers, nonce and tag.
pub(super) const PACK_NODE_MAX_BYTES: usize = 4 * 1024;

/// Changes of the pack table besides its growth.
#[derive(Debug, Default)]
pub(crate) struct PackChanges {
    /// Entries with their new states.
    pub entries: BTreeMap<u64, PackEntry>,
    /// Indices at which nodes of the pack table lie in packs that are lost or given up: these nodes
    /// are written anew.
    pub rewritten: BTreeSet<u64>,
    /// Packs that are deleted: their entries leave the table.
    pub dropped: BTreeSet<u64>,
}

impl PackChanges {
    /// Whether nothing in the table changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.rewritten.is_empty() && self.dropped.is_empty()
    }

    /// Gives a pack up, in favour of the packs that took over its records. The commit that does so
    /// fills in its own point in time.
    pub(crate) fn give_up(&mut self, number: u64, entry: &PackEntry, heirs: Option<Heirs>) {
        let at = Stamp::default();
        let state = PackState::GivenUp(GivenUp { at, heirs });
        self.entries.insert(number, PackEntry { state, ..*entry });
    }

    /// The packs that the next commit gives up.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = u64> + '_ {
        let is_new = |entry: &PackEntry| {
            let given_up = entry.state.given_up();
            given_up.is_some_and(|given_up| given_up.at == Stamp::default())
        };
        let packs = self.entries.iter().filter(move |(_, entry)| is_new(entry));
        packs.map(|(number, _)| *number)
    }

    /// Fills in the point in time of the commit that gives packs up. No commit has the default one.
    pub(super) fn stamp(&mut self, at: Stamp) {
        for entry in self.entries.values_mut() {
            if let PackState::GivenUp(given_up) = &mut entry.state
                && given_up.at == Stamp::default()
            {
                given_up.at = at;
            }
        }
    }

    /// Gives a pack up in favour of all packs from `first` to the tail of the commit that does so.
    pub(crate) fn move_out(&mut self, number: u64, entry: &PackEntry, first: u64) {
        let to_tail = Heirs {
            first,
            last: u64::MAX,
        };
        self.give_up(number, entry, Some(to_tail));
    }

    /// Fills in the number of the commit's tail where heirs reach up to it.
    pub(super) fn end_heirs(&mut self, tail: u64) {
        for entry in self.entries.values_mut() {
            if let PackState::GivenUp(given_up) = &mut entry.state
                && let Some(heirs) = &mut given_up.heirs
                && heirs.last == u64::MAX
            {
                heirs.last = tail;
            }
        }
    }

    /// Whether a pack is to be marked lost.
    pub(crate) fn mark_any_lost(&self) -> bool {
        self.entries
            .values()
            .any(|entry| entry.state == PackState::Lost)
    }

    /// The number of leaves of the pack table that change.
    pub(crate) fn leaves(&self) -> usize {
        self.changed_leaves().len()
    }

    fn changed_leaves(&self) -> BTreeSet<u64> {
        let changed = self.entries.keys().chain(&self.rewritten);
        changed
            .chain(&self.dropped)
            .map(|index| index / 32)
            .collect()
    }

    /// The number of leaves that the tail of one commit has room for. Half of the tail is left for
    /// what the run itself adds.
    pub(crate) fn leaves_max(head: &Commit) -> usize {
        let levels = usize::from(depth_for(head.next_pack().saturating_add(2))).max(1);
        let room = usize::try_from(head.settings.pack_size_bytes / 2).unwrap_or(usize::MAX);
        (room / PACK_NODE_MAX_BYTES / levels).max(1)
    }

    /// Takes as many changes as the tail of one commit has room for.
    pub(crate) fn take_part(&mut self, head: &Commit) -> Self {
        let Some(end) = self
            .changed_leaves()
            .into_iter()
            .nth(Self::leaves_max(head))
            .and_then(|leaf| leaf.checked_mul(32))
        else {
            return std::mem::take(self);
        };
        let rest = Self {
            entries: self.entries.split_off(&end),
            rewritten: self.rewritten.split_off(&end),
            dropped: self.dropped.split_off(&end),
        };
        std::mem::replace(self, rest)
    }
}
