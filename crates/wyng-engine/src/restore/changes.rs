// SPDX-License-Identifier: GPL-3.0-or-later
//! What a restore changed in a target, from which it is read back and, if it fails, undone.

use wyng_archive::format::SessionEntry;

use crate::bits::Bits;

/// What became of a target.
#[derive(Debug)]
pub(super) struct Changes {
    /// Chunks that were written, or that may be written in part.
    pub written: Bits,
    /// Ranges behind the session's end that were cleared, bytes: `(begin, end)`.
    pub cleared: Vec<(u64, u64)>,
    /// What was behind the session's end may be cut off.
    pub cut: bool,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes that could not be read, or were not what the base snapshot said.
    pub damaged_bytes: u64,
    /// Bytes that were kept on the word of the base snapshot, unread.
    pub unread_bytes: u64,
    /// The base snapshot was found to be wrong.
    pub base_is_wrong: bool,
}

impl Changes {
    /// Nothing is changed yet.
    pub(super) fn none(session: &SessionEntry) -> Self {
        Self {
            written: Bits::none(session.chunk_count()),
            cleared: Vec::new(),
            cut: false,
            written_bytes: 0,
            damaged_bytes: 0,
            unread_bytes: 0,
            base_is_wrong: false,
        }
    }

    /// Adds what was changed later.
    pub(super) fn add(&mut self, later: Self) {
        let mut next = 0;
        while let Some(run) = later.written.next_run(next) {
            next = run.end;
            self.written.insert(run);
        }
        self.cleared.extend(later.cleared);
        self.cut |= later.cut;
        self.written_bytes = self.written_bytes.saturating_add(later.written_bytes);
        self.damaged_bytes = self.damaged_bytes.saturating_add(later.damaged_bytes);
        self.unread_bytes = self.unread_bytes.saturating_add(later.unread_bytes);
        self.base_is_wrong |= later.base_is_wrong;
    }

    /// Whether the target is still what it was, except that it may be longer.
    pub(super) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.cleared.is_empty() && !self.cut
    }
}
