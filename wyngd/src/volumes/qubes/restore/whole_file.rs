// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads small files whole.

use std::os::fd::OwnedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// All bytes of a file from its beginning; `EFBIG` where there are more than `max_bytes`.
pub(super) fn read_all(file: &OwnedFd, max_bytes: usize) -> Result<Vec<u8>, Errno> {
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    let mut all = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(file, &mut piece))?;
        if read == 0 {
            return Ok(all);
        }
        all.extend_from_slice(piece.get(..read).unwrap_or_default());
        if all.len() > max_bytes {
            return Err(Errno::FBIG);
        }
    }
}
