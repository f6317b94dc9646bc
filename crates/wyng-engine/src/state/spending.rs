// SPDX-License-Identifier: GPL-3.0-or-later
//! The bytes that each volume has sent in its day, for `max_new_bytes`. The file is written before
//! the counted records are sent, so that a restart does not give a volume its day anew; without the
//! file the day begins anew.

use std::collections::BTreeMap;

use wyng_archive::format::{Malformed, Reader, VolumeId, Writer};
use wyng_archive::plan::budget::Spent;
use wyng_control::Failure;

use super::ArchiveFolder;
use crate::world::Files;

const FILE: &str = "spent";
/// A volume's id, its day, and its two sums of bytes.
const ENTRY_BYTES: usize = 40;

/// The bytes that the volumes of an archive have sent, each in its newest day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spending(BTreeMap<VolumeId, Spent>);

impl Spending {
    /// Reads the file; empty if it is missing or damaged.
    pub fn read(files: &mut impl Files, folder: &ArchiveFolder) -> Result<Self, Failure> {
        let bytes = files.read(&folder.file(FILE))?.unwrap_or_default();
        Ok(Self::decode(&bytes).unwrap_or_default())
    }

    /// Writes the file durably.
    pub fn write(&self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        let mut writer = Writer::with_capacity(self.0.len().saturating_mul(ENTRY_BYTES));
        for (volume, spent) in &self.0 {
            writer
                .bytes(&volume.0)
                .u64(spent.day)
                .u64(spent.new_bytes)
                .u64(spent.healed_bytes);
        }
        files.replace(&folder.file(FILE), &writer.finish())
    }

    /// The bytes that a volume has sent in its newest day.
    pub fn of(&self, volume: VolumeId) -> Spent {
        self.0.get(&volume).copied().unwrap_or_default()
    }

    /// Sets the bytes that a volume has sent in its newest day.
    pub fn set(&mut self, volume: VolumeId, spent: Spent) {
        self.0.insert(volume, spent);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut volumes = BTreeMap::new();
        while reader.remaining() > 0 {
            let volume = VolumeId(reader.array()?);
            let spent = Spent {
                day: reader.u64()?,
                new_bytes: reader.u64()?,
                healed_bytes: reader.u64()?,
            };
            volumes.insert(volume, spent);
        }
        Ok(Self(volumes))
    }
}
