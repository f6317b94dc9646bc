// SPDX-License-Identifier: GPL-3.0-or-later
//! A file's extents from the kernel, in the words of [`delta`](super::delta): what the flags mean,
//! and nothing more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use wyng_jail::{BtrfsExtent, BtrfsExtentKind, FileExtent, btrfs_extents, file_extents};

use super::delta::{Extent, Extents, Place};

/// `FIEMAP_EXTENT_UNWRITTEN`: reserved, and reads as zeros.
const UNWRITTEN: u32 = 0x800;
/// LAST, UNWRITTEN, MERGED, SHARED: the address keeps its meaning. Any other flag changes it:
/// UNKNOWN, DELALLOC, ENCODED, DATA_ENCRYPTED, NOT_ALIGNED, DATA_INLINE, DATA_TAIL, and flags of
/// later kernels.
const UNDERSTOOD: u32 = 0x1 | UNWRITTEN | 0x1000 | 0x2000;

/// Extents by FIEMAP, which every user may call. It does not show which part of a compressed extent
/// is used.
pub(super) struct Fiemap(pub(super) Rc<OwnedFd>);

/// Extents by btrfs's own tree, which shows the used part of compressed extents too. It needs
/// `CAP_SYS_ADMIN`.
pub(super) struct BtrfsSearch {
    /// The file.
    pub(super) file: Rc<OwnedFd>,
    /// Its inode number.
    pub(super) inode: u64,
}

impl Extents for Fiemap {
    fn next_page(&mut self, from: u64) -> io::Result<Vec<Extent>> {
        file_extents(self.0.as_fd(), from)?
            .iter()
            .map(from_fiemap)
            .collect()
    }
}

impl Extents for BtrfsSearch {
    fn next_page(&mut self, from: u64) -> io::Result<Vec<Extent>> {
        btrfs_extents(self.file.as_fd(), self.inode, from)?
            .iter()
            .map(from_btrfs)
            .collect()
    }
}

fn from_fiemap(found: &FileExtent) -> io::Result<Extent> {
    let place = match found.flags {
        flags if flags & !UNDERSTOOD != 0 => Place::Unknown,
        flags if flags & UNWRITTEN != 0 => Place::Zeros,
        _ => Place::At {
            extent: 0,
            offset: found.physical,
        },
    };
    extent(found.logical, found.length, place)
}

fn from_btrfs(found: &BtrfsExtent) -> io::Result<Extent> {
    let place = match found.kind {
        BtrfsExtentKind::Regular if found.disk_bytenr == 0 => Place::Zeros,
        BtrfsExtentKind::Regular if found.encoded => Place::At {
            extent: found.disk_bytenr,
            offset: found.offset,
        },
        BtrfsExtentKind::Regular => Place::At {
            extent: 0,
            offset: found.disk_bytenr.saturating_add(found.offset),
        },
        BtrfsExtentKind::Preallocated => Place::Zeros,
        BtrfsExtentKind::Inline | BtrfsExtentKind::Unknown => Place::Unknown,
    };
    extent(found.logical, found.length, place)
}

fn extent(begin: u64, length: u64, place: Place) -> io::Result<Extent> {
    let end = begin
        .checked_add(length)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Extent { begin, end, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(flags: u32) -> Place {
        from_fiemap(&FileExtent {
            logical: 0,
            physical: 7,
            length: 1,
            flags,
        })
        .unwrap()
        .place
    }

    #[test]
    fn only_what_is_plainly_on_the_disk_has_a_place() {
        assert_eq!(
            place(0),
            Place::At {
                extent: 0,
                offset: 7
            }
        );
        assert_eq!(
            place(0x1 | 0x1000 | 0x2000),
            Place::At {
                extent: 0,
                offset: 7
            }
        );
        assert_eq!(place(0x1 | UNWRITTEN), Place::Zeros);
        for flag in (0..32)
            .map(|bit| 1 << bit)
            .filter(|flag| flag & UNDERSTOOD == 0)
        {
            assert_eq!(place(flag), Place::Unknown, "{flag:x}");
            assert_eq!(place(flag | UNWRITTEN), Place::Unknown, "{flag:x}");
        }
    }
}
