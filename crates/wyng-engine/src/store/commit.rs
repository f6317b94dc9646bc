// SPDX-License-Identifier: GPL-3.0-or-later
//! The one point at which a run becomes true, in this order: trees edited, tail closed, everything
//! durable, ledger, commit, receipt, ledger.

use std::collections::BTreeSet;

use wyng_archive::crypto::{Coder, Credential, Id, Kind, NonceSeed};
use wyng_archive::format::{
    ArchiveSettings, Commit, CommitStamp, Floor, KeyEntry, VolumeEntry, skip_of,
};
use wyng_archive::plan::hold_off::HoldOffs;
use wyng_archive::{Class, Damage, Fault};
use wyng_control::Failure;

use super::head::push_pending;
use super::pack::CommitPoint;
use super::pack_changes::PackChanges;
use super::packer::Packer;
use super::tables::{
    EditedVolume, FinishedVolume, KeyEdits, VolumeEdits, edit_keys, edit_packs, edit_volumes,
};
use super::tools::Tools;
use crate::archive::{Archive, Uncommitted};
use crate::cache::PacksAtHand;
use crate::kept::kept_now;
use crate::outcome::{damaged, internal};
use crate::pool::Pool;
use crate::renewing::note_commit;
use crate::state::{JournalSending, JournalVolume, KnownCommit, PackProof, Proofs, StayingVm};
use crate::world::{Clock, Parts, Random, World};

/// What a commit adds to the archive.
#[derive(Default)]
pub(crate) struct Changes {
    /// Volumes that enter the catalog without a session, each with its number.
    pub begun: Vec<(u64, VolumeEntry)>,
    /// Volumes whose entries change without a new session.
    pub edited: Vec<EditedVolume>,
    /// Numbers of volumes that leave the volume table.
    pub removed: Vec<u64>,
    /// Volumes with a new session.
    pub finished: Vec<FinishedVolume>,
    /// The envelopes that the head's key table lacks, each with its number, ascending.
    pub keys: Vec<(u64, KeyEntry)>,
    /// Gives up the lost nodes of the key table: their numbers stay, without entries.
    pub replaces_lost_keys: bool,
    /// Numbers of keys under which no pack holds a record any more.
    pub dropped_keys: BTreeSet<u64>,
    /// Packs whose state changes, or whose entries are dropped.
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
        removed,
        finished,
        keys,
        replaces_lost_keys,
        dropped_keys,
        mut packs,
        point,
    } = changes;
    let head = archive.head.clone();
    let stamp = head
        .stamp
        .next(kept_now(&mut world.files, &mut world.clock, archive)?);
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
    archive.sending.retain(|volume| {
        finished
            .iter()
            .all(|finished| finished.entry.id != volume.volume)
    });
    let changes_packs = !(packs.entries.is_empty() && packs.dropped.is_empty());
    let drops_keys = !dropped_keys.is_empty();
    // A node that is written now must not be found in a pack that this very commit gives up.
    archive.cache.index.give_up_packs(packs.given_up());
    packs.stamp(stamp.stamp);
    let mut tools = Tools::of(world, archive, pool);
    let begun = begun
        .into_iter()
        .map(|(number, entry)| EditedVolume::entry_only(number, entry));
    edited.extend(begun);
    let edits = VolumeEdits {
        edited,
        removed,
        finished,
        generation,
    };
    let volumes = edit_volumes(&mut tools, packer, &head, edits)?;
    let keys = KeyEdits {
        new: keys,
        dropped: dropped_keys,
        replaced_end,
    };
    let keys = edit_keys(&mut tools, packer, &head, keys)?;
    if changes_packs {
        // The nodes of the pack table that are changed are found whatever the state of their packs.
        tools.cache.index.set_packs(PacksAtHand::default());
    }
    let (packs, tail) = edit_packs(&mut tools, packer, &head, packs, point)?;
    let commit = Commit {
        packs,
        keys,
        volumes,
        tail: Some(tail),
        ..head
    };
    finish(world, archive, pool, commit, stamp)?;
    if drops_keys {
        return archive.follow_head(&mut world.files);
    }
    if changes_packs {
        archive.look_for_packs(&mut world.files)?;
    }
    Ok(())
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
    let stamp = state
        .stamp
        .next(kept_now(&mut world.files, &mut world.clock, archive)?);
    finish(world, archive, pool, state, stamp)
}

/// Commits changed entries of one volume, without a new session. The remains of an interrupted run
/// go into the same commit, which would forget them otherwise.
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

/// Makes `state` the next commit: at its point in time, chained, sealed, in the ledger, pushed, in
/// the ledger again; then the cache follows.
fn finish<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    state: Commit,
    stamp: CommitStamp,
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
        stamp,
        earlier_hold_off: HoldOffs::of_commit(&state).settle(stamp.stamp).earlier,
        floor: archive.floor(stamp.stamp.kept_secs),
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
    let new_packs = archive.head.next_pack()..commit.next_pack();
    push_pending(&mut world.files, &mut world.store, archive)?;
    let pushed = PackProof::of_pushed(stamp.stamp.kept_secs, StayingVm::of(&archive.toml.via));
    Proofs::note_new(&mut world.files, &archive.folder, new_packs.clone(), pushed)?;
    note_commit(&mut world.files, archive, generation, new_packs)?;
    archive.uncommitted = Uncommitted::default();
    archive
        .cache
        .save(&mut world.files, generation, archive.head.next_pack())?;
    let minimum_age_secs = archive.head.settings.minimum_age_secs;
    let floor_of = |volume: &JournalSending| Floor {
        pack: volume.begun.first_pack,
        sent_secs: volume.begun.sent_secs,
    };
    archive
        .sending
        .retain(|volume| floor_of(volume).holds(stamp.stamp.kept_secs, minimum_age_secs));
    archive.begin_journal(&mut world.files, generation)
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
