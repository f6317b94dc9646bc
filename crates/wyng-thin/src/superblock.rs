// SPDX-License-Identifier: GPL-3.0-or-later
//! The superblock: the roots of a pool's trees. Block 0 is the live one; a metadata snapshot is a
//! copy of it elsewhere.

use crate::block::{Block, Malformed, u32_at, u64_at};
use crate::crc32c::is_intact;

const CHECKSUM_KIND: u32 = 160_774;
const MAGIC: u64 = 27_022_010;
/// `thin_repair` is wanted before the pool is used.
const NEEDS_CHECK: u32 = 1;
/// 512-byte sectors of a metadata block.
const METADATA_BLOCK_SECTORS: u32 = 8;
/// A pool's data blocks: 64 KiB to 1 GiB, in steps of 64 KiB, in sectors.
const DATA_BLOCK_STEP_SECTORS: u32 = 128;
const DATA_BLOCK_MAX_SECTORS: u32 = 2_097_152;

/// What a superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// The pool's transaction id, which LVM steps with each change of volumes.
    pub transaction_id: u64,
    /// The block of the metadata snapshot; 0: none is held.
    pub held_root: u64,
    /// Size of the pool's data blocks, the unit of every range, bytes.
    pub data_block_bytes: u64,
    /// How many metadata blocks the pool has.
    pub metadata_blocks: u64,
    /// Device id to that device's mapping tree.
    pub(crate) mapping_root: u64,
    /// Device id to details.
    pub(crate) details_root: u64,
}

/// Why a superblock was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Malformed(Malformed),
    Unsupported(&'static str),
}

impl Superblock {
    /// Reads the superblock that was found at block `number`.
    pub(crate) fn decode(block: &Block, number: u64) -> Result<Self, Refused> {
        let malformed = |rule| Err(Refused::Malformed(Malformed(rule)));
        if !is_intact(block, CHECKSUM_KIND) {
            return malformed("checksum of the superblock");
        }
        if u64_at(block, 8) != number {
            return malformed("a superblock of another place");
        }
        if u64_at(block, 32) != MAGIC {
            return malformed("no thin pool");
        }
        let (flags, version, incompatible) =
            (u32_at(block, 4), u32_at(block, 40), u32_at(block, 360));
        if !matches!(version, 1 | 2) {
            return Err(Refused::Unsupported("version of the metadata"));
        }
        if flags & NEEDS_CHECK != 0 {
            return Err(Refused::Unsupported("the pool needs a check"));
        }
        if flags != 0 || incompatible != 0 {
            return Err(Refused::Unsupported("flags of the metadata"));
        }
        let data_block_sectors = u32_at(block, 336);
        let is_block_size = (DATA_BLOCK_STEP_SECTORS..=DATA_BLOCK_MAX_SECTORS)
            .contains(&data_block_sectors)
            && data_block_sectors.is_multiple_of(DATA_BLOCK_STEP_SECTORS);
        if !is_block_size || u32_at(block, 340) != METADATA_BLOCK_SECTORS {
            return malformed("block sizes");
        }
        let superblock = Self {
            transaction_id: u64_at(block, 48),
            held_root: u64_at(block, 56),
            data_block_bytes: u64::from(data_block_sectors).saturating_mul(512),
            metadata_blocks: u64_at(block, 344),
            mapping_root: u64_at(block, 320),
            details_root: u64_at(block, 328),
        };
        let inside = |number: u64| (1..superblock.metadata_blocks).contains(&number);
        if !inside(superblock.mapping_root) || !inside(superblock.details_root) {
            return malformed("a root outside of the metadata");
        }
        Ok(superblock)
    }
}
