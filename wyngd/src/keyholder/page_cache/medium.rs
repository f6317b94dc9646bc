// SPDX-License-Identifier: GPL-3.0-or-later
//! What the medium has: its holes, and its bytes past the page cache.

use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use super::pages::{drop_pages, folios};

/// The smallest block of any device, bytes.
const SECTOR_BYTES: usize = 512;

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    /// Past the page cache, in whole blocks.
    Direct,
    /// Through the page cache.
    PageCache,
}

/// The next range at or after `offset` that may hold data; `None` when only holes follow.
pub(in crate::keyholder) fn find_data(
    file: &OwnedFd,
    offset: u64,
    size_bytes: u64,
) -> Result<Option<Range<u64>>, Errno> {
    if offset >= size_bytes {
        return Ok(None);
    }
    let begin = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes: all is data.
        Err(Errno::INVAL) => return Ok(Some(offset..size_bytes)),
        Err(errno) => return Err(errno),
    };
    match rustix::fs::seek(file, SeekFrom::Hole(begin)) {
        Ok(end) => Ok(Some(begin..end.max(begin.saturating_add(1)))),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Fills `bytes` from `offset` with what the medium has, and not the page cache; returns how many
/// bytes, less only at the end. Dirty pages are written out first. `offset` and `bytes` should be
/// whole blocks; where they are not, or where the file system has no direct reads, clean pages are
/// dropped and the rest is read through the page cache.
pub(in crate::keyholder) fn read_medium(
    file: &OwnedFd,
    offset: u64,
    bytes: &mut [u8],
) -> Result<usize, Errno> {
    // Some file systems take what is in the page cache for a direct read too, where an extent is
    // compressed.
    drop_pages(file, &folios(offset, bytes.len()));
    let flags = rustix::fs::fcntl_getfl(file)?;
    if rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT).is_ok() {
        let read = read_blocks(file, offset, bytes, Through::Direct);
        rustix::fs::fcntl_setfl(file, flags)?;
        match read {
            Err(Errno::INVAL | Errno::NOTSUP) => {}
            read => return read,
        }
    }
    read_blocks(file, offset, bytes, Through::PageCache)
}

/// Fills `bytes` from `offset`; returns how many bytes. A direct read ends at the first number of
/// bytes that is not whole blocks: that is the end of the file.
fn read_blocks(
    file: &OwnedFd,
    offset: u64,
    bytes: &mut [u8],
    through: Through,
) -> Result<usize, Errno> {
    let mut done = 0usize;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::pread(file, &mut *rest, offset.saturating_add(done as u64))
        })?;
        done = done.saturating_add(read);
        if read == 0 || (through == Through::Direct && !read.is_multiple_of(SECTOR_BYTES)) {
            break;
        }
    }
    Ok(done)
}
