// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a record lies in the store, and what it is.

use wyng_archive::format::DirectoryEntry;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// A chunk under this session key.
    Chunk {
        /// The key's number in the key table.
        key: u32,
    },
    /// A node, whose plain bytes the cache has too.
    Node {
        /// Where its plain bytes begin in the nodes' file, bytes.
        offset: u64,
        /// The number of its plain bytes.
        plain_bytes: u32,
    },
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The number of its pack.
    pub pack: u64,
    /// Where it begins in the pack, bytes.
    pub offset_bytes: u32,
    /// Its length, bytes.
    pub length_bytes: u32,
    /// What the record is, chunk or node.
    pub stored: Stored,
}

impl Location {
    /// The place of a record of this pack's directory.
    pub(super) fn of(pack: u64, entry: &DirectoryEntry, stored: Stored) -> Self {
        Self {
            pack,
            offset_bytes: entry.offset_bytes,
            length_bytes: entry.length_bytes,
            stored,
        }
    }
}
