// SPDX-License-Identifier: GPL-3.0-or-later
//! Damage: an object that is not what was stored. Its class, its name, and the step that found it.

use std::fmt;

/// The class of an object, named as in the glossary.
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

/// The step at which opening an object failed, in the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store does not have the object.
    #[error("it is missing")]
    Missing,
    /// The store has the object, and its disk cannot read it.
    #[error("the store cannot read it")]
    Unreadable,
    /// The store denies permission to read the object.
    #[error("the store denies permission to read it")]
    Refused,
    /// Its name leads to a link, folder, pipe or socket.
    #[error("its name leads to something that is no file")]
    Foreign,
    /// Its place is outside of its pack.
    #[error("its place is outside of its pack")]
    Place,
    /// The object cannot have this length.
    #[error("its length is wrong")]
    Length,
    /// Its bytes do not hash to its name.
    #[error("its bytes do not match its name")]
    Hash,
    /// Two copies of a commit authenticate and differ.
    #[error("two copies of it authenticate and differ")]
    Copies,
    /// The tag does not authenticate the bytes as this object of this archive.
    #[error("its tag is wrong")]
    Tag,
    /// The frame names an unknown coding.
    #[error("its coding is unknown")]
    Coding,
    /// The frame does not decompress to the stated length, or exceeds the bound.
    #[error("it does not decompress to its stated length")]
    Decompress,
    /// Its content has another id.
    #[error("its content has another id")]
    Id,
    /// Its content breaks a rule of its layout.
    #[error("its layout is wrong: {0}")]
    Shape(&'static str),
    /// The session key differs from the check of its entry.
    #[error("the session key does not match its check")]
    Check,
}

/// An object that must not be used. No byte of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class} {}: {fault}", hex(object))]
pub struct Damage {
    /// The class of the object.
    pub class: Class,
    /// The object's name in the store, or its id.
    pub object: [u8; 32],
    /// The step that failed.
    pub fault: Fault,
}

impl Damage {
    /// Damage of the object of this class and name.
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
