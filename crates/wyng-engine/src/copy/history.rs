// SPDX-License-Identifier: GPL-3.0-or-later
//! Slots and commits on their way to the target, each of them authenticated before: a slot by its
//! hash in the head, a commit by its tag and by its hash in the commit after it.

use std::collections::BTreeMap;

use wyng_archive::crypto::{Coder, slot_name};
use wyng_archive::format::{COMMIT_BYTES, SlotRef};
use wyng_archive::{BlobName, Class, Damage, Fault};
use wyng_control::{Failure, ToClient};

use super::packs::settle;
use super::read_back::Small;
use super::target::Target;
use crate::archive::{Archive, open_commit, slot_hash};
use crate::outcome::{damaged, problem_of};
use crate::state::{CopyNote, KnownCommit};
use crate::store::{buffer_of, read_commit};
use crate::world::{Client, Parts, Reserve, Store, Wait, World};

/// Number of commits that are requested ahead.
const AHEAD: u64 = 64;

/// What is known of the two stores while history is sent.
pub(super) struct Between<'a> {
    /// The archive, whose own store is the source.
    pub archive: &'a Archive,
    /// What the target had before this run.
    pub target: &'a Target,
    /// What this machine has read back from it.
    pub note: &'a CopyNote,
}

/// What was sent, and what has to be read back.
#[derive(Default)]
pub(super) struct SentHistory {
    /// Blobs that were sent, or that this machine has never read back.
    pub unread: Vec<Small>,
    /// Number of blobs that were sent.
    pub blobs: u64,
    /// Their length, bytes.
    pub bytes: u64,
    /// Number of slots and commits that the source does not have whole.
    pub problems: u64,
}

impl Between<'_> {
    fn is_settled(&self, name: &BlobName) -> bool {
        self.target.has(name) && self.note.read.contains(name)
    }

    /// The generation from which on commits have to be sent or read back; `None`: no commit. Those
    /// whose loss a person has acknowledged are looked for only on the way to others.
    fn lowest(&self) -> Option<u64> {
        let name = |generation| self.archive.credential.commit_name(generation);
        let is_lost = |generation| self.archive.ledger.acknowledged.has_commit(generation);
        (1..=self.archive.head.generation)
            .find(|generation| !self.is_settled(&name(*generation)) && !is_lost(*generation))
    }
}

/// Sends the slots of the head, then the head, then the commits before it, downwards: each only
/// after the receipts of what came before. The target is open for a push, the source for reading.
pub(super) fn send_history<P: Parts>(
    world: &mut World<P>,
    between: &Between<'_>,
) -> Result<SentHistory, Failure> {
    let mut sent = SentHistory::default();
    let archive = between.archive;
    let live: Vec<_> = archive
        .folder
        .read_slots(&mut world.files)
        .unwrap_or_default();
    for slot in &archive.head.slots {
        let name = slot_name(slot.number);
        if between.is_settled(&name) {
            continue;
        }
        let own = live
            .iter()
            .find(|own| own.clear().number == slot.number && slot_hash(own) == slot.hash);
        let bytes = match own {
            Some(own) => Some(own.encode().to_vec()),
            None => read_slot_blob(&mut world.store, slot)?,
        };
        let Some(bytes) = bytes else {
            if !archive.ledger.acknowledged.has_slot(slot.number) {
                sent.report(&mut world.client, Class::Slot, name)?;
            }
            continue;
        };
        sent.send(&mut world.store, between, (Class::Slot, name), &bytes)?;
    }
    settle(&mut world.store)?;
    if sent.problems == 0 {
        send_commits(world, between, &mut sent)?;
        settle(&mut world.store)?;
    }
    Ok(sent)
}

impl SentHistory {
    /// Sends a blob, unless the target has one under its name, and has it read back later.
    fn send(
        &mut self,
        store: &mut impl Store,
        between: &Between<'_>,
        (class, name): (Class, BlobName),
        bytes: &[u8],
    ) -> Result<(), Failure> {
        self.unread.push(Small::of(class, name, bytes));
        if between.target.has(&name) {
            return Ok(());
        }
        self.blobs = self.blobs.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let buffer = buffer_of(store, bytes)?;
        store.put(name, buffer, bytes.len(), Reserve::Usable)?;
        while store.receipt(Wait::Never)?.is_some() {}
        Ok(())
    }

