// SPDX-License-Identifier: GPL-3.0-or-later
//! Healing: packs that a verify found missing or damaged are marked lost, and what they held is
//! made again from what this machine has: metadata from the cache, chunks from the sources. A pack
//! that is whole again is made live.
//!
//! Nothing in the store is replaced. The same ids are sent in new packs, so every old session that
//! needs them is whole again.

use std::collections::{BTreeSet, HashMap, HashSet};

use wyng_archive::crypto::{Id, slot_name};
use wyng_archive::format::{
    ContentTree, KeysTree, Node, PackEntry, PackState, SessionEntry, SessionsTree, Shape,
    VolumesTree,
};
use wyng_archive::plan::{Nodes, Root, any, mark};
use wyng_control::Failure;

use super::pack_changes::PackChanges;
use super::pack_table::packs_below;
use super::packer::Packer;
use super::put::put_blob;
use super::tools::Tools;
use super::trees::cached;
use crate::archive::{
    Archive, EveryNode, NodesAtHand, Packs, content_root, keys_root, sessions_root, volumes_root,
};
use crate::pool::Pool;
use crate::state::PackNote;
use crate::world::{Files, Kept, Parts, Store, World};

/// The changes of the pack table that the notes of damage require. Notes that agree with the table
/// already are dropped.
pub(crate) fn plan_healing(
    files: &mut impl Files,
    archive: &mut Archive,
) -> Result<PackChanges, Failure> {
    let mut changes = PackChanges::default();
    if archive.ledger.notes.packs.is_empty() {
        return Ok(changes);
    }
    let lost = archive.ledger.notes.lost_packs();
    let packs = packs_below(files, archive, &mut |pack, base| {
        if lost.contains(&pack) {
            changes.rewritten.insert(base);
        }
    })?;
    archive.ledger.notes.packs.retain(|number, note| {
        let Some(entry) = packs
            .get(number)
            .filter(|entry| entry.state.given_up().is_none())
        else {
            return false;
        };
        let state = match note {
            PackNote::Lost => PackState::Lost,
            PackNote::Sound => PackState::Live,
            PackNote::Held => return true,
        };
        if entry.state != state {
            changes
                .entries
                .insert(*number, PackEntry { state, ..*entry });
        }
        *note == PackNote::Lost || entry.state != state
    });
    revive_sources(&packs, &lost, &mut changes);
    Ok(changes)
}

/// Makes the packs live again that were given up in favour of a lost pack: they may hold the only
/// copy of its records. Packs that are going stay as they are.
fn revive_sources(packs: &Packs, lost: &BTreeSet<u64>, changes: &mut PackChanges) {
    let is_lost =
        |number: &u64, state: PackState| state == PackState::Lost || lost.contains(number);
    for (number, entry) in packs {
        let PackState::GivenUp(given_up) = entry.state else {
            continue;
        };
        let (mut open, mut seen) = (Vec::from_iter(given_up.heirs), BTreeSet::new());
        let mut has_lost_heir = false;
        while let Some(heirs) = open.pop().filter(|_| !has_lost_heir) {
            if heirs.first > heirs.last || !seen.insert(heirs) {
                continue;
            }
            for (heir, entry) in packs.range(heirs.first..=heirs.last) {
                has_lost_heir |= is_lost(heir, entry.state);
                // An heir that was given up itself stands for its own heirs.
                open.extend(entry.state.given_up().and_then(|given_up| given_up.heirs));
            }
        }
        if has_lost_heir {
            let state = PackState::Live;
            let entry = PackEntry { state, ..*entry };
            changes.entries.insert(*number, entry);
        }
    }
}

/// From now on packs count as lost that were held back because so much of the store was found
/// missing or damaged at once.
pub(crate) fn release_held(files: &mut impl Files, archive: &mut Archive) -> Result<(), Failure> {
    if archive.ledger.notes.release_held() {
        archive.ledger.write(files, &archive.folder)?;
        archive.cache.index.set_noted(&archive.ledger.notes);
    }
    Ok(())
}

/// Pushes commits again that have no sound copy, and slots that the store lost, if this machine
/// still has them.
pub(crate) fn push_missing(
    files: &mut impl Files,
    store: &mut impl Store,
    archive: &mut Archive,
) -> Result<(), Failure> {
    let noted = archive.ledger.notes.clone();
    for (generation, copy) in noted.commits.range(..=archive.head.generation) {
        let (Some(known), Ok(number)) = (
            archive.ledger.known(*generation).cloned(),
            u8::try_from(*copy),
        ) else {
            continue;
        };
        let name = archive.credential.commit_copy_name(*generation, number);
        // The note stays until a verify finds a sound copy, or finds how far the damage goes.
        let kept = put_blob(store, name, &known.bytes)?;
        if *generation < archive.head.generation {
            continue;
        }
        match kept {
            Kept::Different => return Err(archive.stop(files, *generation)),
            Kept::New | Kept::Same | Kept::Unknown | Kept::Signed => {
                archive.ledger.head_copy = number
            }
        }
        archive.ledger.write(files, &archive.folder)?;
    }
    if !noted.slots.is_empty() {
        for slot in archive
            .live_slots(files)?
            .iter()
            .filter(|slot| noted.slots.contains(&slot.clear().number))
        {
            put_blob(store, slot_name(slot.clear().number), &slot.encode())?;
        }
    }
    Ok(())
}

