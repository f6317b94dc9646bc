// SPDX-License-Identifier: GPL-3.0-or-later
//! Dropping pages of a file from the page cache, by advice that the kernel may refuse.

use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::Advice;

/// Maximum size of a folio, in which the kernel caches, bytes. It drops no folio of which a part is
/// to stay.
const FOLIO_BYTES: u64 = 4 << 20;

/// The whole folios in which `length` bytes from `offset` may be cached.
pub(super) fn folios(offset: u64, length: usize) -> Range<u64> {
    let end = offset
        .saturating_add(length as u64)
        .checked_next_multiple_of(FOLIO_BYTES)
        .unwrap_or(u64::MAX);
    offset / FOLIO_BYTES * FOLIO_BYTES..end
}

/// Begins to write the dirty pages of a range, and drops the clean ones.
pub(super) fn drop_pages(file: &OwnedFd, range: &Range<u64>) {
    let Some(length) = NonZeroU64::new(range.end.saturating_sub(range.start)) else {
        return;
    }; // a length of 0 would mean everything
    let _ = rustix::fs::fadvise(file, range.start, Some(length), Advice::DontNeed); // advice only
}
