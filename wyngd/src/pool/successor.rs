// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes that are to take the places of qubes' volumes, and what a pool has of such a volume. What
//! is done with them is decided elsewhere.

use super::names::{OwnVolume, QubeVolume};

/// A new volume that is to take the place of a qube's.
pub(super) struct Successor {
    /// Its name until then.
    pub(super) volume: OwnVolume,
    /// UUID of the volume.
    pub(super) uuid: String,
    /// The volume whose place it takes.
    pub(super) to: QubeVolume,
    /// UUID of the pool's volume.
    pub(super) pool_uuid: String,
    /// It has the name of the import, and belongs to qubesd.
    pub(super) is_placed: bool,
}

/// What a pool has of a qube's volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Looked {
    /// The size of what is kept, bytes.
    pub(super) kept_bytes: Option<u64>,
    /// The volume is what is kept: a snapshot of it, or the very one that it is a snapshot of.
    pub(super) is_back: bool,
    /// A snapshot may be made.
    pub(super) has_room: bool,
}
