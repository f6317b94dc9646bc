// SPDX-License-Identifier: GPL-3.0-or-later
//! The free space that a far end stated when it last opened the store, for a warning of `status`.
//! Whoever owns the far end can state anything, and nothing but the warning depends on it. A file
//! that is lost or damaged is as good as none.
//!
//! ```text
//!   0 │ free space, MiB u32           │ 0 u32                         │
//!   8 │ when it was stated: seconds since 1970 UTC, i64               │
//!  16 │ the first 8 bytes of H(all before)                            │
//! ```

use wyng_archive::format::{Malformed, Reader, Writer};
use wyng_control::Failure;

use super::ArchiveFolder;
use crate::world::Files;

const FILE: &str = "store-room";

/// Free space that a far end stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreRoom {
    /// The free space, MiB.
    pub free_mib: u32,
    /// When it was stated, seconds since 1970 UTC.
    pub wall_secs: i64,
}

impl StoreRoom {
    /// Reads the file; `None` if it is missing or damaged, or cannot be read.
    pub fn read(files: &mut impl Files, folder: &ArchiveFolder) -> Option<Self> {
        let bytes = files.read(&folder.file(FILE)).ok().flatten()?;
        Self::decode(&bytes).ok()
    }

    /// Writes the file durably.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, files: &mut impl Files, folder: &ArchiveFolder) -> Result<(), Failure> {
        files.replace(&folder.file(FILE), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(24);
        writer.u32(self.free_mib).u32(0).i64(self.wall_secs);
        let mut bytes = writer.finish();
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (covered, check) = bytes
            .split_last_chunk::<8>()
            .ok_or(Malformed("it is too short"))?;
        if check_of(covered) != *check {
            return Err(Malformed("its checksum is wrong"));
        }
        let mut reader = Reader::new(covered);
        let free_mib = reader.u32()?;
        reader.zeros(4, "reserved")?;
        let wall_secs = reader.i64()?;
        reader.end()?;
        Ok(Self {
            free_mib,
            wall_secs,
        })
    }
}

fn check_of(covered: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(covered);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_comes_back_and_a_changed_bit_is_noticed() {
        let room = StoreRoom {
            free_mib: 7,
            wall_secs: -8,
        };
        let mut bytes = room.encode();
        assert_eq!(StoreRoom::decode(&bytes), Ok(room));
        bytes[0] ^= 1;
        assert!(StoreRoom::decode(&bytes).is_err());
    }
}