/// Puts every metadata node that lies only in lost packs into new packs, as far as the cache has
/// it.
pub(crate) fn rewrite_metadata<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    packer: &mut Packer<P>,
) -> Result<(), Failure> {
    let (mut sessions, mut contents) = (Vec::new(), Vec::new());
    for (_, volume) in archive.volumes(&mut world.files)? {
        contents.extend(
            archive
                .sessions_at_hand(&mut world.files, &volume)?
                .iter()
                .map(content_root),
        );
        sessions.push(sessions_root(&volume));
    }
    let volumes = volumes_root(&archive.head);
    let keys = keys_root(&archive.head);
    let mut tools = Tools::of(world, archive, pool);
    let mut nodes = Rewriting {
        tools: &mut tools,
        packer,
        seen: HashSet::new(),
    };
    nodes.tree::<VolumesTree>(&volumes)?;
    nodes.tree::<KeysTree>(&keys)?;
    sessions
        .iter()
        .try_for_each(|root| nodes.tree::<SessionsTree>(root))?;
    contents
        .iter()
        .try_for_each(|root| nodes.tree::<ContentTree>(root))
}

/// Reads nodes from the cache, and writes nodes without a sound place into packs.
struct Rewriting<'a, 'b, P: Parts> {
    tools: &'a mut Tools<'b, P>,
    packer: &'a mut Packer<P>,
    seen: HashSet<Id>,
}

impl<P: Parts> Rewriting<'_, '_, P> {
    fn tree<S: Shape<Child = Id>>(&mut self, root: &Root<Id>) -> Result<(), Failure> {
        let mut seen = std::mem::take(&mut self.seen);
        let marked = mark::<S, _, _, _>(root, self, &mut |id| seen.insert(*id), &mut |_| Ok(()));
        self.seen = seen;
        marked
    }
}

impl<P: Parts, S: Shape<Child = Id>> Nodes<S> for Rewriting<'_, '_, P> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        let node: Node<S> = NodesAtHand(cached(self.tools)).load(child, level, room)?;
        if !node.is_empty()
            && self
                .tools
                .cache
                .index
                .find_sound(self.tools.files, child)?
                .is_none()
        {
            self.packer.add_node(self.tools, node.encode())?;
        }
        Ok(node)
    }
}

/// Whether the cache has the whole tree of a session. A cache that was built after packs were lost
/// may lack nodes.
pub(crate) fn is_in_cache(
    files: &mut impl Files,
    archive: &mut Archive,
    session: &SessionEntry,
) -> Result<bool, Failure> {
    if !archive.cache.index.has_lost() {
        return Ok(true);
    }
    let mut seen = HashSet::new();
    let root = content_root(session);
    let mut nodes = EveryNode(archive.nodes(files));
    match mark::<ContentTree, _, _, _>(&root, &mut nodes, &mut |id| seen.insert(*id), &mut |_| {
        Ok(())
    }) {
        Ok(()) => Ok(true),
        Err(Failure::Missing { .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// A digest of everything that a session needs and no sound pack holds; `None` if it lacks nothing.
pub(crate) fn what_it_lacks(
    files: &mut impl Files,
    archive: &mut Archive,
    session: &SessionEntry,
) -> Result<Option<[u8; 32]>, Failure> {
    let lacking = lacking_ids(files, archive, session)?;
    let mut hasher = blake3::Hasher::new();
    for id in &lacking {
        hasher.update(id);
    }
    Ok((!lacking.is_empty()).then(|| *hasher.finalize().as_bytes()))
}

/// The ids that a session needs and no sound pack holds.
pub(crate) fn lacking_ids(
    files: &mut impl Files,
    archive: &mut Archive,
    session: &SessionEntry,
) -> Result<BTreeSet<[u8; 32]>, Failure> {
    let (mut seen, mut chunks) = (HashSet::new(), HashSet::new());
    let mut nodes = NodesAtHand(archive.nodes(files));
    mark::<ContentTree, _, _, _>(
        &content_root(session),
        &mut nodes,
        &mut |id| seen.insert(*id),
        &mut |id| {
            chunks.insert(*id);
            Ok(())
        },
    )?;
    let mut lacking = BTreeSet::new();
    for id in seen.into_iter().chain(chunks) {
        if archive.cache.index.find_sound(files, &id)?.is_none() {
            lacking.insert(id.0);
        }
    }
    Ok(lacking)
}

/// Whether a session needs anything that no sound pack holds. `known` is kept from one session to
/// the next, since sessions share most nodes.
pub(crate) fn is_damaged(
    files: &mut impl Files,
    archive: &mut Archive,
    session: &SessionEntry,
    known: &mut HashMap<Id, bool>,
) -> Result<bool, Failure> {
    if !archive.cache.index.has_lost() {
        return Ok(false);
    }
    let mut nodes = archive.nodes(files);
    any::<ContentTree, _, _>(
        &content_root(session),
        &mut nodes,
        known,
        &mut |nodes, id| Ok(nodes.cache.index.find_sound(nodes.files, id)?.is_none()),
    )
}
