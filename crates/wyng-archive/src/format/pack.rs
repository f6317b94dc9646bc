// SPDX-License-Identifier: GPL-3.0-or-later
//! Filling a pack: whether a record fits, its offset, and the length of the pack. The bytes
//! themselves are not touched here.

use super::directory::{DIRECTORY_PLAIN_MAX_BYTES, Directory, DirectoryEntry, RecordKind};
use super::record::RECORD_OVERHEAD_BYTES;
use crate::ids::Id;

/// Minimum size of a pack, bytes, also of the last pack of a run.
pub const PACK_SIZE_MIN_BYTES: u32 = 64 * 1024;
/// Maximum size of a pack, bytes.
pub const PACK_SIZE_MAX_BYTES: u32 = 64 << 20;
const PACK_SIZE_STEP_BYTES: u32 = 4096;

/// Whether an archive with this chunk size may have packs of this size.
pub fn is_pack_size(pack_size_bytes: u32, chunk_size_bytes: u32) -> bool {
    (PACK_SIZE_MIN_BYTES..=PACK_SIZE_MAX_BYTES).contains(&pack_size_bytes)
        && pack_size_bytes.is_multiple_of(PACK_SIZE_STEP_BYTES)
        && chunk_size_bytes <= pack_size_bytes / 2
}

/// Padmé: rounds a length up to the next one of which only the highest bits vary, by at most 12 %.
/// The result leaks O(log log) bits of the length.
pub fn padme(length_bytes: u64) -> u64 {
    let Some(exponent) = length_bytes.checked_ilog2() else {
        return length_bytes;
    };
    let Some(kept) = exponent.checked_ilog2() else {
        return length_bytes;
    };
    let zeroed = exponent.saturating_sub(kept.saturating_add(1));
    let mask = 1u64.checked_shl(zeroed).unwrap_or(1).saturating_sub(1);
    length_bytes.saturating_add(mask) & !mask
}

/// The layout of a pack that is being filled.
#[derive(Debug)]
pub struct PackLayout {
    size_bytes: u32,
    end_bytes: u32,
    directory: Directory,
}

impl PackLayout {
    /// An empty pack of the archive's size.
    pub fn new(size_bytes: u32) -> Self {
        Self {
            size_bytes,
            end_bytes: 0,
            directory: Directory::default(),
        }
    }

    /// Whether it has no record yet.
    pub fn is_empty(&self) -> bool {
        self.directory.entries.is_empty()
    }

    /// Offset of the next record, or in the end of the directory, bytes.
    pub fn end_bytes(&self) -> u32 {
        self.end_bytes
    }

    /// The records that were placed so far.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Free space for `record_count` more records, bytes. Room for a directory that does not
    /// compress is kept.
    pub fn room_bytes(&self, record_count: usize) -> u32 {
        let count = self.directory.entries.len().saturating_add(record_count);
        let plain = Directory::plain_bytes(count);
        if plain > DIRECTORY_PLAIN_MAX_BYTES {
            return 0;
        }
        let directory =
            u32::try_from(plain.saturating_add(RECORD_OVERHEAD_BYTES)).unwrap_or(u32::MAX);
        self.size_bytes
            .saturating_sub(self.end_bytes)
            .saturating_sub(directory)
    }

    /// Places one record and returns its offset, bytes. `None` when the record does not fit;
    /// nothing changes then.
    pub fn push(&mut self, id: Id, kind: RecordKind, length_bytes: u32) -> Option<u32> {
        if length_bytes > self.room_bytes(1) {
            return None;
        }
        let offset_bytes = self.end_bytes;
        self.end_bytes = offset_bytes.checked_add(length_bytes)?;
        self.directory.entries.push(DirectoryEntry {
            id,
            offset_bytes,
            length_bytes,
            kind,
        });
        Some(offset_bytes)
    }

    /// Length of the pack, bytes, when its directory's record has `directory_bytes`: the full size,
    /// or for the last pack of a run the length of its records, rounded up by Padmé, at least 64
    /// KiB.
    pub fn length_bytes(&self, directory_bytes: u32, last_of_run: bool) -> u32 {
        if !last_of_run {
            return self.size_bytes;
        }
        let held = u64::from(self.end_bytes).saturating_add(u64::from(directory_bytes));
        u32::try_from(padme(held))
            .unwrap_or(u32::MAX)
            .max(PACK_SIZE_MIN_BYTES)
            .min(self.size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padme_rounds_up_by_at_most_an_eighth() {
        for length in (1..100_000).chain((1 << 24)..(1 << 24) + 1000) {
            let padded = padme(length);
            assert!(
                padded >= length && padded - length <= length / 8,
                "{length} became {padded}"
            );
            assert_eq!(padme(padded), padded);
        }
        assert_eq!(
            (padme(0), padme(1), padme(9), padme(1_000_001)),
            (0, 1, 10, 1_015_808)
        );
    }

    #[test]
    fn a_pack_keeps_room_for_its_directory() {
        let mut layout = PackLayout::new(PACK_SIZE_MIN_BYTES);
        let mut count = 0;
        while layout
            .push(Id([count; 32]), RecordKind::Node, 1000)
            .is_some()
        {
            count += 1;
        }
        let directory =
            u32::try_from(Directory::plain_bytes(usize::from(count)) + RECORD_OVERHEAD_BYTES)
                .unwrap();
        assert!(layout.end_bytes() + directory <= PACK_SIZE_MIN_BYTES);
        assert!(layout.end_bytes() + directory + 1000 + 48 > PACK_SIZE_MIN_BYTES);
    }
}
