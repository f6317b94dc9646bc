// SPDX-License-Identifier: GPL-3.0-or-later
//! The small blobs that the head leads to: key slots, and the commits from the newest down.

use wyng_archive::crypto::{Coder, slot_name};
use wyng_archive::format::{COMMIT_BYTES, Commit};
use wyng_archive::{BlobName, Class, Fault};
use wyng_control::Failure;

use super::findings::Findings;
use crate::archive::Archive;
use crate::older::newest_sound;
use crate::state::KnownCommit;
use crate::store::{SoundCommit, read_commit};
use crate::world::{Client, Fetched, Store};

/// Compares every slot that the head lists with its hash.
pub(super) fn check_slots(
    store: &mut impl Store,
    archive: &Archive,
    findings: &mut Findings,
) -> Result<(), Failure> {
    for slot in &archive.head.slots {
        let name = slot_name(slot.number);
        match read_small(store, name, slot.kind.blob_bytes(), findings)?.or_fault() {
            Ok(bytes) if *blake3::hash(bytes.as_ref()).as_bytes() == slot.hash => {
                findings.notes.slots.remove(&slot.number);
            }
            read => {
                findings.notes.slots.insert(slot.number);
                let fault = read.err().unwrap_or(Fault::Hash);
                let length = slot.kind.blob_bytes();
                let sound = newest_sound(store, name, &mut |store| {
                    let read = read_small(store, name, length, findings)?.or_fault();
                    Ok(match read {
                        Ok(bytes) if *blake3::hash(bytes.as_ref()).as_bytes() == slot.hash => None,
                        read => Some(read.err().unwrap_or(Fault::Hash)),
                    })
                })?;
                match sound {
                    Some(_) => findings.note_older(Class::Slot, name, fault),
                    None => findings.note(Class::Slot, name, fault),
                }
            }
        }
    }
    Ok(())
}

/// Checks every commit from the head down to the generation after `above`: each one's hash is in
/// the commit after it, and its run number and kept clock are not above that commit's. One sound
/// copy is enough; two that authenticate and differ are a fork.
pub(super) fn check_commits(
    store: &mut impl Store,
    client: &mut impl Client,
    archive: &Archive,
    above: u64,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let mut newer: Option<Commit> = None;
    let (mut generation, mut expected) = (
        archive.head.generation,
        archive.ledger.head().map(KnownCommit::hash),
    );
    while generation > above {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let name = archive.credential.commit_name(generation);
        let copies = read_commit(
            store,
            &archive.credential,
            &mut coder,
            generation,
            expected.as_ref(),
        )?;
        findings.count_object();
        findings.count_read(COMMIT_BYTES as u64);
        let (free, fault, contents) = (copies.free, copies.fault, copies.sound.len());
        let is_older = copies.is_older;
        if copies.sound.first().is_none_or(|(copy, _)| *copy > 0) {
            findings.copied.insert(generation);
        }
        let fits = |found: &SoundCommit| expected.is_none_or(|hash| hash == found.known.hash());
        let found = copies.sound.into_iter().map(|(_, found)| found).find(fits);
        match (&found, contents) {
            (Some(_), 1) if is_older => {
                findings.notes.commits.insert(generation, free);
                findings.note_older(Class::Commit, name, fault);
            }
            (Some(_), 1) => {
                findings.notes.commits.remove(&generation);
                // Behind a commit that is sound under its first name, the listing shows others.
                if findings.copied.contains(&generation) {
                    findings.notes.forks.remove(&generation);
                }
            }
            (_, 0) => {
                findings.notes.commits.insert(generation, free);
                findings.note(Class::Commit, name, fault);
            }
            (None, 1) => findings.note(Class::Commit, name, Fault::Hash),
            (found, _) => {
                if found.is_some() {
                    findings.notes.forks.insert(generation);
                }
                findings.note(Class::Commit, name, Fault::Copies);
            }
        }
        if let Some(found) = &found
            && let Some(newer) = newer.replace(found.commit.clone())
            && newer.stamp.follows(&found.commit.stamp).is_err()
        {
            let name = archive.credential.commit_name(newer.generation);
            let rule = "its run number or kept clock is below that of an older commit";
            findings.note(Class::Commit, name, Fault::Shape(rule));
        }
        generation = generation.saturating_sub(1);
        // Below a damaged commit the hash is known only where this machine kept the bytes; the tag
        // is checked all the same.
        expected = found
            .map(|found| found.commit.previous)
            .or_else(|| archive.ledger.known(generation).map(KnownCommit::hash));
    }
    Ok(())
}

/// Reads a whole blob of `length` bytes.
fn read_small<S: Store>(
    store: &mut S,
    name: BlobName,
    length: usize,
    findings: &mut Findings,
) -> Result<Fetched<S::Bytes>, Failure> {
    findings.count_object();
    store.request(name, 0, u32::try_from(length).unwrap_or(u32::MAX))?;
    let answer = store.answer()?;
    if matches!(answer, Fetched::Bytes(_)) {
        findings.count_read(length as u64);
    }
    Ok(answer)
}
