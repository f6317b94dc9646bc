// SPDX-License-Identifier: GPL-3.0-or-later
//! Ids and epochs as plain values. Neither their layout nor the keys that derive them are known
//! here.

use std::fmt;

/// The archive's 16 random bytes, in clear in every slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchiveId(pub [u8; 16]);

/// The 16 random bytes of a deduplication domain. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainId(pub [u8; 16]);

/// The id by which a record is found and authenticated: the keyed hash of its plain bytes. A
/// commit's id is its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 32]);

impl Id {
    /// In place of a root: the tree has no entries.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The number of renewals of META plus 1; 1 in a new archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u32);
