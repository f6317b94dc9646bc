// SPDX-License-Identifier: GPL-3.0-or-later
//! Notes of damage: what was found missing or damaged in the store, until it is found right again. The next run heals what it can.

use std::collections::{BTreeMap, BTreeSet};

use wyng_archive::format::{Malformed, Reader, Writer};

const KIND_COMMIT: u32 = 1;
const KIND_SLOT: u32 = 2;
const KIND_LOST_PACK: u32 = 3;
const KIND_SOUND_PACK: u32 = 4;

/// What is known of a pack that was found missing or damaged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackNote {
    /// It is: the next commit marks it lost.
    Lost,
    /// It was read whole since: the next commit makes it live.
    Sound,
}

/// See the module's first line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Commits that are missing, by generation.
    pub commits: BTreeSet<u64>,
    /// Slots that are missing, by number.
    pub slots: BTreeSet<u8>,
    /// Packs, by number.
    pub packs: BTreeMap<u64, PackNote>,
}

impl Notes {
    /// The packs that count as lost.
    pub fn lost_packs(&self) -> BTreeSet<u64> {
        self.packs.iter().filter(|(_, note)| **note == PackNote::Lost).map(|(number, _)| *number).collect()
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        let count = self.commits.len().saturating_add(self.slots.len()).saturating_add(self.packs.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Writes each as 16 bytes.
    pub fn encode(&self, writer: &mut Writer) {
        let mut note = |kind: u32, number: u64| {
            writer.u32(kind).u32(0).u64(number);
        };
        self.commits.iter().for_each(|generation| note(KIND_COMMIT, *generation));
        self.slots.iter().for_each(|number| note(KIND_SLOT, u64::from(*number)));
        for (number, pack) in &self.packs {
            let kind = match pack {
                PackNote::Lost => KIND_LOST_PACK,
                PackNote::Sound => KIND_SOUND_PACK,
            };
            note(kind, *number);
        }
    }

    /// Reads `count` of them.
    pub fn decode(reader: &mut Reader, count: u32) -> Result<Self, Malformed> {
        let mut notes = Self::default();
        for _ in 0..count {
            let kind = reader.u32()?;
            reader.zeros(4, "reserved")?;
            let number = reader.u64()?;
            match kind {
                KIND_COMMIT => drop(notes.commits.insert(number)),
                KIND_SLOT => drop(notes.slots.insert(u8::try_from(number).map_err(|_| Malformed("slot"))?)),
                KIND_LOST_PACK => drop(notes.packs.insert(number, PackNote::Lost)),
                KIND_SOUND_PACK => drop(notes.packs.insert(number, PackNote::Sound)),
                _ => return Err(Malformed("kind of a note")),
            }
        }
        Ok(notes)
    }
}
