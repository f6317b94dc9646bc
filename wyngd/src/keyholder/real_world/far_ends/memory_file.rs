// SPDX-License-Identifier: GPL-3.0-or-later
//! Blobs in memory files, which go from process to process by their descriptors.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use wyng_jail::{new_file, seal_file};

/// A sealed memory file with these bytes. It is written and not mapped: the kernel then has no
/// pages to zero and none to fault in.
pub(super) fn memory_file(mut bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = new_file()?;
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    seal_file(&file)?;
    Ok(file)
}

/// Fills `bytes` from `offset`; returns how many bytes, less than asked only at the end.
pub(super) fn read_at(file: &OwnedFd, mut offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0usize;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, offset) {
            Ok(0) => break,
            Ok(read) => {
                done = done.saturating_add(read);
                offset = offset.saturating_add(read as u64);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}
