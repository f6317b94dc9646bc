// SPDX-License-Identifier: GPL-3.0-or-later
//! The layout of each object, byte by byte: encode and decode, and nothing else. Each file is one
//! object of `docs/format.md`.
//!
//! A decoder takes exactly the bytes of one object, and refuses bytes that its encoder cannot
//! write.

mod bytes;
mod commit;
mod directory;
mod entries;
mod head_code;
mod node;
mod pack;
mod record;
mod retention;
mod slot;

pub use bytes::{Malformed, Reader, Writer};
pub use commit::{
    ArchiveSettings, COMMIT_BYTES, COMMIT_PLAIN_BYTES, Commit, KeysRoot, LABEL_MAX_BYTES,
    PacksRoot, SLOTS_MAX, SlotLabel, SlotRef, Tail, TreeRoot, skip_of,
};
pub use directory::{
    DIRECTORY_ENTRY_BYTES, DIRECTORY_PLAIN_MAX_BYTES, Directory, DirectoryEntry, RecordKind,
};
pub use entries::{
    DESCRIPTION_MAX_BYTES, KeyEntry, NAME_MAX_BYTES, PackEntry, Place, SETTINGS_MAX, SessionEntry,
    TAG_MAX_BYTES, TAGS_MAX, VolumeEntry, VolumeId, is_volume_name,
};
pub use head_code::{HeadCode, Mistyped};
pub use node::{
    ContentTree, FANOUT, KeysTree, NODE_PLAIN_MAX_BYTES, Node, PacksTree, SessionsTree, Shape,
    VolumesTree,
};
pub use pack::{PACK_SIZE_MAX_BYTES, PACK_SIZE_MIN_BYTES, PackLayout, is_pack_size, padme};
pub use record::RECORD_OVERHEAD_BYTES;
pub(crate) use record::{CODING_RAW, CODING_ZSTD, FRAME_HEADER_BYTES, NONCE_BYTES, TAG_BYTES};
pub use retention::{
    CommitStamp, EarlierHoldOff, Floor, GivenUp, Heirs, HoldOff, PackState, Stamp,
};
pub use slot::{
    SLOT_BYTES, SLOT_COMMITTED_BYTES, SLOT_TOKEN_BYTES, Slot, SlotClear, SlotKind, SlotParams,
};

/// Maximum size of a chunk, bytes.
pub const CHUNK_SIZE_MAX_BYTES: usize = 1 << 20;
/// Minimum size of a chunk, bytes. The programs offer at least 64 KiB; smaller chunks are for
/// tests.
pub const CHUNK_SIZE_MIN_BYTES: usize = 512;

/// Whether this is a chunk size: a power of two within the bounds.
pub fn is_chunk_size(bytes: u32) -> bool {
    bytes.is_power_of_two()
        && usize::try_from(bytes)
            .is_ok_and(|bytes| (CHUNK_SIZE_MIN_BYTES..=CHUNK_SIZE_MAX_BYTES).contains(&bytes))
}

/// Number of chunks of a volume of `size_bytes`; 0 for an empty volume.
pub fn chunk_count(size_bytes: u64, chunk_size_bytes: u32) -> u64 {
    size_bytes.div_ceil(u64::from(chunk_size_bytes).max(1))
}

/// Minimum depth of a tree that holds `size` entries: 0 for no entry, 1 for up to 32, 2 for up to
/// 1024; at most 13.
pub fn depth_for(size: u64) -> u8 {
    let (mut depth, mut room) = (0u8, 1u128);
    if size == 0 {
        return 0;
    }
    while depth == 0 || room < u128::from(size) {
        room = room.saturating_mul(32);
        depth = depth.saturating_add(1);
    }
    depth
}
