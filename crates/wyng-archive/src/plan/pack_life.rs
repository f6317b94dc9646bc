// SPDX-License-Identifier: GPL-3.0-or-later
//! The life of a pack: live, given up, going, gone. Each step is a commit.
//!
//! ```text
//! live ──prune, compact──▶ given up ──hold-off and proof──▶ going ──DELETE──▶ entry dropped
//!   ▲                          │
//!   └────────undelete──────────┘
//! ```

use super::stamp::Stamp;

/// Since when a pack is given up, and where its records went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    /// Run number and kept clock of the commit that gave it up.
    pub at: Stamp,
    /// The packs that took over its records; `None` if nothing in it was alive.
    pub heirs: Option<Heirs>,
}

/// A range of pack numbers, both included. It may cover packs that took over nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heirs {
    /// The lowest number.
    pub first: u64,
    /// The highest number.
    pub last: u64,
}

impl Heirs {
    /// A range; `None` if it would be empty.
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }
}

/// What a pack is to the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its records may be used and referred to.
    Live,
    /// Nothing refers to it. It can be made live again.
    GivenUp(GivenUp),
    /// It is being deleted. It is never made live again.
    Going(GivenUp),
    /// It was found missing or damaged.
    Lost,
}

/// An entry of the pack table, as the planners see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// Its length, bytes.
    pub length_bytes: u64,
    /// See [`State`].
    pub state: State,
}
