// SPDX-License-Identifier: GPL-3.0-or-later
//! This machine's notes for deletions: when it last read back the packs that live on, when a
//! deletion was refused, and since when it has known key slots as removed.
//!
//! The file only saves time: without it, everything is read back once more, and removed slots wait
//! once more. Times are of the chain's kept clock.
//!
//! ```text
//!   0 │ "wyngspac"                                                    │
//!   8 │ format = 1 u32                │ flags u32                     │
//!  16 │ when a far end refused to fetch, secs u64                     │
//!  24 │ when a far end refused to delete, secs u64                    │
//!  32 │ when the store refused a DELETE, secs u64                     │
//!  40 │ count of packs u32            │ count of commits u32          │
//!  48 │ count of slots u32            │ 0 u32                         │
//!     │ packs, ascending: number u64 ‖ read, secs u64                 │
//!     │ commits, ascending: run u64 ‖ kept u64 ‖ read, secs u64       │
//!     │ slots, ascending: number u8 ‖ gone u8 ‖ 0 (6) ‖ run ‖ kept    │
//!     │ H of all before                                               │
//! ```
//! Flags: 1, 2, 4: the first, second, third time is there.

use std::collections::BTreeMap;

use wyng_archive::format::{Malformed, Reader, Stamp, Writer};
use wyng_control::Failure;

use super::archives::ArchiveFolder;
use super::notes::Notes;
use crate::world::Files;

const FILE: &str = "space";
const MAGIC: &[u8; 8] = b"wyngspac";
const FORMAT: u32 = 1;

/// A key slot that the head does not list any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovedSlot {
    /// The head at which this machine first found it removed.
    pub since: Stamp,
    /// Its blob is gone.
    pub is_gone: bool,
}

/// Notes for the deletions of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpaceNotes {
    /// When a far end last refused to fetch, seconds.
    pub fetch_refused_secs: Option<u64>,
    /// When a far end last refused to delete, seconds.
    pub prune_refused_secs: Option<u64>,
    /// When the store last refused a DELETE, seconds.
    pub delete_refused_secs: Option<u64>,
    /// When the far end was started that last read a pack whole and sound, by the pack's number,
    /// seconds.
    pub read_packs: BTreeMap<u64, u64>,
    /// Start of the far end that last read a commit whole and sound, by the commit's run number and
    /// kept clock, seconds.
    pub read_commits: BTreeMap<(u64, u64), u64>,
    /// Key slots that were removed, by number.
    pub slots: BTreeMap<u8, RemovedSlot>,
}

impl SpaceNotes {
    /// Forgets the readings of packs that are noted as damaged: what was read before is gone.
    pub fn forget_readings_of(&mut self, damage: &Notes) {
        self.read_packs
            .retain(|number, _| !damage.is_damaged(*number));
    }

    /// Reads the file; empty if it is missing or damaged.
    pub fn read(files: &mut impl Files, folder: &ArchiveFolder) -> Result<Self, Failure> {
        let bytes = files.read(&folder.file(FILE))?.unwrap_or_default();
        let Some((covered, hash)) = bytes.split_last_chunk::<32>() else {
            return Ok(Self::default());
        };
        if blake3::hash(covered).as_bytes() != hash {
            return Ok(Self::default());
        }
        Ok(Self::decode(covered).unwrap_or_default())
    }

    /// Writes the file durably.
    pub fn write(&self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        let mut bytes = self.encode();
        let hash = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&hash);
        files.replace(&folder.file(FILE), &bytes)
    }

    fn encode(&self) -> Vec<u8> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let times = [
            self.fetch_refused_secs,
            self.prune_refused_secs,
            self.delete_refused_secs,
        ];
        let flags = (0u32..)
            .zip(times)
            .filter(|(_, time)| time.is_some())
            .fold(0u32, |flags, (bit, _)| {
                flags | 1u32.checked_shl(bit).unwrap_or(0)
            });
        let mut writer = Writer::with_capacity(64);
        writer.bytes(MAGIC).u32(FORMAT).u32(flags);
        for time in times {
            writer.u64(time.unwrap_or(0));
        }
        writer
            .u32(count(self.read_packs.len()))
            .u32(count(self.read_commits.len()))
            .u32(count(self.slots.len()))
            .u32(0);
        for (number, read) in &self.read_packs {
            writer.u64(*number).u64(*read);
        }
        for ((run, kept), read) in &self.read_commits {
            writer.u64(*run).u64(*kept).u64(*read);
        }
        for (number, slot) in &self.slots {
            writer
                .u8(*number)
                .u8(slot.is_gone.into())
                .bytes(&[0; 6])
                .u64(slot.since.run)
                .u64(slot.since.kept_secs);
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.array::<8>()? != *MAGIC || reader.u32()? != FORMAT {
            return Err(Malformed("another file"));
        }
        let flags = reader.u32()?;
        let mut time = |flag: u32| -> Result<Option<u64>, Malformed> {
            let secs = reader.u64()?;
            Ok((flags & flag != 0).then_some(secs))
        };
        let (fetch_refused_secs, prune_refused_secs, delete_refused_secs) =
            (time(1)?, time(2)?, time(4)?);
        let (packs, commits, slots) = (reader.u32()?, reader.u32()?, reader.u32()?);
        reader.zeros(4, "reserved")?;
        let mut notes = Self {
            fetch_refused_secs,
            prune_refused_secs,
            delete_refused_secs,
            ..Self::default()
        };
        for _ in 0..packs {
            notes.read_packs.insert(reader.u64()?, reader.u64()?);
        }
        for _ in 0..commits {
            let key = (reader.u64()?, reader.u64()?);
            notes.read_commits.insert(key, reader.u64()?);
        }
        for _ in 0..slots {
            let (number, is_gone) = (reader.u8()?, reader.u8()? != 0);
            reader.zeros(6, "reserved")?;
            let (run, kept_secs) = (reader.u64()?, reader.u64()?);
            let since = Stamp { run, kept_secs };
            notes.slots.insert(number, RemovedSlot { since, is_gone });
        }
        reader.end()?;
        Ok(notes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::notes::PackNote;
    use super::*;

    #[test]
    fn the_notes_come_back_as_they_were() {
        let since = Stamp {
            run: 3,
            kept_secs: 4,
        };
        let notes = SpaceNotes {
            fetch_refused_secs: Some(0),
            prune_refused_secs: None,
            delete_refused_secs: Some(9),
            read_packs: BTreeMap::from([(1, 2), (7, 0)]),
            read_commits: BTreeMap::from([((1, 5), 6)]),
            slots: BTreeMap::from([(
                4,
                RemovedSlot {
                    since,
                    is_gone: true,
                },
            )]),
        };
        assert_eq!(SpaceNotes::decode(&notes.encode()), Ok(notes));
        let empty = SpaceNotes::default();
        assert_eq!(SpaceNotes::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn a_pack_that_is_noted_as_damaged_was_not_read() {
        let mut notes = SpaceNotes {
            read_packs: (1..=4).map(|number| (number, 9)).collect(),
            ..SpaceNotes::default()
        };
        let damage = [
            (1, PackNote::Lost),
            (2, PackNote::Held),
            (3, PackNote::Sound),
        ];
        notes.forget_readings_of(&Notes {
            packs: damage.into(),
            ..Notes::default()
        });
        assert_eq!(notes.read_packs, [(3, 9), (4, 9)].into());
    }
}
