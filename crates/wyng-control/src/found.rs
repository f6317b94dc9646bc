// SPDX-License-Identifier: GPL-3.0-or-later
//! What one role of the daemon finds for another: at a target, and in a store.

use bincode::{Decode, Encode};

use crate::base::BaseLabel;

/// What stands already where a target is, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct There {
    /// Its size.
    pub size_bytes: u64,
    /// The target holds it already: it is changed where it is, a clone, or what an interrupted
    /// restore left.
    pub in_target: bool,
    /// The target is the thing itself, and keeps its name.
    pub in_place: bool,
    /// What a second descriptor is for.
    pub beside: Option<Beside>,
    /// What the base snapshot is of, from which changes can be asked; the base's size.
    pub base: Option<(BaseLabel, u64)>,
}

/// A file beside a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Beside {
    /// The one whose place the target takes: what is the same is copied from it.
    Old,
    /// A clone of what the target was, which it can become again.
    Kept,
}

/// What lies under a name, as far as the store can say without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Found {
    /// A blob.
    Blob {
        /// Its length.
        length_bytes: u64,
    },
    /// Something that is no blob: the name is taken.
    Foreign,
    /// Nothing.
    Nothing,
    /// The store cannot say.
    Unknown,
}
