// SPDX-License-Identifier: GPL-3.0-or-later
//! Blobs are read from the disk and not from the page cache: what was just written there would hide
//! a sector that has rotted since. And what is read once leaves nothing behind in that cache.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, fadvise};
use rustix::io::fcntl_dupfd_cloexec;
use wyng_wire::BlobName;

/// Blobs that are read in ranges by turns. What is read ahead of one range serves the next one, so
/// that nothing is read twice.
const BLOBS_MAX: usize = 16;

/// The blobs that were opened last, in the order of their first range.
#[derive(Default)]
pub(super) struct FromDisk(Mutex<VecDeque<(BlobName, OwnedFd)>>);

impl FromDisk {
    /// A blob is about to be read. The first time, what the page cache has of it is dropped; it is
    /// clean, since the store was synced when it was opened.
    pub(super) fn begin(&self, name: &BlobName, file: &OwnedFd) {
        let mut blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if blobs.iter().any(|(known, _)| known == name) {
            return;
        }
        drop_pages(file);
        let Ok(file) = fcntl_dupfd_cloexec(file, 0) else {
            return;
        }; // the next range begins anew
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

/// Has the next read of a file that is synced come from the disk.
pub(super) fn drop_pages(file: impl AsFd) {
    let _ = fadvise(file, 0, None, Advice::DontNeed); // advice only
}
