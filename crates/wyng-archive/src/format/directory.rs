// SPDX-License-Identifier: GPL-3.0-or-later
//! The directory: the last record of a pack, which lists all others. Layout: `docs/format.md`,
//! section 7.

use super::bytes::{Malformed, Reader, Writer};
use super::record::RECORD_OVERHEAD_BYTES;
use crate::ids::Id;

/// Length of an entry, bytes.
pub const DIRECTORY_ENTRY_BYTES: usize = 48;
/// Maximum length of a directory's plain bytes, bytes.
pub const DIRECTORY_PLAIN_MAX_BYTES: usize = 8 << 20;
/// The first byte of a directory. A node has the number of its tree there.
const MARK: u8 = 6;
const HEADER_BYTES: usize = 8;

/// The kind of a listed record, and the key that opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A chunk, sealed under the session key with this number.
    Chunk {
        /// The index in the key table.
        key: u32,
    },
    /// A node, sealed under META.
    Node,
}

/// One record of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The record's id.
    pub id: Id,
    /// Offset in the pack, bytes.
    pub offset_bytes: u32,
    /// Length of the record, bytes.
    pub length_bytes: u32,
    /// The record's kind.
    pub kind: RecordKind,
}

/// The list of all records of a pack, in the order of their offsets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// The records, without gaps, from offset 0 on.
    pub entries: Vec<DirectoryEntry>,
}

impl Directory {
    /// Length of the plain bytes of a directory with `count` entries, bytes.
    pub fn plain_bytes(count: usize) -> usize {
        count
            .saturating_mul(DIRECTORY_ENTRY_BYTES)
            .saturating_add(HEADER_BYTES)
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(Self::plain_bytes(self.entries.len()));
        writer
            .u8(MARK)
            .bytes(&[0; 3])
            .u32(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        for entry in &self.entries {
            let (kind, key) = match entry.kind {
                RecordKind::Chunk { key } => (1, key),
                RecordKind::Node => (2, 0),
            };
            writer
                .bytes(&entry.id.0)
                .u32(entry.offset_bytes)
                .u32(entry.length_bytes)
                .u32(key)
                .u8(kind)
                .bytes(&[0; 3]);
        }
        writer.finish()
    }

    /// Decodes a directory that begins at `directory_offset_bytes` of its pack. Its records must
    /// fill the pack up to there.
    pub fn decode(plain: &[u8], directory_offset_bytes: u32) -> Result<Self, Malformed> {
        let mut reader = Reader::new(plain);
        if reader.u8()? != MARK {
            return Err(Malformed("not a directory"));
        }
        reader.zeros(3, "reserved")?;
        let count = usize::try_from(reader.u32()?).map_err(|_| Malformed("count"))?;
        if Some(reader.remaining()) != count.checked_mul(DIRECTORY_ENTRY_BYTES) {
            return Err(Malformed("count"));
        }
        let mut entries = Vec::with_capacity(count);
        let mut end_bytes = 0u32;
        for _ in 0..count {
            let entry = decode_entry(&mut reader)?;
            if entry.offset_bytes != end_bytes {
                return Err(Malformed("a gap between records"));
            }
            end_bytes = end_bytes
                .checked_add(entry.length_bytes)
                .ok_or(Malformed("record length"))?;
            entries.push(entry);
        }
        reader.end()?;
        if end_bytes != directory_offset_bytes {
            return Err(Malformed("records end elsewhere"));
        }
        let directory = Self { entries };
        if directory.has_duplicates() {
            Err(Malformed("an id twice"))
        } else {
            Ok(directory)
        }
    }

    fn has_duplicates(&self) -> bool {
        let mut ids: Vec<&Id> = self.entries.iter().map(|entry| &entry.id).collect();
        ids.sort_unstable();
        ids.iter().zip(ids.iter().skip(1)).any(|(a, b)| a == b)
    }
}

fn decode_entry(reader: &mut Reader<'_>) -> Result<DirectoryEntry, Malformed> {
    let id = Id(reader.array()?);
    let (offset_bytes, length_bytes, key, kind) =
        (reader.u32()?, reader.u32()?, reader.u32()?, reader.u8()?);
    reader.zeros(3, "reserved")?;
    if usize::try_from(length_bytes).map_or(true, |length| length <= RECORD_OVERHEAD_BYTES) {
        return Err(Malformed("record length"));
    }
    let kind = match (kind, key) {
        (1, key) => RecordKind::Chunk { key },
        (2, 0) => RecordKind::Node,
        _ => return Err(Malformed("record kind")),
    };
    Ok(DirectoryEntry {
        id,
        offset_bytes,
        length_bytes,
        kind,
    })
}
