// SPDX-License-Identifier: GPL-3.0-or-later
//! One block of metadata and its little-endian fields.

/// Size of a metadata block, bytes; the kernel knows no other.
pub const BLOCK_BYTES: usize = 4096;

/// A metadata block.
pub type Block = [u8; BLOCK_BYTES];

/// A block is not what its place demands; the text says which rule it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The `N` bytes at `offset`; zeros past the end, where no field of ours lies.
pub(crate) fn bytes<const N: usize>(block: &Block, offset: usize) -> [u8; N] {
    let end = offset.saturating_add(N);
    block
        .get(offset..end)
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or([0; N])
}

pub(crate) fn u32_at(block: &Block, offset: usize) -> u32 {
    u32::from_le_bytes(bytes(block, offset))
}

pub(crate) fn u64_at(block: &Block, offset: usize) -> u64 {
    u64::from_le_bytes(bytes(block, offset))
}
