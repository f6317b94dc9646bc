// SPDX-License-Identifier: GPL-3.0-or-later
//! The one point at which a run becomes true: trees edited, tail closed, everything durable,
//! ledger, commit, receipt, ledger.

use std::collections::BTreeSet;

use wyng_archive::crypto::{Coder, Credential, Id, Kind, NonceSeed};
use wyng_archive::format::{
    ArchiveSettings, Commit, KeyEntry, KeysTree, Node, PacksRoot, PacksTree, Place, SessionEntry,
    SessionsTree, Shape, Tail, TreeRoot, VolumeEntry, VolumesTree, depth_for, skip_of,
};
use wyng_archive::plan::{EditError, Editor, Nodes, NodesMut, Root};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::Failure;

use super::pack_changes::{PACK_NODE_MAX_BYTES, PackChanges};
use super::packer::{CommitPoint, Packer, Tools};
use super::put::put_blob;
use crate::archive::{
    Archive, CachedNodes, CachedPackNodes, Uncommitted, keys_root, sessions_root, volumes_root,
};
use crate::outcome::{damaged, internal};
use crate::pool::Pool;
use crate::state::{JournalVolume, KnownCommit};
use crate::world::{Clock, Files, Kept, Parts, Random, Store, World};

/// A volume whose new session is complete but for its commit.
#[derive(Debug, Clone)]
pub(crate) struct FinishedVolume {
    /// Its number in (d).
    pub number: u64,
    /// What (d) says of it before this session.
    pub entry: VolumeEntry,
    /// The new session; its generation is filled in here.
    pub session: SessionEntry,
}

/// What a commit brings.
#[derive(Default)]
pub(crate) struct Changes {
    /// Volumes that enter the catalog without a session, each with its number.
    pub begun: Vec<(u64, VolumeEntry)>,
    /// New sessions.
    pub finished: Vec<FinishedVolume>,
    /// The envelopes that the head's key table lacks, each with its number, ascending.
    pub keys: Vec<(u64, KeyEntry)>,
    /// Gives up what is lost of the key table: its numbers stay, without entries.
    pub replaces_lost_keys: bool,
    /// Packs whose state changes.
    pub packs: PackChanges,
    /// When in the run it comes: the tail of a run's last commit may be short.
    pub point: CommitPoint,
}

/// Reads from the cache, writes into packs.
struct PackedNodes<'a, 'b, P: Parts> {
    tools: &'a mut Tools<'b, P>,
    packer: &'a mut Packer<P>,
}

impl<P: Parts, S: Shape<Child = Id>> Nodes<S> for PackedNodes<'_, '_, P> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Failure> {
        cached(self.tools).load(child, level, room)
    }
}

impl<P: Parts, S: Shape<Child = Id>> NodesMut<S> for PackedNodes<'_, '_, P> {
    fn save(&mut self, node: &Node<S>) -> Result<Id, Failure> {
        self.packer.add_node(self.tools, node.encode())
    }
}

impl<P: Parts> Nodes<PacksTree> for PackedTail<'_, '_, P> {
    type Error = Failure;

    fn load(&mut self, child: &Place, level: u8, room: u64) -> Result<Node<PacksTree>, Failure> {
        CachedPackNodes(cached(self.0.tools)).load(child, level, room)
    }
}

/// The same for (a): its nodes go into the tail at once, because their places name them.
struct PackedTail<'a, 'b, P: Parts>(PackedNodes<'a, 'b, P>);

impl<P: Parts> NodesMut<PacksTree> for PackedTail<'_, '_, P> {
    fn save(&mut self, node: &Node<PacksTree>) -> Result<Place, Failure> {
        self.0.packer.add_tail_node(self.0.tools, node.encode())
    }
}

/// Reads nodes from the cache that is being written to.
pub(super) fn cached<'a, P: Parts>(tools: &'a mut Tools<'_, P>) -> CachedNodes<'a, P::Files> {
    CachedNodes {
        files: &mut *tools.files,
        cache: &mut *tools.cache,
        credential: tools.credential,
    }
}

/// Edits a tree whose nodes are found by id, writing new nodes into packs.
pub(super) fn edit_tree<P: Parts, S: Shape<Child = Id>>(
    tools: &mut Tools<'_, P>,
    packer: &mut Packer<P>,
    old: &Root<Id>,
    size: u64,
    changes: impl IntoIterator<Item = (u64, Option<S::Value>)>,
) -> Result<Root<Id>, Failure> {
    let mut nodes = PackedNodes { tools, packer };
    let mut editor = Editor::<S>::new(old, size, &mut nodes).map_err(edit_failure)?;
    for (index, value) in changes {
        editor.set(index, value, &mut nodes).map_err(edit_failure)?;
    }
    editor.finish(&mut nodes).map_err(edit_failure)
}

