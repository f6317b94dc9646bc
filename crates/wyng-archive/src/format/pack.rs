// SPDX-License-Identifier: GPL-3.0-or-later
//! How a pack is filled: which record still fits, where it lies, and how long the pack becomes. It
//! never touches the bytes.

use super::directory::{DIRECTORY_PLAIN_MAX_BYTES, Directory, DirectoryEntry, RecordKind};
use super::record::RECORD_OVERHEAD_BYTES;
use crate::ids::Id;

/// The smallest pack, also of a run's last one.
pub const PACK_SIZE_MIN_BYTES: u32 = 64 * 1024;
/// The largest pack.
pub const PACK_SIZE_MAX_BYTES: u32 = 64 << 20;
const PACK_SIZE_STEP_BYTES: u32 = 4096;

/// May an archive with this chunk size have packs of this size?
pub fn is_pack_size(pack_size_bytes: u32, chunk_size_bytes: u32) -> bool {
    (PACK_SIZE_MIN_BYTES..=PACK_SIZE_MAX_BYTES).contains(&pack_size_bytes)
        && pack_size_bytes.is_multiple_of(PACK_SIZE_STEP_BYTES)
        && chunk_size_bytes <= pack_size_bytes / 2
}

/// Padmé: the next length of which only the highest bits vary, at most 12 % more. It leaks O(log
/// log) bits of a length.
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

/// The records of a pack that is being filled.
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

    /// Nothing in it yet?
    pub fn is_empty(&self) -> bool {
        self.directory.entries.is_empty()
    }

    /// Where the next record begins, and in the end the directory.
    pub fn end_bytes(&self) -> u32 {
        self.end_bytes
    }

    /// What is in it.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Bytes that are free for `record_count` further records, with room kept for a directory that
    /// does not compress.
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

    /// Places one record; `None` when it does not fit, and nothing has changed then.
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

    /// How long the pack is when its directory's record has `directory_bytes`: its full size, or
    /// for a run's last pack the next Padmé size of what it holds, at least 64 KiB.
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