    /// Reports a blob that the source does not have whole.
    fn report(
        &mut self,
        client: &mut impl Client,
        class: Class,
        name: BlobName,
    ) -> Result<(), Failure> {
        self.problems = self.problems.saturating_add(1);
        let failure = damaged(&Damage::new(class, name.0, Fault::Missing));
        client.tell(ToClient::Problem(problem_of(failure)?))
    }
}

/// Sends the head, waits for its receipt, and sends the commits before it.
fn send_commits<P: Parts>(
    world: &mut World<P>,
    between: &Between<'_>,
    sent: &mut SentHistory,
) -> Result<(), Failure> {
    let archive = between.archive;
    let Some(lowest) = between.lowest() else {
        return Ok(());
    };
    let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
    let mut expected = archive.ledger.head().map(KnownCommit::hash);
    let mut newest = archive.head.generation;
    while newest >= lowest {
        let oldest = newest.saturating_sub(AHEAD.saturating_sub(1)).max(lowest);
        let mut read = read_ahead(&mut world.store, archive, oldest, newest)?;
        for generation in (oldest..=newest).rev() {
            let name = archive.credential.commit_name(generation);
            let bytes = read.remove(&generation);
            let found = whole(
                &mut world.store,
                archive,
                &mut coder,
                (generation, bytes),
                expected,
            )?;
            let Some((known, before)) = found else {
                if !archive.ledger.acknowledged.has_commit(generation) {
                    sent.report(&mut world.client, Class::Commit, name)?;
                }
                expected = None;
                continue;
            };
            expected = Some(before);
            if !between.is_settled(&name) {
                sent.send(
                    &mut world.store,
                    between,
                    (Class::Commit, name),
                    &known.bytes,
                )?;
            }
            if generation == archive.head.generation {
                settle(&mut world.store)?;
            }
        }
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        newest = oldest.saturating_sub(1);
    }
    Ok(())
}

/// The bytes of commits, from this machine's ledger or as the source has them. Of those that cannot
/// be read there are none.
fn read_ahead(
    store: &mut impl Store,
    archive: &Archive,
    oldest: u64,
    newest: u64,
) -> Result<BTreeMap<u64, Vec<u8>>, Failure> {
    let mut read = BTreeMap::new();
    let mut asked = Vec::new();
    for generation in oldest..=newest {
        if let Some(known) = archive.ledger.known(generation) {
            read.insert(generation, known.bytes.clone());
        } else {
            let name = archive.credential.commit_name(generation);
            store.request(name, 0, u32::try_from(COMMIT_BYTES).unwrap_or(u32::MAX))?;
            asked.push(generation);
        }
    }
    for generation in asked {
        if let Ok(bytes) = store.answer()?.or_fault() {
            read.insert(generation, bytes.as_ref().to_vec());
        }
    }
    Ok(read)
}

/// The commit of a generation that has the expected hash and authenticates, and the hash that it
/// carries for the commit before it. Where the first copy is not that commit, the others are read;
/// `None` if none is. Without an expected hash the tag alone counts.
fn whole(
    store: &mut impl Store,
    archive: &Archive,
    coder: &mut Coder,
    (generation, bytes): (u64, Option<Vec<u8>>),
    expected: Option<[u8; 32]>,
) -> Result<Option<(KnownCommit, [u8; 32])>, Failure> {
    let fits = |known: &KnownCommit| expected.is_none_or(|hash| known.hash() == hash);
    if let Some(known) = bytes
        .map(|bytes| KnownCommit { generation, bytes })
        .filter(fits)
        && let Ok(commit) = open_commit(&archive.credential, coder, &known)
    {
        return Ok(Some((known, commit.previous)));
    }
    let copies = read_commit(
        store,
        &archive.credential,
        coder,
        generation,
        expected.as_ref(),
    )?;
    let found = copies.sound.into_iter().map(|(_, found)| found);
    Ok(found
        .filter(|found| fits(&found.known))
        .map(|found| (found.known, found.commit.previous))
        .next())
}

/// The bytes of a slot that this machine does not keep; `None` if the source does not have it
/// whole.
fn read_slot_blob(store: &mut impl Store, slot: &SlotRef) -> Result<Option<Vec<u8>>, Failure> {
    let length = u32::try_from(slot.kind.blob_bytes()).unwrap_or(u32::MAX);
    store.request(slot_name(slot.number), 0, length)?;
    Ok(match store.answer()?.or_fault() {
        Ok(bytes) if *blake3::hash(bytes.as_ref()).as_bytes() == slot.hash => {
            Some(bytes.as_ref().to_vec())
        }
        _ => None,
    })
}
