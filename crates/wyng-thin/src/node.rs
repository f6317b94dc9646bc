// SPDX-License-Identifier: GPL-3.0-or-later
//! One node of a B-tree. Each block is judged against the place from which it was reached: height
//! and range of keys.

use alloc::vec::Vec;
use core::ops::Range;

use crate::block::{BLOCK_BYTES, Block, Malformed, bytes, u32_at, u64_at};
use crate::crc32c::is_intact;

const CHECKSUM_KIND: u32 = 121_107;
const INTERNAL: u32 = 1;
const LEAF: u32 = 2;
const HEADER_BYTES: usize = 32;
const KEY_BYTES: usize = 8;

/// Maximum height of a tree; 4 levels of 252 children hold more blocks than a pool may have.
pub(crate) const HEIGHT_MAX: u8 = 16;

/// A place in a tree from which a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodePlace {
    /// The node's block.
    pub(crate) block: u64,
    /// Levels below it; 0 for a leaf.
    pub(crate) height: u8,
    /// The keys that may stand below it.
    pub(crate) keys: Range<u64>,
}

/// Is this intact node a leaf? Asked while a tree's height is found.
pub(crate) fn is_leaf(block: &Block, number: u64) -> Result<bool, Malformed> {
    check(block, number)?;
    Ok(u32_at(block, 4) == LEAF)
}

/// The first child of an internal node.
pub(crate) fn first_child(block: &Block) -> Result<u64, Malformed> {
    let (entries, max_entries) = counts(block, KEY_BYTES)?;
    if entries == 0 {
        return Err(Malformed("an internal node without children"));
    }
    Ok(u64::from_le_bytes(value(block, max_entries, 0)))
}

/// The keys of a node with their values of `N` bytes, ascending. An empty node is accepted only as
/// the root of an empty tree, which is a leaf.
pub(crate) fn decode<const N: usize>(
    block: &Block,
    place: &NodePlace,
    is_root: bool,
) -> Result<Vec<(u64, [u8; N])>, Malformed> {
    check(block, place.block)?;
    let leaf = u32_at(block, 4) == LEAF;
    if leaf != (place.height == 0) {
        return Err(Malformed("height of a node"));
    }
    let (entries, max_entries) = counts(block, N)?;
    if entries == 0 && !(is_root && leaf) {
        return Err(Malformed("an empty node"));
    }
    let mut found = Vec::with_capacity(entries);
    let mut least = place.keys.start;
    for index in 0..entries {
        let key = u64_at(
            block,
            HEADER_BYTES.saturating_add(index.saturating_mul(KEY_BYTES)),
        );
        if key < least || key >= place.keys.end {
            return Err(Malformed("order of keys"));
        }
        least = key.saturating_add(1);
        found.push((key, value(block, max_entries, index)));
    }
    Ok(found)
}

fn check(block: &Block, number: u64) -> Result<(), Malformed> {
    if !is_intact(block, CHECKSUM_KIND) {
        return Err(Malformed("checksum of a node"));
    }
    if u64_at(block, 8) != number {
        return Err(Malformed("a node of another place"));
    }
    if !matches!(u32_at(block, 4), INTERNAL | LEAF) {
        return Err(Malformed("kind of a node"));
    }
    Ok(())
}

/// Entries that there are, and that there is room for, of values of `value_bytes`.
fn counts(block: &Block, value_bytes: usize) -> Result<(usize, usize), Malformed> {
    let count = |offset| usize::try_from(u32_at(block, offset)).unwrap_or(usize::MAX);
    let (entries, max_entries, stated_bytes) = (count(16), count(20), count(24));
    if stated_bytes != value_bytes {
        return Err(Malformed("size of a value"));
    }
    let needed = max_entries.checked_mul(KEY_BYTES.saturating_add(value_bytes));
    let fits = needed
        .and_then(|bytes| bytes.checked_add(HEADER_BYTES))
        .is_some_and(|bytes| bytes <= BLOCK_BYTES);
    if entries > max_entries || !fits {
        return Err(Malformed("number of entries"));
    }
    Ok((entries, max_entries))
}

/// Value `index`: the values follow the room of all keys.
fn value<const N: usize>(block: &Block, max_entries: usize, index: usize) -> [u8; N] {
    let values = HEADER_BYTES.saturating_add(max_entries.saturating_mul(KEY_BYTES));
    bytes(block, values.saturating_add(index.saturating_mul(N)))
}
