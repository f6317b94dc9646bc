// SPDX-License-Identifier: GPL-3.0-or-later
//! The page cache is left as it was: what a backup reads or a restore writes does not push out what the machine works with.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// So much of a file is written before its pages are written out.
const BEHIND_BYTES: u64 = 8 << 20;
/// So many times as much may be on its way to the disk before its pages are dropped.
const BEHIND_RANGES: usize = 8;

/// The ranges of a file that were written last. Their pages are written out early and then dropped from the page cache, which stays as it
/// was; and a file does not take fresh pages for each of its bytes, which costs more than to write them.
#[derive(Default)]
pub(super) struct Behind {
    open: Range<u64>,
    open_bytes: u64,
    closed: VecDeque<Range<u64>>,
}

impl Behind {
    /// Notes what is about to be written.
    pub(super) fn note(&mut self, file: &OwnedFd, offset: u64, bytes: u64) {
        if self.open_bytes >= BEHIND_BYTES {
            let full = std::mem::take(&mut self.open);
            self.open_bytes = 0;
            drop_pages(file, &full); // none is clean yet, so this only begins to write them
            self.closed.push_back(full);
        }
        while self.closed.len() > BEHIND_RANGES {
            let Some(old) = self.closed.pop_front() else { break };
            drop_pages(file, &old);
        }
        let end = offset.saturating_add(bytes);
        self.open = if self.open_bytes == 0 { offset..end } else { self.open.start.min(offset)..self.open.end.max(end) };
        self.open_bytes = self.open_bytes.saturating_add(bytes);
    }
}

/// Begins to write the pages of a range, and drops those that are written.
fn drop_pages(file: &OwnedFd, range: &Range<u64>) {
    let length = NonZeroU64::new(range.end.saturating_sub(range.start));
    let _ = rustix::fs::fadvise(file, range.start, length, rustix::fs::Advice::DontNeed); // advice only
}
