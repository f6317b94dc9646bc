// SPDX-License-Identifier: GPL-3.0-or-later
//! The pack table of the head, read from the cache. It changes nothing.

use std::collections::BTreeMap;

use wyng_archive::format::{Commit, Node, PackEntry, PacksTree, Place};
use wyng_archive::plan::{Nodes, PacksError, read_packs};
use wyng_control::Failure;

use crate::archive::{Archive, CachedPackNodes};
use crate::outcome::damaged;
use crate::world::Files;

/// All packs of the head, by number.
pub(crate) type Packs = BTreeMap<u64, PackEntry>;

/// Reads the pack table from the cache.
pub(crate) fn packs_of(files: &mut impl Files, archive: &mut Archive) -> Result<Packs, Failure> {
    packs_below(files, archive, &mut |_, _| {})
}

/// The same; `visit` gets, for each node of the pack table, the number of the pack in which the
/// node lies, and the index at which its range begins.
pub(crate) fn packs_below(
    files: &mut impl Files,
    archive: &mut Archive,
    visit: &mut dyn FnMut(u64, u64),
) -> Result<Packs, Failure> {
    let size = archive.head.packs.size;
    read_visiting(files, archive, &mut |place, room| {
        visit(place.pack, size.saturating_sub(room));
    })
}

/// The places of the nodes of the pack table.
pub(crate) fn pack_table_nodes(
    files: &mut impl Files,
    archive: &mut Archive,
    visit: &mut dyn FnMut(&Place),
) -> Result<(), Failure> {
    read_visiting(files, archive, &mut |place, _| visit(place)).map(drop)
}

/// Reads the pack table; `visit` gets the place of each node, and the number of indices from the
/// begin of the node's range to the end of the table.
fn read_visiting(
    files: &mut impl Files,
    archive: &mut Archive,
    visit: &mut dyn FnMut(&Place, u64),
) -> Result<Packs, Failure> {
    let head: Commit = archive.head.clone();
    let mut nodes = CachedPackNodes(archive.nodes(files));
    let load = &mut |_: &PackEntry,
                     place: &Place,
                     level: u8,
                     room: u64|
     -> Result<Node<PacksTree>, Failure> {
        visit(place, room);
        nodes.load(place, level, room)
    };
    read_packs(&head, load).map_err(|error| match error {
        PacksError::Damage(damage) => damaged(&damage),
        PacksError::Nodes(failure) => failure,
    })
}
