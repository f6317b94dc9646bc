// SPDX-License-Identifier: GPL-3.0-or-later
//! The times at which each pack was pushed, read and proven, so that a byte budget reaches all
//! packs in turn, and a person learns the proven share of an archive.
//!
//! A pack that the file lacks counts as never read. Only one deletion depends on the file: a proof
//! of a pack lets later copies of its records go. A verify appends an entry as soon as a pack was
//! read, so that a pack read before a kill counts. A later entry replaces an earlier one of the same
//! pack.
//!
//! ```text
//! entry, 64 bytes:
//!   0 │ number of the first pack u64                                  │
//!   8 │ count of packs u32, at least 1│ flags u32: 1: by the pusher   │
//!  16 │ when pushed or first met: kept seconds u64                    │
//!  24 │ the VM that pushed: 8 bytes of H(its words); zeros: none stays│
//!  32 │ newest reading: kept seconds u64; 0: none                     │
//!  40 │ newest sound reading: seconds since 1970 UTC, i64; 0: none    │
//!  48 │ newest proof: kept seconds u64; 0: none                       │
//!  56 │ the first 8 bytes of H(all before)                            │
//! ```

use std::collections::BTreeMap;

use wyng_archive::format::{Malformed, Reader, Writer};
use wyng_control::{Failure, Via};

use super::ArchiveFolder;
use crate::world::Files;

const FILE: &str = "proofs";
const ENTRY_BYTES: usize = 64;
const FLAG_BY_PUSHER: u32 = 1;
/// Maximum number of entries in the file: 128 MiB. Packs that do not fit count as never read.
const ENTRIES_MAX: usize = 1 << 21;
/// Maximum number of packs that are remembered.
const PACKS_MAX: usize = 1 << 24;

/// A VM that stays from call to call, and so may remember what it pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StayingVm([u8; 8]);

impl StayingVm {
    /// The VM behind `via`. `None` for a process of this machine and for a disposable: each call
    /// starts one that remembers nothing.
    pub fn of(via: &Via) -> Option<Self> {
        match via {
            Via::Local | Via::Disposable(_) => None,
            Via::Ssh(_) | Via::Qube(_) => {
                Some(Self(first_8(&blake3::hash(via.to_string().as_bytes()))))
            }
        }
    }
}

/// Readings of a pack. Times on the kept clock are seconds; 0: it did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackProof {
    /// When it was pushed, or first met here, on the kept clock.
    pub pushed_kept: u64,
    /// The VM that pushed it, if that VM stays.
    pub pusher: Option<StayingVm>,
    /// The newest reading, whatever it found, on the kept clock.
    pub read_kept: u64,
    /// The newest sound reading, seconds since 1970 UTC.
    pub sound_wall: i64,
    /// The newest proof, on the kept clock; 0 too if a later reading found damage.
    pub proven_kept: u64,
    /// That proof is by the VM that pushed the pack.
    pub is_by_pusher: bool,
}

impl PackProof {
    /// A pack that was pushed by `pusher` at `pushed_kept`, and not read since.
    pub fn of_pushed(pushed_kept: u64, pusher: Option<StayingVm>) -> Self {
        Self {
            pushed_kept,
            pusher,
            read_kept: 0,
            sound_wall: 0,
            proven_kept: 0,
            is_by_pusher: false,
        }
    }
}

/// Readings of the packs of an archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Proofs {
    /// By pack number.
    pub packs: BTreeMap<u64, PackProof>,
}

impl Proofs {
    /// Reads the file; empty if it is missing. A torn or damaged entry is left out.
    pub fn read(files: &mut impl Files, folder: &ArchiveFolder) -> Result<Self, Failure> {
        let bytes = files.read(&folder.file(FILE))?.unwrap_or_default();
        let mut proofs = Self::default();
        for entry in bytes.as_chunks::<ENTRY_BYTES>().0 {
            let Ok((first, count, proof)) = decode(entry) else {
                continue;
            };
            let room = PACKS_MAX.saturating_sub(proofs.packs.len());
            let end = first.saturating_add(count.into());
            proofs
                .packs
                .extend((first..end).take(room).map(|number| (number, proof)));
        }
        Ok(proofs)
    }

    /// Writes the whole file anew, durably.
    pub fn write(&self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        let mut writer = Writer::with_capacity(ENTRY_BYTES);
        let mut ranges: Vec<(u64, u32, PackProof)> = Vec::new();
        for (number, proof) in &self.packs {
            match ranges.last_mut() {
                Some((first, count, last))
                    if last == proof && first.checked_add(u64::from(*count)) == Some(*number) =>
                {
                    *count = count.saturating_add(1);
                }
                _ => ranges.push((*number, 1, *proof)),
            }
        }
        for (first, count, proof) in ranges.into_iter().take(ENTRIES_MAX) {
            writer.bytes(&encode(first, count, &proof));
        }
        files.replace(&folder.file(FILE), &writer.finish())
    }

