// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads back the objects that live on before any pack is deleted: a store that answered STORED and
//! kept nothing must not have the old copies deleted. It deletes nothing itself.
//!
//! The far end is started anew, while nothing is being pushed: one that pushes knows what passed
//! through it.

use wyng_archive::crypto::{Coder, slot_name};
use wyng_archive::format::{PackState, Stamp};
use wyng_archive::{BlobName, Class, Damage, Fault};
use wyng_control::{Failure, Phase, Progress, ToClient};

use super::waste::{ToProve, Waste};
use crate::archive::Archive;
use crate::kept::kept_now;
use crate::outcome::{damaged, is_refusal, problem_of};
use crate::state::{KnownCommit, PackNote};
use crate::store::{History, SoundCommit, hash_pack, read_commit};
use crate::world::{Client, Parts, Store, World};

/// Result of a proof.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Proof {
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Objects that are missing or damaged; each was reported.
    pub problems: u64,
    /// The head was read whole.
    pub head_is_sound: bool,
    /// The slots that the head lists were read whole too.
    pub slots_are_sound: bool,
}

/// Reads the objects to be proven, and keeps the readings in the notes, also after an interruption.
/// No far end may be pushing. A far end's refusal to fetch is noted too.
pub(super) fn prove<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    waste: &mut Waste,
    wanted: &ToProve,
) -> Result<Proof, Failure> {
    let now = kept_now(&mut world.files, &mut world.clock, archive)?;
    match archive.connect_to_verify(&mut world.store) {
        Ok(()) => waste.notes.fetch_refused_secs = None,
        Err(failure) if is_refusal(&failure) => {
            waste.notes.fetch_refused_secs = Some(now);
            waste.notes.write(&mut world.files, &archive.folder)?;
            return Ok(Proof::default());
        }
        Err(failure) => return Err(failure),
    }
    // The far end was started after the head was made, if perhaps within the same second.
    let read_secs = now.max(archive.head.stamp.stamp.kept_secs.saturating_add(1));
    let mut proof = Proof::default();
    let read = read_all(world, archive, waste, wanted, read_secs, &mut proof);
    waste.notes.write(&mut world.files, &archive.folder)?;
    read?;
    world.store.finish_fetch()?;
    Ok(proof)
}

fn read_all<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    waste: &mut Waste,
    wanted: &ToProve,
    read_secs: u64,
    proof: &mut Proof,
) -> Result<(), Failure> {
    read_commits(world, archive, waste, wanted.oldest_secs, read_secs, proof)?;
    if !proof.head_is_sound {
        return Ok(());
    }
    let (mut bad, mut read_count) = (Vec::new(), 0usize);
    let total_bytes = wanted.packs.iter().fold(0u64, |sum, number| {
        let length = waste
            .packs
            .get(number)
            .map_or(0, |entry| entry.length_bytes);
        sum.saturating_add(length.into())
    });
    for number in &wanted.packs {
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let Some(entry) = waste.packs.get(number) else {
            continue;
        };
        read_count = read_count.saturating_add(1);
        let count = &mut |bytes| proof.read_bytes = proof.read_bytes.saturating_add(bytes);
        match hash_pack(&mut world.store, entry, count)? {
            None => {
                waste.notes.read_packs.insert(*number, read_secs);
            }
            Some(fault) => {
                waste.notes.read_packs.remove(number);
                bad.push(*number);
                report(world, Class::Pack, entry.name, fault, proof)?;
            }
        }
        world.client.progress(Progress {
            phase: Phase::Verifying,
            volume: None,
            done_bytes: proof.read_bytes,
            total_bytes,
            sent_bytes: 0,
        });
    }
    note_bad(world, archive, waste, &bad, read_count)
}

/// Notes damaged packs for the next run, which heals what it can; if they are too many to be
/// believed, nothing follows until a person says so.
fn note_bad<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    waste: &Waste,
    bad: &[u64],
    read_count: usize,
) -> Result<(), Failure> {
    if bad.is_empty() {
        return Ok(());
    }
    let note = PackNote::of_damage(bad.len(), read_count);
    let mut notes = archive.ledger.notes.clone();
    for number in bad {
        let is_live = |state| state == PackState::Live;
        if waste
            .packs
            .get(number)
            .is_some_and(|entry| is_live(entry.state))
        {
            notes.packs.insert(*number, note);
        }
    }
    archive.ledger.notes.take(notes);
    archive.ledger.write(&mut world.files, &archive.folder)?;
    archive.cache.index.set_noted(&archive.ledger.notes);
    Ok(())
}

