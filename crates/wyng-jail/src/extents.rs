// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a file's bytes are stored: the two ioctls that list extents, as safe functions. Lists are
//! not compared here.
//!
//! FIEMAP: `Documentation/filesystems/fiemap.rst`; BTRFS_IOC_TREE_SEARCH_V2 and its items:
//! `linux/btrfs.h`, `linux/btrfs_tree.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `FS_IOC_FIEMAP`: `_IOWR('f', 11, struct fiemap)`.
pub(crate) const FS_IOC_FIEMAP: u32 = 0xC020_660B;
/// `_IOWR(0x94, 17, struct btrfs_ioctl_search_args_v2)`.
pub(crate) const BTRFS_IOC_TREE_SEARCH_V2: u32 = 0xC070_9411;
/// `FICLONE`: `_IOW(0x94, 9, int)`; the call itself has a safe name in rustix.
pub(crate) const FICLONE: u32 = 0x4004_9409;

/// Number of extents in one FIEMAP call.
const PAGE_EXTENTS: usize = 256;
/// Length of the buffer for the items of one tree search, bytes: about 700 items.
const SEARCH_BYTES: usize = 64 * 1024;
/// Write dirty pages to the disk first.
const FIEMAP_FLAG_SYNC: u32 = 1;
const EXTENT_DATA_KEY: u32 = 108;
/// A search item's header: transid, objectid, offset (u64 each), type, length (u32 each).
const ITEM_HEADER_BYTES: usize = 32;

/// An extent as FIEMAP reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileExtent {
    /// Offset of its first byte in the file, bytes.
    pub logical: u64,
    /// Offset of its first byte on the device, bytes, unless `flags` say otherwise.
    pub physical: u64,
    /// Length, bytes.
    pub length: u64,
    /// Flags of the extent, `FIEMAP_EXTENT_*`.
    pub flags: u32,
}

/// An EXTENT_DATA item of a btrfs file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BtrfsExtent {
    /// Offset of its first byte in the file, bytes.
    pub logical: u64,
    /// Length of the part of the file, bytes.
    pub length: u64,
    /// The kind of extent.
    pub kind: BtrfsExtentKind,
    /// The address of the extent, bytes; 0 is a hole.
    pub disk_bytenr: u64,
    /// Offset of the part in the extent's plain bytes, bytes.
    pub offset: u64,
    /// Whether the extent is compressed, or encoded otherwise.
    pub encoded: bool,
}

/// The kind of extent that an item describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BtrfsExtentKind {
    /// The bytes are stored in the tree.
    Inline,
    /// The bytes are stored in an extent, or the item is a hole.
    Regular,
    /// The space is reserved, and reads as zeros.
    Preallocated,
    /// A kind that this program does not know.
    Unknown,
}

#[repr(C)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    reserved_2: [u32; 3],
}

#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; PAGE_EXTENTS],
}

#[repr(C)]
struct SearchArgs {
    tree_id: u64,
    min_objectid: u64,
    max_objectid: u64,
    min_offset: u64,
    max_offset: u64,
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    item_count: u32,
    unused: u32,
    unused_2: [u64; 4],
    buffer_bytes: u64,
    buffer: [u8; SEARCH_BYTES],
}

/// The next extents of a file at or after offset `from`, bytes; dirty pages are written first.
/// Empty at the end of the file. A gap between two extents is a hole.
pub fn file_extents(file: BorrowedFd<'_>, from: u64) -> io::Result<Vec<FileExtent>> {
    const EMPTY: FiemapExtent = FiemapExtent {
        logical: 0,
        physical: 0,
        length: 0,
        reserved: [0; 2],
        flags: 0,
        reserved_2: [0; 3],
    };
    let mut map = Box::new(Fiemap {
        start: from,
        length: u64::MAX.saturating_sub(from),
        flags: FIEMAP_FLAG_SYNC,
        mapped_extents: 0,
        extent_count: u32::try_from(PAGE_EXTENTS).unwrap_or(0),
        reserved: 0,
        extents: [EMPTY; PAGE_EXTENTS],
    });
    let pointer: *mut Fiemap = &mut *map;
    // SAFETY: the kernel reads the header, and writes it and at most `extent_count` extents after
    // it; the struct has room for them.
    if unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, pointer) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mapped = usize::try_from(map.mapped_extents).unwrap_or(0);
    let found = map.extents.iter().take(mapped);
    Ok(found
        .map(|extent| FileExtent {
            logical: extent.logical,
            physical: extent.physical,
            length: extent.length,
            flags: extent.flags,
        })
        .collect())
}

