// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading the target back, whole, as it is after the writes: only what was read back right counts
//! as copied.

use wyng_archive::format::PackEntry;
use wyng_archive::{Class, Damage, Fault};
use wyng_control::{Failure, Phase, Progress, ToClient};
use wyng_wire::BlobName;

use super::packs::{bytes_of, report_pack};
use crate::outcome::{damaged, problem_of};
use crate::state::{ArchiveFolder, CopyNote};
use crate::store::hash_pack;
use crate::world::{Client, Parts, Store, World};

/// Number of packs after which the note is written, so that an interrupted run reads little again.
const NOTED_EVERY: usize = 256;
/// Number of small blobs that are requested ahead.
const SMALL_AHEAD: usize = 64;

/// A slot or a commit as it must lie in the target.
pub(super) struct Small {
    /// What it is.
    pub class: Class,
    /// Its name.
    pub name: BlobName,
    /// Hash of its bytes.
    pub hash: [u8; 32],
    /// Its length, bytes.
    pub length_bytes: u32,
}

impl Small {
    /// A blob of these bytes.
    pub(super) fn of(class: Class, name: BlobName, bytes: &[u8]) -> Self {
        Self {
            class,
            name,
            hash: *blake3::hash(bytes).as_bytes(),
            length_bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        }
    }
}

/// What was read back.
#[derive(Default)]
pub(super) struct Read {
    /// Number of bytes.
    pub bytes: u64,
    /// Number of problems.
    pub problems: u64,
}

/// Reads packs of the target, which is open for reading, and notes those that are right.
pub(super) fn read_packs<P: Parts>(
    world: &mut World<P>,
    packs: &[PackEntry],
    note: &mut CopyNote,
    folder: &ArchiveFolder,
) -> Result<Read, Failure> {
    let total_bytes = bytes_of(packs);
    let mut read = Read::default();
    for batch in packs.chunks(NOTED_EVERY) {
        for pack in batch {
            let count = &mut |bytes| read.bytes = read.bytes.saturating_add(bytes);
            match hash_pack(&mut world.store, pack, count)? {
                None => drop(note.read.insert(pack.name)),
                Some(fault) => {
                    report_pack(&mut world.client, pack, fault)?;
                    read.problems = read.problems.saturating_add(1);
                }
            }
            world.client.progress(Progress {
                phase: Phase::ReadingBack,
                volume: None,
                done_bytes: read.bytes.min(total_bytes),
                total_bytes,
                sent_bytes: 0,
            });
            if world.client.cancelled() {
                note.write(&mut world.files, folder)?;
                return Err(Failure::Interrupted);
            }
        }
        note.write(&mut world.files, folder)?;
    }
    Ok(read)
}

/// Reads slots and commits of the target, which is open for reading, and notes those that are
/// right.
pub(super) fn read_small<P: Parts>(
    world: &mut World<P>,
    blobs: &[Small],
    note: &mut CopyNote,
) -> Result<Read, Failure> {
    let mut read = Read::default();
    for batch in blobs.chunks(SMALL_AHEAD) {
        for blob in batch {
            world.store.request(blob.name, 0, blob.length_bytes)?;
        }
        for blob in batch {
            let fault = match world.store.answer()?.or_fault() {
                Ok(bytes) => {
                    read.bytes = read.bytes.saturating_add(bytes.as_ref().len() as u64);
                    let same = *blake3::hash(bytes.as_ref()).as_bytes() == blob.hash;
                    (!same).then_some(Fault::Hash)
                }
                Err(fault) => Some(fault),
            };
            match fault {
                None => drop(note.read.insert(blob.name)),
                Some(fault) => {
                    let failure = damaged(&Damage::new(blob.class, blob.name.0, fault));
                    world.client.tell(ToClient::Problem(problem_of(failure)?))?;
                    read.problems = read.problems.saturating_add(1);
                }
            }
        }
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
    }
    Ok(read)
}
