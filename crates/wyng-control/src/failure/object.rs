// SPDX-License-Identifier: GPL-3.0-or-later
//! The kinds of objects in a store that a failure can be about.

use bincode::{Decode, Encode};

/// What kind of object a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ObjectClass {
    /// A key slot.
    Slot,
    /// A commit.
    Commit,
    /// A pack.
    Pack,
    /// The directory of a pack.
    Directory,
    /// A node of a tree.
    Node,
    /// A chunk's record.
    Record,
    /// A session key.
    Key,
}

impl ObjectClass {
    /// The word of the glossary.
    pub fn word(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Commit => "commit",
            Self::Pack => "pack",
            Self::Directory => "directory",
            Self::Node => "node",
            Self::Record => "record",
            Self::Key => "key",
        }
    }
}