/// A content tree that is edited while its volume is read.
pub(crate) struct ContentEdit(Editor<wyng_archive::format::ContentTree>);

impl ContentEdit {
    /// Begins with the base session's tree.
    pub(crate) fn new<P: Parts>(
        tools: &mut Tools<'_, P>,
        packer: &mut Packer<P>,
        base: &Root<Id>,
        size: u64,
    ) -> Result<Self, Failure> {
        Editor::new(base, size, &mut PackedNodes { tools, packer })
            .map(Self)
            .map_err(edit_failure)
    }

    /// Sets one chunk; indices ascend.
    pub(crate) fn set<P: Parts>(
        &mut self,
        tools: &mut Tools<'_, P>,
        packer: &mut Packer<P>,
        index: u64,
        id: Option<Id>,
    ) -> Result<(), Failure> {
        self.0
            .set(index, id, &mut PackedNodes { tools, packer })
            .map_err(edit_failure)
    }

    /// The new tree.
    pub(crate) fn finish<P: Parts>(
        self,
        tools: &mut Tools<'_, P>,
        packer: &mut Packer<P>,
    ) -> Result<Root<Id>, Failure> {
        self.0
            .finish(&mut PackedNodes { tools, packer })
            .map_err(edit_failure)
    }
}

fn edit_failure(error: EditError<Failure>) -> Failure {
    match error {
        EditError::Nodes(failure) => failure,
        EditError::Order => internal("a tree was edited out of order"),
    }
}

/// Commits the finished volumes and all packs so far. After this the archive's head is the new
/// commit, here and in the store.
pub(crate) fn commit<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    packer: &mut Packer<P>,
    changes: Changes,
) -> Result<(), Failure> {
    let Changes {
        begun,
        finished,
        keys,
        replaces_lost_keys,
        packs,
        point,
    } = changes;
    let head = archive.head.clone();
    let replaced_end = if replaces_lost_keys {
        std::mem::take(&mut archive.lost_keys).end
    } else {
        0
    };
    let generation = head.generation.saturating_add(1);
    archive.unfinished.retain(|volume| {
        let entered = begun
            .iter()
            .map(|(_, entry)| entry)
            .chain(finished.iter().map(|finished| &finished.entry));
        entered.into_iter().all(|entry| entry.id != volume.id)
    });
    let mut tools = Tools::of(world, archive, pool);
    let volumes = edit_volumes(&mut tools, packer, &head, begun, finished, generation)?;
    let keys = edit_keys(&mut tools, packer, &head, keys, replaced_end)?;
    let (packs, tail) = edit_packs(&mut tools, packer, &head, packs, point)?;
    let ends_run = point == CommitPoint::EndOfRun;
    let runs = head.runs.saturating_add(u64::from(ends_run));
    let commit = Commit {
        runs,
        packs,
        keys,
        volumes,
        tail: Some(tail),
        ..head
    };
    finish(world, archive, pool, commit)
}

/// Commits the head's state with no new session: another writer's, or after `change` with other
/// slots. What a cut run left becomes part of the archive first; the next commit would forget it
/// otherwise.
pub fn commit_change<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    change: impl FnOnce(&mut Commit),
) -> Result<(), Failure> {
    let left = std::mem::take(&mut archive.uncommitted);
    if !(left.packs.is_empty() && left.keys.is_empty()) {
        let volumes = archive.volumes(&mut world.files)?;
        let begun = begun_volumes(archive, &volumes);
        let mut packer = Packer::after(archive, left.packs);
        commit(
            world,
            archive,
            pool,
            &mut packer,
            Changes {
                begun,
                keys: left.keys,
                ..Changes::default()
            },
        )?;
    }
    let mut state = archive.head.clone();
    change(&mut state);
    finish(world, archive, pool, state)
}