    /// Notes the packs below `end` that have no entry yet as new, durably.
    pub fn note_unknown(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        end: u64,
        proof: PackProof,
    ) -> Result<(), Failure> {
        let known = Self::read(files, folder)?;
        let last = known.packs.last_key_value().map(|(number, _)| *number);
        let first = last.map_or(0, |last| last.saturating_add(1));
        Self::note_new(files, folder, first..end, proof)
    }

    /// Appends the readings of a pack to the file. It survives a kill of this process at once, and
    /// a loss of power after [`sync`](Self::sync).
    pub fn append(
        &mut self,
        files: &mut impl Files,
        folder: &ArchiveFolder,
        number: u64,
        proof: PackProof,
    ) -> Result<(), Failure> {
        self.packs.insert(number, proof);
        files.append(&folder.file(FILE), &encode(number, 1, &proof))
    }

    /// Makes the appended entries durable.
    pub fn sync(files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        files.sync(&folder.file(FILE))
    }

    /// Notes packs of these consecutive numbers as new, durably. It reads no file unless a crash
    /// tore the last entry.
    pub fn note_new(
        files: &mut impl Files,
        folder: &ArchiveFolder,
        numbers: std::ops::Range<u64>,
        proof: PackProof,
    ) -> Result<(), Failure> {
        let path = folder.file(FILE);
        let length_bytes = files.length(&path)?.unwrap_or(0);
        if !length_bytes.is_multiple_of(ENTRY_BYTES as u64) {
            Self::read(files, folder)?.write(files, folder)?;
        }
        let (mut first, mut bytes) = (numbers.start, Vec::new());
        while first < numbers.end {
            let count = u32::try_from(numbers.end.saturating_sub(first)).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&encode(first, count, &proof));
            first = first.saturating_add(count.into());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        files.append(&path, &bytes)?;
        files.sync(&path)
    }
}

fn encode(first: u64, count: u32, proof: &PackProof) -> Vec<u8> {
    let mut writer = Writer::with_capacity(ENTRY_BYTES);
    writer
        .u64(first)
        .u32(count)
        .u32(if proof.is_by_pusher {
            FLAG_BY_PUSHER
        } else {
            0
        })
        .u64(proof.pushed_kept)
        .bytes(&proof.pusher.map_or([0; 8], |vm| vm.0))
        .u64(proof.read_kept)
        .i64(proof.sound_wall)
        .u64(proof.proven_kept);
    let mut bytes = writer.finish();
    let check: [u8; 8] = first_8(&blake3::hash(&bytes));
    bytes.extend_from_slice(&check);
    bytes
}

fn decode(entry: &[u8; ENTRY_BYTES]) -> Result<(u64, u32, PackProof), Malformed> {
    let (covered, check) = entry
        .split_last_chunk::<8>()
        .ok_or(Malformed("an entry is too short"))?;
    if first_8(&blake3::hash(covered)) != *check {
        return Err(Malformed("the checksum of an entry"));
    }
    let mut reader = Reader::new(covered);
    let (first, count, flags) = (reader.u64()?, reader.u32()?, reader.u32()?);
    let pushed_kept = reader.u64()?;
    let pusher: [u8; 8] = reader.array()?;
    Ok((
        first,
        count,
        PackProof {
            pushed_kept,
            pusher: (pusher != [0; 8]).then_some(StayingVm(pusher)),
            read_kept: reader.u64()?,
            sound_wall: reader.i64()?,
            proven_kept: reader.u64()?,
            is_by_pusher: flags & FLAG_BY_PUSHER != 0,
        },
    ))
}

fn first_8(hash: &blake3::Hash) -> [u8; 8] {
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_was_and_a_changed_bit_is_noticed() {
        let proof = PackProof {
            pushed_kept: 5,
            pusher: StayingVm::of(&Via::Qube("sys-net".into())),
            read_kept: 6,
            sound_wall: 7,
            proven_kept: 8,
            is_by_pusher: true,
        };
        let mut bytes: [u8; ENTRY_BYTES] = encode(3, 9, &proof).try_into().unwrap();
        assert_eq!(decode(&bytes), Ok((3, 9, proof)));
        bytes[20] ^= 1;
        assert!(decode(&bytes).is_err());
    }

    #[test]
    fn only_a_qube_or_a_host_with_a_name_stays_from_call_to_call() {
        let of = |words: &str| StayingVm::of(&words.parse().unwrap());
        assert_eq!(of("local"), None);
        assert_eq!(of("qrexec:@dispvm:default"), None);
        assert!(of("qrexec:one").is_some() && of("qrexec:one") != of("qrexec:two"));
        assert!(of("ssh:one") != of("qrexec:one"));
    }
}
