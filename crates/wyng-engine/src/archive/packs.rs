// SPDX-License-Identifier: GPL-3.0-or-later
//! The pack table of a head, read from the cache, and the packs in which no ids are known. It
//! changes nothing.

use std::collections::BTreeMap;

use wyng_archive::format::{Commit, Node, PackEntry, PackState, PacksTree, Place};
use wyng_archive::plan::{Nodes, PacksError, read_packs};
use wyng_control::Failure;

use super::nodes::{CachedNodes, CachedPackNodes};
use crate::cache::PacksAtHand;
use crate::outcome::damaged;
use crate::world::Files;

/// All packs of a head, by number.
pub(crate) type Packs = BTreeMap<u64, PackEntry>;

/// Reads the pack table. `visit` gets the place of each of its nodes, and the number of indices
/// from the start of the node's range to the end of the table.
pub(crate) fn read_packs_of<F: Files>(
    nodes: CachedNodes<'_, F>,
    head: &Commit,
    visit: &mut dyn FnMut(&Place, u64),
) -> Result<Packs, Failure> {
    let mut nodes = CachedPackNodes(nodes);
    let load = &mut |_: &PackEntry,
                     place: &Place,
                     level: u8,
                     room: u64|
     -> Result<Node<PacksTree>, Failure> {
        visit(place, room);
        nodes.load(place, level, room)
    };
    read_packs(head, load).map_err(|error| match error {
        PacksError::Damage(damage) => damaged(&damage),
        PacksError::Nodes(failure) => failure,
    })
}

/// The packs of a head that have an entry in its pack table.
pub(super) fn entered_packs(packs: &Packs, head: &Commit) -> PacksAtHand {
    PacksAtHand {
        end: head.next_pack(),
        present: packs.keys().copied().collect(),
    }
}

/// The packs of a head in which ids are known. All other packs were given up, are being deleted, or
/// have no entry any more.
pub(super) fn packs_at_hand(packs: &Packs, head: &Commit) -> PacksAtHand {
    PacksAtHand {
        end: head.next_pack(),
        present: packs
            .iter()
            .filter(|(_, pack)| matches!(pack.state, PackState::Live | PackState::Lost))
            .map(|(number, _)| *number)
            .collect(),
    }
}