/// Makes `state` the next commit: chained, sealed, in the ledger, pushed, in the ledger again; then
/// the cache follows.
fn finish<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    state: Commit,
) -> Result<(), Failure> {
    let generation = archive.head.generation.saturating_add(1);
    let lost = |generation| {
        damaged(&Damage::new(
            Class::Commit,
            archive.credential.commit_name(generation).0,
            Fault::Missing,
        ))
    };
    let spine = |generation| {
        archive
            .ledger
            .spine_hash(generation)
            .ok_or_else(|| lost(generation))
    };
    let commit = Commit {
        generation,
        time: world.clock.wall_secs(),
        writer: archive
            .toml
            .writer_id()
            .ok_or_else(|| internal("archive.toml has no valid writer id"))?,
        previous: spine(archive.head.generation)?,
        skip: spine(skip_of(generation))?,
        ..state
    };
    let pending = seal_commit(
        &mut world.random,
        &archive.credential,
        pool.coder(),
        &commit,
    )?;
    archive.ledger.set_pending(pending);
    archive.ledger.write(&mut world.files, &archive.folder)?;
    push_pending(&mut world.files, &mut world.store, archive)?;
    archive.uncommitted = Uncommitted::default();
    archive
        .cache
        .save(&mut world.files, generation, archive.head.next_pack())?;
    archive
        .journal
        .begin(&mut world.files, generation, &archive.unfinished)
}

/// A commit that may or may not have reached the store is settled before anything is based on it.
pub(crate) fn settle_pending(
    files: &mut impl Files,
    store: &mut impl Store,
    archive: &mut Archive,
) -> Result<(), Failure> {
    if archive.ledger.pending().is_none() {
        return Ok(());
    }
    push_pending(files, store, archive)?;
    archive.roll_forward(files)
}

/// Pushes the ledger's pending commit. Its name depends on its generation only, so this is a
/// compare-and-swap on the archive: under the lowest copy for which `archive open` read all copies
/// below it and none authenticates, almost always copy 0. A push reads nothing back, so a name that
/// is taken ends it: whether by another machine's commit, by this one's or by damage is for
/// `archive open` to find out.
pub(super) fn push_pending(
    files: &mut impl Files,
    store: &mut impl Store,
    archive: &mut Archive,
) -> Result<(), Failure> {
    let Some(pending) = archive.ledger.pending().cloned() else {
        return Ok(());
    };
    let generation = pending.generation;
    let copy = archive
        .ledger
        .notes
        .copy_for(generation)
        .ok_or_else(|| damaged_copies(&archive.credential, generation))?;
    match put_blob(
        store,
        archive.credential.commit_copy_name(generation, copy),
        &pending.bytes,
    )? {
        Kept::New | Kept::Same => archive.commit_pending(files, copy),
        Kept::Different => Err(archive.stop(files, generation)),
        Kept::Unknown => Err(Failure::CommitUnsettled { generation }),
    }
}

/// Puts the head again where it lies. That it was damaged shows in the answer, and then the same
/// bytes go under the next copy: one more a run. Where that one is taken too, damage and another
/// machine's commit cannot be told apart without reading, and the run ends.
pub(crate) fn confirm_head(
    files: &mut impl Files,
    store: &mut impl Store,
    archive: &mut Archive,
) -> Result<(), Failure> {
    let Some(head) = archive.ledger.head().cloned() else {
        return Ok(());
    };
    let generation = head.generation;
    if archive.ledger.notes.commits.contains_key(&generation) {
        return Ok(()); // what a verify or `archive open` found is healed by that note
    }
    let copy = archive.ledger.head_copy;
    if put_blob(
        store,
        archive.credential.commit_copy_name(generation, copy),
        &head.bytes,
    )? != Kept::Different
    {
        return Ok(()); // where a push may not read, nothing is learnt; a verify reads it
    }
    let next = copy
        .checked_add(1)
        .ok_or_else(|| damaged_copies(&archive.credential, generation))?;
    match put_blob(
        store,
        archive.credential.commit_copy_name(generation, next),
        &head.bytes,
    )? {
        Kept::New | Kept::Same => {
            archive.ledger.head_copy = next;
            archive.ledger.write(files, &archive.folder)
        }
        Kept::Different => Err(archive.stop(files, generation)),
        Kept::Unknown => Ok(()),
    }
}

/// All names of a generation are taken by what does not authenticate.
fn damaged_copies(credential: &Credential, generation: u64) -> Failure {
    damaged(&Damage::new(
        Class::Commit,
        credential.commit_name(generation).0,
        Fault::Tag,
    ))
}

/// Seals a commit under its name.
pub(crate) fn seal_commit(
    random: &mut impl Random,
    credential: &Credential,
    coder: &mut Coder,
    commit: &Commit,
) -> Result<KnownCommit, Failure> {
    let seed = NonceSeed(random.draw()?);
    let name = credential.commit_name(commit.generation);
    let mut bytes = Vec::new();
    credential
        .seal_meta(
            Kind::Commit,
            coder,
            &Id(name.0),
            &commit.encode(),
            seed,
            &mut bytes,
        )
        .map_err(|error| internal(&error.to_string()))?;
    Ok(KnownCommit {
        generation: commit.generation,
        bytes,
    })
}