/// The next EXTENT_DATA items of a btrfs file at or after offset `from`, bytes; empty at the end of
/// the file. Requires `CAP_SYS_ADMIN`.
pub fn btrfs_extents(file: BorrowedFd<'_>, inode: u64, from: u64) -> io::Result<Vec<BtrfsExtent>> {
    let mut search = Box::new(SearchArgs {
        tree_id: 0, // that of the file itself
        min_objectid: inode,
        max_objectid: inode,
        min_offset: from,
        max_offset: u64::MAX,
        min_transid: 0,
        max_transid: u64::MAX,
        min_type: EXTENT_DATA_KEY,
        max_type: EXTENT_DATA_KEY,
        item_count: u32::MAX,
        unused: 0,
        unused_2: [0; 4],
        buffer_bytes: SEARCH_BYTES as u64,
        buffer: [0; SEARCH_BYTES],
    });
    let pointer: *mut SearchArgs = &mut *search;
    // SAFETY: the kernel reads the key, and writes it and at most `buffer_bytes` bytes after it;
    // the struct has room for them.
    if unsafe { libc::ioctl(file.as_raw_fd(), BTRFS_IOC_TREE_SEARCH_V2 as _, pointer) } < 0 {
        return Err(io::Error::last_os_error());
    }
    items(&search.buffer, search.item_count, inode)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Decodes `count` items; `None` when an item is not of the requested kind and file.
fn items(mut buffer: &[u8], count: u32, inode: u64) -> Option<Vec<BtrfsExtent>> {
    let mut extents = Vec::new();
    for _ in 0..count {
        let (header, rest) = buffer.split_at_checked(ITEM_HEADER_BYTES)?;
        // The header is in the machine's byte order, the item in little endian.
        let kind = u32::from_ne_bytes(array(header, 24)?);
        let length = usize::try_from(u32::from_ne_bytes(array(header, 28)?)).ok()?;
        let (item, rest) = rest.split_at_checked(length)?;
        if u64::from_ne_bytes(array(header, 8)?) != inode || kind != EXTENT_DATA_KEY {
            return None;
        }
        extents.push(extent(u64::from_ne_bytes(array(header, 16)?), item)?);
        buffer = rest;
    }
    Some(extents)
}

fn extent(logical: u64, item: &[u8]) -> Option<BtrfsExtent> {
    let [compression, encryption, other_low, other_high, kind] = array(item, 16)?;
    let kind = match kind {
        0 => BtrfsExtentKind::Inline,
        1 => BtrfsExtentKind::Regular,
        2 => BtrfsExtentKind::Preallocated,
        _ => BtrfsExtentKind::Unknown,
    };
    let encoded = [compression, encryption, other_low, other_high] != [0; 4];
    let number = |at| array(item, at).map(u64::from_le_bytes);
    let (disk_bytenr, offset, length) = match kind {
        BtrfsExtentKind::Inline => (0, 0, number(8)?),
        _ => (number(21)?, number(37)?, number(45)?),
    };
    Some(BtrfsExtent {
        logical,
        length,
        kind,
        disk_bytenr,
        offset,
        encoded,
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () =
        assert!(size_of::<FiemapExtent>() == 56 && size_of::<Fiemap>() == 32 + 56 * PAGE_EXTENTS);
    const _: () = assert!(size_of::<SearchArgs>() == 112 + SEARCH_BYTES);

    /// An item as btrfs lays it out.
    fn item(inode: u64, logical: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = [7u64, inode, logical].map(u64::to_ne_bytes).concat();
        bytes.extend(EXTENT_DATA_KEY.to_ne_bytes());
        bytes.extend(u32::try_from(body.len()).unwrap().to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn regular(compression: u8, disk_bytenr: u64, offset: u64, length: u64) -> Vec<u8> {
        let mut body = [9u64, length].map(u64::to_le_bytes).concat();
        body.extend([compression, 0, 0, 0, 1]);
        body.extend(
            [disk_bytenr, 4096, offset, length]
                .map(u64::to_le_bytes)
                .concat(),
        );
        body
    }

    #[test]
    fn items_of_a_search_become_extents() {
        let inline = [
            [9u64, 5].map(u64::to_le_bytes).concat(),
            vec![0; 5],
            b"bytes".to_vec(),
        ]
        .concat();
        let buffer = [
            item(257, 0, &inline),
            item(257, 4096, &regular(3, 1 << 30, 8192, 131_072)),
        ]
        .concat();
        let extents = items(&buffer, 2, 257).unwrap();
        assert_eq!(
            (extents[0].kind, extents[0].length),
            (BtrfsExtentKind::Inline, 5)
        );
        let expected = BtrfsExtent {
            logical: 4096,
            length: 131_072,
            kind: BtrfsExtentKind::Regular,
            disk_bytenr: 1 << 30,
            offset: 8192,
            encoded: true,
        };
        assert_eq!(extents[1], expected);
    }

    #[test]
    fn items_of_another_file_or_cut_ones_are_refused() {
        let buffer = item(257, 0, &regular(0, 1, 0, 1));
        assert_eq!(items(&buffer, 1, 258), None);
        assert_eq!(items(&buffer, 2, 257), None);
        assert_eq!(items(&buffer[..buffer.len() - 1], 1, 257), None);
        assert_eq!(items(&item(257, 0, &[0; 20]), 1, 257), None);
    }
}
