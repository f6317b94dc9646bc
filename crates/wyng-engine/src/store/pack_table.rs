// SPDX-License-Identifier: GPL-3.0-or-later
//! The pack table of an archive's head. It changes nothing.

use wyng_archive::format::Place;
use wyng_control::Failure;

use crate::archive::{Archive, Packs, read_packs_of};
use crate::world::Files;

/// Reads the pack table from the cache.
pub fn packs_of(files: &mut impl Files, archive: &mut Archive) -> Result<Packs, Failure> {
    packs_below(files, archive, &mut |_, _| {})
}

/// The same; `visit` gets, for each node of the pack table, the number of the pack in which the
/// node lies, and the index at which its range begins.
pub(crate) fn packs_below(
    files: &mut impl Files,
    archive: &mut Archive,
    visit: &mut dyn FnMut(u64, u64),
) -> Result<Packs, Failure> {
    let head = archive.head.clone();
    let size = head.packs.size;
    read_packs_of(archive.nodes(files), &head, &mut |place, room| {
        visit(place.pack, size.saturating_sub(room));
    })
}

/// The places of the nodes of the pack table.
pub(crate) fn pack_table_nodes(
    files: &mut impl Files,
    archive: &mut Archive,
    visit: &mut dyn FnMut(&Place),
) -> Result<(), Failure> {
    let head = archive.head.clone();
    read_packs_of(archive.nodes(files), &head, &mut |place, _| visit(place)).map(drop)
}
