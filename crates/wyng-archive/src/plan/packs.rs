// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading the pack table from right to left, so that the entry of each pack is known before a node
//! in that pack is needed.

use std::collections::BTreeMap;

use super::child_base;
use crate::damage::{Class, Damage, Fault};
use crate::format::{Commit, Node, PackEntry, PacksTree, Place, depth_for};
use crate::ids::Id;

/// Why the pack table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PacksError<E> {
    /// A node names a pack that is not known yet, or a place outside of its pack.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A node could not be loaded.
    #[error("a node of the pack table could not be loaded")]
    Nodes(E),
}

/// All packs of a commit by number, the tail included. `load` reads the node at a place of a known
/// pack.
pub fn read_packs<E, F>(
    commit: &Commit,
    load: &mut F,
) -> Result<BTreeMap<u64, PackEntry>, PacksError<E>>
where
    F: FnMut(&PackEntry, &Place, u8, u64) -> Result<Node<PacksTree>, E>,
{
    let mut packs: BTreeMap<u64, PackEntry> = commit
        .tail
        .iter()
        .map(|tail| (tail.number, tail.entry))
        .collect();
    let size = commit.packs.size;
    // Children are pushed in ascending order, so the highest is taken first.
    let mut open: Vec<(Place, u8, u64)> = commit
        .packs
        .root
        .zip(depth_for(size).checked_sub(1))
        .map(|(place, level)| (place, level, 0))
        .into_iter()
        .collect();
    while let Some((place, level, base)) = open.pop() {
        let refuse = |fault| Damage::new(Class::Node, place.id.0, fault);
        let pack = *packs.get(&place.pack).ok_or(refuse(Fault::Shape(
            "it lies in a pack that is not known yet",
        )))?;
        if !pack.contains(place.offset_bytes, place.length_bytes) {
            return Err(refuse(Fault::Place).into());
        }
        match load(&pack, &place, level, size.saturating_sub(base)).map_err(PacksError::Nodes)? {
            Node::Leaf(entries) => {
                for (slot, entry) in entries.iter().enumerate() {
                    if let (Some(entry), Some(number)) = (entry, child_base(base, 0, slot)) {
                        packs.insert(number, *entry);
                    }
                }
            }
            Node::Inner { level, children } => {
                for (slot, child) in children.iter().enumerate() {
                    if let (Some(child), Some(begin)) = (child, child_base(base, level, slot)) {
                        open.push((*child, level.saturating_sub(1), begin));
                    }
                }
            }
        }
    }
    names_are_unique(&packs)?;
    Ok(packs)
}

fn names_are_unique(packs: &BTreeMap<u64, PackEntry>) -> Result<(), Damage> {
    let mut names: Vec<Id> = packs.values().map(|pack| Id(pack.name.0)).collect();
    names.sort_unstable();
    match names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b) {
        Some((twice, _)) => Err(Damage::new(
            Class::Pack,
            twice.0,
            Fault::Shape("it is in the pack table twice"),
        )),
        None => Ok(()),
    }
}