/// Reads the commits from the head back to the oldest that a proof needs, each by the hash that a
/// later one carries, and the slots that the head lists. Commits of one stamp follow each other:
/// the stamp counts once the commit before them was read too.
///
/// A commit below the head that is lost for good must not hold up deletions for ever. No session
/// needs it, so the points of time between its neighbours count as read with them.
fn read_commits<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    waste: &mut Waste,
    oldest_secs: u64,
    read_secs: u64,
    proof: &mut Proof,
) -> Result<(), Failure> {
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let mut expected = archive.ledger.head().map(KnownCommit::hash);
    let mut generation = archive.head.generation;
    let mut whole = Vec::new();
    let mut open: Option<Stamp> = None;
    let (mut head, mut is_gap) = (None, false);
    while let Some(hash) = expected.filter(|_| generation > 0) {
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let (store, credential) = (&mut world.store, &archive.credential);
        let copies = read_commit(store, credential, &mut coder, generation, Some(&hash))?;
        let fault = copies.fault;
        let mut found = copies.sound.into_iter().map(|(_, found)| found);
        let Some(found) = found.find(|found| found.known.hash() == hash) else {
            if !archive.ledger.acknowledged.has_commit(generation) {
                let name = archive.credential.commit_name(generation);
                report(world, Class::Commit, name, fault, proof)?;
            }
            generation = generation.saturating_sub(1);
            expected = hash_below_gap(world, archive, head.as_ref(), generation)?;
            if expected.is_none() {
                open = None;
            }
            is_gap = true;
            continue;
        };
        let stamp = found.commit.stamp.stamp;
        if std::mem::take(&mut is_gap) {
            let key = |at: &Stamp| (at.run, at.kept_secs);
            let above = open.as_ref().map(key);
            let between = waste.given_up_at();
            whole.extend(between.filter(|at| key(at) > key(&stamp) && Some(key(at)) < above));
        }
        proof.head_is_sound |= generation == archive.head.generation;
        if open.is_some_and(|open| open != stamp) {
            whole.extend(open);
        }
        open = Some(stamp);
        if stamp.kept_secs < oldest_secs {
            break;
        }
        expected = Some(found.commit.previous);
        generation = generation.saturating_sub(1);
        head.get_or_insert(found);
    }
    let first = (generation == 0).then_some(open).flatten();
    let read = whole.into_iter().chain(first);
    let read = read.map(|stamp| ((stamp.run, stamp.kept_secs), read_secs));
    waste.notes.read_commits.extend(read);
    read_slots(world, archive, proof)
}

/// The hash of a commit below a lost one, from the commits that carry it; `None` if they are lost
/// too, or if the lost one is the head.
fn hash_below_gap<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    head: Option<&SoundCommit>,
    generation: u64,
) -> Result<Option<[u8; 32]>, Failure> {
    let Some(head) = head.filter(|_| generation > 0) else {
        return Ok(None);
    };
    let mut history = History::from(&archive.credential, &archive.ledger, head)?;
    history.hash_of(&mut world.store, &mut world.client, generation)
}

fn read_slots<P: Parts>(
    world: &mut World<P>,
    archive: &Archive,
    proof: &mut Proof,
) -> Result<(), Failure> {
    proof.slots_are_sound = true;
    for slot in &archive.head.slots {
        let name = slot_name(slot.number);
        let length = u32::try_from(slot.kind.blob_bytes()).unwrap_or(u32::MAX);
        world.store.request(name, 0, length)?;
        let fault = match world.store.answer()?.or_fault() {
            Ok(bytes) if *blake3::hash(bytes.as_ref()).as_bytes() == slot.hash => continue,
            Ok(_) => Fault::Hash,
            Err(fault) => fault,
        };
        report(world, Class::Slot, name, fault, proof)?;
        proof.slots_are_sound = false;
    }
    Ok(())
}

fn report<P: Parts>(
    world: &mut World<P>,
    class: Class,
    name: BlobName,
    fault: Fault,
    proof: &mut Proof,
) -> Result<(), Failure> {
    proof.problems = proof.problems.saturating_add(1);
    let problem = problem_of(damaged(&Damage::new(class, name.0, fault)))?;
    world.client.tell(ToClient::Problem(problem))
}
