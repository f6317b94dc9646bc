// SPDX-License-Identifier: GPL-3.0-or-later
//! What the uploads of a call share: the space that they take, and the line in which they send.

use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Maximum time that the blocks of an upload wait for those of the one before.
const LINE_MAX: Duration = Duration::from_secs(5);

/// What the uploads of a call share.
#[derive(Default)]
pub(super) struct Uploads {
    /// Bytes of the blobs that are being stored, which free space must be enough for.
    pub(super) open_bytes: AtomicU64,
    /// Whether an upload sends most of its blocks. Uploads that begin together would end together,
    /// and nothing would be sent while both wait for their answers.
    is_sending: Mutex<bool>,
    changed: Condvar,
}

/// The right to send blocks, until most of them are sent.
pub(super) struct Line<'u>(&'u Uploads);

impl Uploads {
    /// Waits until most blocks of the upload before are sent; `None` if that takes too long.
    pub(super) fn line_up(&self) -> Option<Line<'_>> {
        let is_sending = self
            .is_sending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (mut is_sending, waited) = self
            .changed
            .wait_timeout_while(is_sending, LINE_MAX, |is_sending| *is_sending)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *is_sending = true;
        Some(Line(self))
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        *self
            .0
            .is_sending
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = false;
        self.0.changed.notify_one();
    }
}
