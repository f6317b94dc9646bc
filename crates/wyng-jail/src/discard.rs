// SPDX-License-Identifier: GPL-3.0-or-later
//! Giving back the blocks of a block device, as a safe function.
//!
//! BLKDISCARD: `include/uapi/linux/fs.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IO(0x12, 119)`.
pub(crate) const BLKDISCARD: u32 = 0x1277;

/// Discards `length` bytes of a block device from `offset` on, and what the page cache has of them.
/// The device must be open for writing. What is read there afterwards depends on the device: a
/// thin volume reads as zeros where whole blocks of its pool were discarded, and reports success
/// without any effect on parts of blocks.
pub fn discard(device: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: the kernel reads two 64-bit numbers at the pointer.
    if unsafe { libc::ioctl(device.as_raw_fd(), BLKDISCARD as _, range.as_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
