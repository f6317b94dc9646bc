// SPDX-License-Identifier: GPL-3.0-or-later
//! A pack as the planners of deletion see it. Each change of its state ([`PackState`]) is a commit.

use crate::format::{PackEntry, PackState};

/// An entry of the pack table, as the planners see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// Its length, bytes.
    pub length_bytes: u64,
    /// See [`PackState`].
    pub state: PackState,
}

impl From<&PackEntry> for Pack {
    fn from(entry: &PackEntry) -> Self {
        Self {
            length_bytes: entry.length_bytes.into(),
            state: entry.state,
        }
    }
}
