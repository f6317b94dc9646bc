// SPDX-License-Identifier: GPL-3.0-or-later
//! The one point at which a run becomes true, in this order: trees edited, tail closed, everything
//! durable, ledger, commit, receipt, ledger.

use wyng_archive::crypto::{Coder, Credential, Id, Kind, NonceSeed};
use wyng_archive::format::{ArchiveSettings, Commit, KeyEntry, VolumeEntry, skip_of};
use wyng_archive::{Class, Damage, Fault};
use wyng_control::Failure;

use super::head::push_pending;
use super::pack::CommitPoint;
use super::pack_changes::PackChanges;
use super::packer::Packer;
use super::tables::{EditedVolume, FinishedVolume, edit_keys, edit_packs, edit_volumes};
use super::tools::Tools;
use crate::archive::{Archive, Uncommitted};
use crate::outcome::{damaged, internal};
use crate::pool::Pool;
use crate::state::{JournalVolume, KnownCommit};
use crate::world::{Clock, Parts, Random, World};

/// What a commit adds to the archive.
#[derive(Default)]
pub(crate) struct Changes {
    /// Volumes that enter the catalog without a session, each with its number.
    pub begun: Vec<(u64, VolumeEntry)>,
    /// Volumes whose entries change without a new session.
    pub edited: Vec<EditedVolume>,
    /// Volumes with a new session.
    pub finished: Vec<FinishedVolume>,
    /// The envelopes that the head's key table lacks, each with its number, ascending.
    pub keys: Vec<(u64, KeyEntry)>,
    /// Gives up the lost nodes of the key table: their numbers stay, without entries.
    pub replaces_lost_keys: bool,
    /// Packs whose state changes.
    pub packs: PackChanges,
    /// When in the run it comes: the tail of a run's last commit may be short.
    pub point: CommitPoint,
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
        mut edited,
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
    let begun = begun
        .into_iter()
        .map(|(number, entry)| EditedVolume::entry_only(number, entry));
    edited.extend(begun);
    let volumes = edit_volumes(&mut tools, packer, &head, edited, finished, generation)?;
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

/// Commits the head's state after `change`, without a new session: with other slots, or as another
/// writer. What an interrupted run left is committed first; this commit would forget it otherwise.
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

/// Commits changed entries of one volume, without a new session. What an interrupted run left goes
/// into the same commit, which would forget it otherwise.
pub(crate) fn commit_edit<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    edit: EditedVolume,
) -> Result<(), Failure> {
    let left = std::mem::take(&mut archive.uncommitted);
    let volumes = archive.volumes(&mut world.files)?;
    let begun = begun_volumes(archive, &volumes);
    let mut packer = Packer::after(archive, left.packs);
    let changes = Changes {
        begun,
        edited: vec![edit],
        keys: left.keys,
        point: CommitPoint::EndOfRun,
        ..Changes::default()
    };
    commit(world, archive, &mut Pool::new(0, 0)?, &mut packer, changes)
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

/// Seals a commit under its name.
pub(crate) fn seal_commit(
    random: &mut impl Random,
    credential: &Credential,
    coder: &mut Coder,
    commit: &Commit,
) -> Result<KnownCommit, Failure> {
    let seed = NonceSeed(random.draw()?);
    let name = credential.commit_name(commit.generation);
    let bytes = credential
        .seal_meta(Kind::Commit, coder, &Id(name.0), &commit.encode(), seed)
        .map_err(|error| internal(&error.to_string()))?;
    Ok(KnownCommit {
        generation: commit.generation,
        bytes,
    })
}

/// The volumes that an interrupted run journaled and no commit has, each with its number to be in
/// the volume table: a domain must be known as long as a pack holds a record of it.
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

/// The entry of a volume before its first session.
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
