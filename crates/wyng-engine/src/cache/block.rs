// SPDX-License-Identifier: GPL-3.0-or-later
//! One block of a run: up to 63 entries and a checksum. The run knows which block holds an id.
//!
//! ```text
//! block of 4096: the first 8 bytes of H(the rest of the block) ‖ count u32 ‖ 52 zero bytes ‖ 63 entries of 64
//! entry: id (32) ‖ pack u64 ‖ offset u32 ‖ length u32 ‖ key u32 ‖ node bytes u32 ‖ node offset u64
//! ```

use wyng_archive::crypto::Id;
use wyng_archive::format::{Malformed, Reader, Writer};

use super::location::{Location, Stored};

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Maximum number of entries in a block.
pub(super) const BLOCK_ENTRIES: usize = 63;
const ENTRY_BYTES: usize = 64;

/// The first 8 bytes of an id, by which a run finds the block that holds it.
pub(super) fn fence(id: &Id) -> u64 {
    id.0.first_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// A block of at most [`BLOCK_ENTRIES`] entries.
pub(super) fn encode_block(entries: &[(Id, Location)]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(BLOCK_BYTES);
    writer
        .u32(u32::try_from(entries.len()).unwrap_or(u32::MAX))
        .zeros_to(ENTRY_BYTES - 8);
    for (id, location) in entries {
        let (key, node_bytes, node_offset) = match location.stored {
            Stored::Chunk { key } => (key, 0, 0),
            Stored::Node {
                offset,
                plain_bytes,
            } => (0, plain_bytes, offset),
        };
        writer
            .bytes(&id.0)
            .u64(location.pack)
            .u32(location.offset_bytes)
            .u32(location.length_bytes);
        writer.u32(key).u32(node_bytes).u64(node_offset);
    }
    writer.zeros_to(BLOCK_BYTES - 8);
    let rest = writer.finish();
    let mut block = block_check(&rest).to_vec();
    block.extend_from_slice(&rest);
    block
}

/// The entries of a block whose checksum is right.
pub(super) fn decode_block(bytes: &[u8; BLOCK_BYTES]) -> Result<Vec<(Id, Location)>, Malformed> {
    let (check, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed("block"))?;
    if block_check(rest) != *check {
        return Err(Malformed("block checksum"));
    }
    let mut reader = Reader::new(rest);
    let count = reader.u32()?;
    reader.slice(ENTRY_BYTES - 12)?;
    let mut entries = Vec::with_capacity(BLOCK_ENTRIES);
    for _ in 0..count {
        let (id, pack, offset_bytes, length_bytes) = (
            Id(reader.array()?),
            reader.u64()?,
            reader.u32()?,
            reader.u32()?,
        );
        let (key, plain_bytes, offset) = (reader.u32()?, reader.u32()?, reader.u64()?);
        let stored = if plain_bytes == 0 {
            Stored::Chunk { key }
        } else {
            Stored::Node {
                offset,
                plain_bytes,
            }
        };
        entries.push((
            id,
            Location {
                pack,
                offset_bytes,
                length_bytes,
                stored,
            },
        ));
    }
    Ok(entries)
}

fn block_check(rest: &[u8]) -> [u8; 8] {
    blake3::hash(rest)
        .as_bytes()
        .first_chunk::<8>()
        .copied()
        .unwrap_or_default()
}
