// SPDX-License-Identifier: GPL-3.0-or-later
//! The tables of the catalog as a commit changes them: volume table and session tables, key table,
//! pack table.

use std::collections::BTreeSet;

use wyng_archive::crypto::Id;
use wyng_archive::format::{
    Commit, KeyEntry, KeysTree, Node, PacksRoot, PacksTree, SessionEntry, SessionsTree, Tail,
    TreeRoot, VolumeEntry, VolumesTree, depth_for,
};
use wyng_archive::plan::{Editor, Nodes, NodesMut, Root};
use wyng_control::Failure;

use super::pack::CommitPoint;
use super::pack_changes::{PACK_NODE_MAX_BYTES, PackChanges};
use super::packer::Packer;
use super::tools::Tools;
use super::trees::{PackedNodes, PackedTail, edit_failure, edit_tree};
use crate::archive::{keys_root, sessions_root, volumes_root};
use crate::outcome::internal;
use crate::world::Parts;

/// A volume whose new session is complete except for its commit.
#[derive(Debug, Clone)]
pub(crate) struct FinishedVolume {
    /// Its number in the volume table.
    pub number: u64,
    /// Its entry before this session.
    pub entry: VolumeEntry,
    /// The new session; the commit fills in its generation.
    pub session: SessionEntry,
}

/// A volume whose entries change without a new session.
#[derive(Debug, Clone)]
pub(crate) struct EditedVolume {
    /// Its number in the volume table.
    pub number: u64,
    /// Its new entry; the commit fills in the root of the session table.
    pub entry: VolumeEntry,
    /// New entries of the session table, each with its index, ascending; `None` removes an entry.
    pub sessions: Vec<(u64, Option<SessionEntry>)>,
}

impl EditedVolume {
    /// A volume whose session table stays as it is.
    pub(crate) fn entry_only(number: u64, entry: VolumeEntry) -> Self {
        Self {
            number,
            entry,
            sessions: Vec::new(),
        }
    }
}

/// Changes of the volume table and the session tables in a commit.
pub(super) struct VolumeEdits {
    /// Volumes whose entries change without a new session.
    pub edited: Vec<EditedVolume>,
    /// Numbers of volumes that leave the table.
    pub removed: Vec<u64>,
    /// Volumes with a new session.
    pub finished: Vec<FinishedVolume>,
    /// The generation of the new sessions.
    pub generation: u64,
}

/// Enters changed volumes and new sessions into the volume table and the session tables.
pub(super) fn edit_volumes<P: Parts>(
    tools: &mut Tools<'_, P>,
    packer: &mut Packer<P>,
    head: &Commit,
    edits: VolumeEdits,
) -> Result<TreeRoot, Failure> {
    let VolumeEdits {
        edited,
        removed,
        finished,
        generation,
    } = edits;
    if edited.is_empty() && removed.is_empty() && finished.is_empty() {
        return Ok(head.volumes);
    }
    let is_finished = |number: u64| finished.iter().any(|volume| volume.number == number);
    let edited: Vec<EditedVolume> = edited
        .into_iter()
        .filter(|volume| !is_finished(volume.number))
        .collect();
    let mut changes = Vec::new();
    for EditedVolume {
        number,
        mut entry,
        sessions,
    } in edited
    {
        if !sessions.is_empty() {
            let (old, size) = (sessions_root(&entry), entry.sessions_size);
            let root = edit_tree::<P, SessionsTree>(tools, packer, &old, size, sessions)?;
            entry.sessions_root = root.child.unwrap_or(Id::ZERO);
        }
        changes.push((number, Some(entry)));
    }
    for FinishedVolume {
        number,
        mut entry,
        mut session,
    } in finished
    {
        session.generation = generation;
        (entry.size_bytes, entry.domain, entry.chunk_size_bytes) =
            (session.size_bytes, session.domain, session.chunk_size_bytes);
        let (index, size) = (entry.sessions_size, entry.sessions_size.saturating_add(1));
        let root = edit_tree::<P, SessionsTree>(
            tools,
            packer,
            &sessions_root(&entry),
            size,
            [(index, Some(session))],
        )?;
        (entry.sessions_size, entry.sessions_root) = (root.size, root.child.unwrap_or(Id::ZERO));
        changes.push((number, Some(entry)));
    }
    changes.extend(removed.into_iter().map(|number| (number, None)));
    changes.sort_by_key(|(number, _)| *number);
    let size = changes
        .last()
        .map_or(0, |(number, _)| number.saturating_add(1))
        .max(head.volumes.size);
    let root = edit_tree::<P, VolumesTree>(tools, packer, &volumes_root(head), size, changes)?;
    Ok(TreeRoot {
        size: root.size,
        root: root.child,
    })
}

/// Changes of the key table in a commit.
pub(super) struct KeyEdits {
    /// New session keys, each with its number, ascending.
    pub new: Vec<(u64, KeyEntry)>,
    /// Numbers of keys under which no pack holds a record any more: their entries leave the table.
    pub dropped: BTreeSet<u64>,
    /// Lost nodes of the table below this number are given up. Other lost nodes are not touched,
    /// since `Archive::next_key` skips their numbers.
    pub replaced_end: u64,
}

