// SPDX-License-Identifier: GPL-3.0-or-later
//! The checksum of a metadata block: CRC-32C as the kernel's persistent-data library uses it.

use crate::block::{BLOCK_BYTES, Block, u32_at};

/// CRC-32C's polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "evaluated by the compiler"
    )]
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ POLYNOMIAL
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// Does the block's first field hold the checksum of all that follows? `kind` is the constant that
/// the kernel mixes in, so that a block of one kind does not pass for another.
pub(crate) fn is_intact(block: &Block, kind: u32) -> bool {
    let covered = block.get(4..BLOCK_BYTES).unwrap_or_default();
    let sum = covered.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        let step = TABLE
            .get(usize::from(low ^ byte))
            .copied()
            .unwrap_or_default();
        (sum >> 8) ^ step
    });
    sum ^ kind == u32_at(block, 0)
}
