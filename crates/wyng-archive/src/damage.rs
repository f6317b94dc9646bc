// SPDX-License-Identifier: GPL-3.0-or-later
//! What it means that an object is not what was stored: its class, its name, and the step at which
//! it failed.

use std::fmt;

/// The class of an object, as the glossary names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
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
    /// The record of a chunk.
    Record,
    /// A session key.
    Key,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slot => "slot",
            Self::Commit => "commit",
            Self::Pack => "pack",
            Self::Directory => "directory",
            Self::Node => "node",
            Self::Record => "record",
            Self::Key => "key",
        })
    }
}

/// The step of opening at which an object failed, in the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store does not have it.
    #[error("it is missing")]
    Missing,
    /// The store has it, and its disk cannot read it.
    #[error("the store cannot read it")]
    Unreadable,
    /// The store does not let its reader have it.
    #[error("the store does not allow to read it")]
    Refused,
    /// A link, folder, pipe or socket lies under its name.
    #[error("something else lies under its name")]
    Foreign,
    /// Its place does not lie inside its pack.
    #[error("its place is outside of its pack")]
    Place,
    /// Its length is not one that the object can have.
    #[error("its length is wrong")]
    Length,
    /// Its bytes do not hash to its name.
    #[error("its bytes do not match its name")]
    Hash,
    /// Two copies of a commit authenticate and differ.
    #[error("two copies of it authenticate and differ")]
    Copies,
    /// The tag does not authenticate it as this object of this archive.
    #[error("its tag is wrong")]
    Tag,
    /// The frame names an unknown coding.
    #[error("its coding is unknown")]
    Coding,
    /// It does not decompress to the stated length, within the bound.
    #[error("it does not decompress to its length")]
    Decompress,
    /// Its content has another id.
    #[error("its content has another id")]
    Id,
    /// Its content breaks a rule of its layout.
    #[error("its layout is wrong: {0}")]
    Shape(&'static str),
    /// A session key does not give the check of its entry.
    #[error("the session key does not fit its check")]
    Check,
}

/// An object that must not be used. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class} {}: {fault}", hex(object))]
pub struct Damage {
    /// What it is.
    pub class: Class,
    /// Its name in the store, or its id.
    pub object: [u8; 32],
    /// The step that failed.
    pub fault: Fault,
}

impl Damage {
    /// Names an object and what is wrong with it.
    pub fn new(class: Class, object: [u8; 32], fault: Fault) -> Self {
        Self {
            class,
            object,
            fault,
        }
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8; 32]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
            text
        })
}