/// Changes the key table.
pub(super) fn edit_keys<P: Parts>(
    tools: &mut Tools<'_, P>,
    packer: &mut Packer<P>,
    head: &Commit,
    edits: KeyEdits,
) -> Result<TreeRoot, Failure> {
    let KeyEdits {
        new,
        dropped,
        replaced_end,
    } = edits;
    if new.is_empty() && dropped.is_empty() && replaced_end == 0 {
        return Ok(head.keys);
    }
    let size = new
        .last()
        .map_or(head.keys.size, |(number, _)| number.saturating_add(1));
    let mut nodes = LostKeysAsEmpty {
        nodes: PackedNodes { tools, packer },
        passes_lost: replaced_end > 0,
    };
    let mut editor =
        Editor::<KeysTree>::new(&keys_root(head), size, &mut nodes).map_err(edit_failure)?;
    let lost = (0..replaced_end.min(head.keys.size)).filter(|number| {
        let index = &nodes.nodes.tools.cache.index;
        u32::try_from(*number).is_ok_and(|number| index.is_key_lost(number))
    });
    let gone: BTreeSet<u64> = lost.chain(dropped).collect();
    let changes: Vec<_> = gone
        .into_iter()
        .filter(|number| *number < head.keys.size)
        .map(|number| (number, None))
        .chain(new.into_iter().map(|(number, key)| (number, Some(key))))
        .collect();
    for (number, key) in changes {
        editor.set(number, key, &mut nodes).map_err(edit_failure)?;
    }
    let root = editor.finish(&mut nodes).map_err(edit_failure)?;
    Ok(TreeRoot {
        size: root.size,
        root: root.child,
    })
}

/// Reads lost nodes of the key table as empty nodes where they are given up.
struct LostKeysAsEmpty<'a, 'b, P: Parts> {
    nodes: PackedNodes<'a, 'b, P>,
    passes_lost: bool,
}

impl<P: Parts> Nodes<KeysTree> for LostKeysAsEmpty<'_, '_, P> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<KeysTree>, Failure> {
        match self.nodes.load(child, level, room) {
            Err(Failure::Missing { .. }) if self.passes_lost => Ok(Node::empty(level)),
            loaded => loaded,
        }
    }
}

impl<P: Parts> NodesMut<KeysTree> for LostKeysAsEmpty<'_, '_, P> {
    fn save(&mut self, node: &Node<KeysTree>) -> Result<Id, Failure> {
        self.nodes.save(node)
    }
}

/// Enters the last tail, all closed packs and all changed entries into the pack table. The new
/// nodes of the table go into the open pack, which becomes the new tail.
pub(super) fn edit_packs<P: Parts>(
    tools: &mut Tools<'_, P>,
    packer: &mut Packer<P>,
    head: &Commit,
    mut changes: PackChanges,
    point: CommitPoint,
) -> Result<(PacksRoot, Tail), Failure> {
    let count = packer.closed_count().saturating_add(2);
    let levels = usize::from(depth_for(head.next_pack().saturating_add(count as u64)));
    let scattered = changes.leaves().saturating_add(2).saturating_mul(levels);
    let nodes = (count / 32).saturating_add(2).saturating_add(scattered);
    let bytes = u32::try_from(nodes.saturating_mul(PACK_NODE_MAX_BYTES))
        .map_err(|_| internal("one commit cannot hold so many packs"))?;
    let number = packer.reserve_tail(tools, nodes, bytes)?;
    packer.settle(tools)?;
    changes.end_heirs(number);
    let PackChanges {
        mut entries,
        rewritten,
        dropped,
    } = changes;
    if let Some(tail) = &head.tail {
        entries.entry(tail.number).or_insert(tail.entry);
    }
    entries.extend(packer.take_closed());
    let old = Root {
        size: head.packs.size,
        child: head.packs.root,
    };
    let mut nodes = PackedTail(PackedNodes { tools, packer });
    let mut editor = Editor::<PacksTree>::new(&old, number, &mut nodes).map_err(edit_failure)?;
    let indices = entries.keys().chain(&rewritten).chain(&dropped);
    let indices: BTreeSet<u64> = indices.copied().collect();
    for index in indices {
        if rewritten.contains(&index) {
            editor.touch(index, &mut nodes).map_err(edit_failure)?;
        }
        let entry = entries.get(&index).copied();
        if entry.is_some() || dropped.contains(&index) {
            editor.set(index, entry, &mut nodes).map_err(edit_failure)?;
        }
    }
    let root = editor.finish(&mut nodes).map_err(edit_failure)?;
    packer.close(tools, point)?;
    packer.settle(tools)?;
    let (tail_number, entry) = packer
        .take_closed()
        .pop()
        .filter(|(found, _)| *found == number)
        .ok_or_else(|| internal("the tail is not the last pack that was closed"))?;
    Ok((
        PacksRoot {
            size: root.size,
            root: root.child,
        },
        Tail {
            number: tail_number,
            entry,
        },
    ))
}
