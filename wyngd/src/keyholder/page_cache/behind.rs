// SPDX-License-Identifier: GPL-3.0-or-later
//! What a restore wrote through the page cache, until its pages are dropped.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::pages::drop_pages;

/// Bytes of a file that are written before their pages are written out.
const BEHIND_BYTES: u64 = 8 << 20;
/// Maximum number of such ranges that are on their way to the disk before their pages are dropped.
const BEHIND_RANGES: usize = 8;

/// The ranges of a file that were written last. Their pages are written out early and then dropped
/// from the page cache, which stays as it was; and a file does not take fresh pages for each of its
/// bytes, which costs more than to write them.
#[derive(Default)]
pub(in crate::keyholder) struct Behind {
    open: Range<u64>,
    open_bytes: u64,
    closed: VecDeque<Range<u64>>,
}

impl Behind {
    /// Drops what is left, which is synced.
    pub(in crate::keyholder) fn drop_all(&mut self, file: &OwnedFd) {
        self.closed.push_back(std::mem::take(&mut self.open));
        self.closed
            .drain(..)
            .for_each(|range| drop_pages(file, &range));
    }

    /// Notes what is about to be written.
    pub(in crate::keyholder) fn note(&mut self, file: &OwnedFd, offset: u64, bytes: u64) {
        if self.open_bytes >= BEHIND_BYTES {
            let full = std::mem::take(&mut self.open);
            self.open_bytes = 0;
            drop_pages(file, &full); // none is clean yet, so this only begins to write them
            self.closed.push_back(full);
        }
        while self.closed.len() > BEHIND_RANGES {
            let Some(old) = self.closed.pop_front() else {
                break;
            };
            drop_pages(file, &old);
        }
        let end = offset.saturating_add(bytes);
        self.open = if self.open_bytes == 0 {
            offset..end
        } else {
            self.open.start.min(offset)..self.open.end.max(end)
        };
        self.open_bytes = self.open_bytes.saturating_add(bytes);
    }
}
