// SPDX-License-Identifier: GPL-3.0-or-later
//! Blobs are read from the disk, not from the page cache, where pages that were just written would
//! hide a sector that has rotted since. Nothing stays in the cache after a blob was read.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};
use rustix::io::fcntl_dupfd_cloexec;
use wyng_wire::BlobName;

/// Maximum number of blobs of which ranges are read in turns. Read-ahead of one range serves the
/// next range, so that nothing is read twice.
const BLOBS_MAX: usize = 16;

/// The blobs that were opened last, in the order of their first range.
#[derive(Default)]
pub(super) struct FromDisk(Mutex<VecDeque<(BlobName, OwnedFd)>>);

impl FromDisk {
    /// To be called before a range of a blob is read. The first call drops the blob's pages from
    /// the page cache; they are clean, because the store was synced when it was opened.
    pub(super) fn begin(&self, name: &BlobName, file: &OwnedFd) {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if blobs.iter().any(|(known, _)| known == name) {
            return;
        }
        drop_pages(file);
        let Ok(file) = fcntl_dupfd_cloexec(file, 0) else {
            return;
        }; // the next range starts from the disk again
        blobs.push_back((*name, file));
        if let Some((_, done)) = (blobs.len() > BLOBS_MAX)
            .then(|| blobs.pop_front())
            .flatten()
        {
            drop_pages(&done);
        }
    }
}

impl Drop for FromDisk {
    fn drop(&mut self) {
        self.0
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .for_each(|(_, file)| drop_pages(file));
    }
}

/// Drops the pages of a synced file, so that the next read comes from the disk.
pub(super) fn drop_pages(file: impl AsFd) {
    let _ = fadvise(file, 0, None, Advice::DontNeed); // advice only
}