/// The volumes that a cut run journaled and no commit has, each with the number under which it
/// enters the catalog: its domain must be known as long as a pack holds a record of it.
pub(crate) fn begun_volumes(
    archive: &mut Archive,
    volumes: &[(u64, VolumeEntry)],
) -> Vec<(u64, VolumeEntry)> {
    archive.unfinished.retain(|begun| {
        volumes
            .iter()
            .all(|(_, volume)| volume.id != begun.id && volume.name != begun.name)
    });
    let settings = &archive.head.settings;
    (archive.head.volumes.size..)
        .zip(
            archive
                .unfinished
                .iter()
                .map(|begun| new_volume(settings, begun)),
        )
        .collect()
}

/// A volume as the catalog has it before its first session.
pub(crate) fn new_volume(settings: &ArchiveSettings, begun: &JournalVolume) -> VolumeEntry {
    VolumeEntry {
        id: begun.id,
        domain: settings.shared_domain.unwrap_or(begun.domain),
        size_bytes: 0,
        chunk_size_bytes: settings.chunk_size_bytes,
        sessions_size: 0,
        sessions_root: Id::ZERO,
        name: begun.name.clone(),
        description: String::new(),
    }
}

fn edit_volumes<P: Parts>(
    tools: &mut Tools<'_, P>,
    packer: &mut Packer<P>,
    head: &Commit,
    begun: Vec<(u64, VolumeEntry)>,
    finished: Vec<FinishedVolume>,
    generation: u64,
) -> Result<TreeRoot, Failure> {
    let is_finished = |number: u64| finished.iter().any(|volume| volume.number == number);
    let begun = begun
        .into_iter()
        .filter(|(number, _)| !is_finished(*number));
    let mut changes: Vec<_> = begun.map(|(number, entry)| (number, Some(entry))).collect();
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

/// Enters new session keys. Up to `replaced_end` lost nodes of the table are given up; else none is
/// touched, since [`Archive::next_key`] passes them by.
fn edit_keys<P: Parts>(
    tools: &mut Tools<'_, P>,
    packer: &mut Packer<P>,
    head: &Commit,
    keys: Vec<(u64, KeyEntry)>,
    replaced_end: u64,
) -> Result<TreeRoot, Failure> {
    if keys.is_empty() && replaced_end == 0 {
        return Ok(head.keys);
    }
    let size = keys
        .last()
        .map_or(head.keys.size, |(number, _)| number.saturating_add(1));
    let mut nodes = LostKeysAsNothing {
        nodes: PackedNodes { tools, packer },
        passes_lost: replaced_end > 0,
    };
    let mut editor =
        Editor::<KeysTree>::new(&keys_root(head), size, &mut nodes).map_err(edit_failure)?;
    let lost = (0..replaced_end.min(head.keys.size)).filter(|number| {
        let index = &nodes.nodes.tools.cache.index;
        u32::try_from(*number).is_ok_and(|number| index.is_key_lost(number))
    });
    let changes: Vec<_> = lost
        .map(|number| (number, None))
        .chain(keys.into_iter().map(|(number, key)| (number, Some(key))))
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

/// Reads lost nodes of the key table as empty ones where they are given up.
struct LostKeysAsNothing<'a, 'b, P: Parts> {
    nodes: PackedNodes<'a, 'b, P>,
    passes_lost: bool,
}

impl<P: Parts> Nodes<KeysTree> for LostKeysAsNothing<'_, '_, P> {
    type Error = Failure;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<KeysTree>, Failure> {
        match self.nodes.load(child, level, room) {
            Err(Failure::Missing { .. }) if self.passes_lost => Ok(Node::empty(level)),
            loaded => loaded,
        }
    }
}

impl<P: Parts> NodesMut<KeysTree> for LostKeysAsNothing<'_, '_, P> {
    fn save(&mut self, node: &Node<KeysTree>) -> Result<Id, Failure> {
        self.nodes.save(node)
    }
}

/// Enters the last tail, all closed packs and what changes into (a), whose new nodes go into the
/// open pack: the new tail.
fn edit_packs<P: Parts>(
    tools: &mut Tools<'_, P>,
    packer: &mut Packer<P>,
    head: &Commit,
    changes: PackChanges,
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
    let PackChanges {
        mut entries,
        rewritten,
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
    let indices: BTreeSet<u64> = entries.keys().chain(&rewritten).copied().collect();
    for index in indices {
        if rewritten.contains(&index) {
            editor.touch(index, &mut nodes).map_err(edit_failure)?;
        }
        if let Some(entry) = entries.get(&index) {
            editor
                .set(index, Some(*entry), &mut nodes)
                .map_err(edit_failure)?;
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
