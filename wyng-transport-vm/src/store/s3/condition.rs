// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the server keeps to `If-None-Match: *`, as far as this call has seen. Some servers ignore
//! it, and replace what has the key.

use std::sync::{Mutex, PoisonError};

/// What the server does with a PUT under a key that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// This call has not seen it yet.
    #[default]
    Nothing,
    /// It refuses the PUT.
    Refused,
    /// It replaces the object.
    Replaced,
}

/// What the puts of a call have seen.
#[derive(Default)]
pub(super) struct Condition(Mutex<Seen>);

impl Condition {
    pub(super) fn seen(&self) -> Seen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was seen. A server that has replaced an object once counts as one that does.
    pub(super) fn note(&self, now: Seen) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen != Seen::Replaced {
            *seen = now;
        }
    }
}
