// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between volumes and keyholder: sources, what changed in them, and targets. A descriptor
//! travels beside a message only where its line says so.

use bincode::{Decode, Encode};
use wyng_control::{
    BaseLabel, BaseOf, FoundSource, Method, NoSource, Remembered, TargetFault, TargetKind, There,
};

/// Ranges in one message: each is at most 18 bytes of it.
pub const CHANGES_MAX: usize = 2048;

/// keyholder → volumes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyholderToVolumes {
    /// The command has ended: what was kept for it is closed.
    EndAll,
    /// A source, for reading.
    OpenSource {
        /// Its number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// Whose base snapshot to look for.
        base_of: BaseOf,
        /// The path that it was backed up from, if the command itself does not say it.
        origin: Option<Vec<u8>>,
    },
    /// The next ranges that changed since the base.
    NextChanges {
        /// The source's number.
        item: u32,
    },
    /// The source's session is committed: what it was read from is the base from now on.
    Rotate {
        /// The source's number.
        item: u32,
        /// What it is of.
        label: BaseLabel,
    },
    /// The base snapshot of this source or target is not what its label says: it is removed.
    /// Nothing is answered.
    DropBase {
        /// Its number.
        item: u32,
    },
    /// This source has no session that is to be committed, or this target is done with.
    CloseSource {
        /// Its number.
        item: u32,
    },
    /// A target.
    OpenTarget {
        /// Its number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// How many bytes it will have.
        size_bytes: u64,
        /// Whose base snapshot to look for.
        base_of: BaseOf,
        /// It is changed where it is.
        in_place: bool,
        /// The path that the volume was backed up from.
        origin: Option<Vec<u8>>,
    },
    /// A target that was changed where it is becomes again what it was.
    Undo {
        /// Its number.
        item: u32,
    },
}

/// volumes → keyholder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum VolumesToKeyholder {
    /// A source; with its descriptor.
    Source {
        /// Its number.
        item: u32,
        /// Its size now.
        size_bytes: u64,
        /// The descriptor is a snapshot, which can become a base.
        snapshot: bool,
        /// What the snapshot's base is of, and the base's size.
        base: Option<(BaseLabel, u64)>,
        /// Where it lies.
        found: FoundSource,
        /// Peak of the volumes role's resident memory.
        peak_rss_bytes: u64,
    },
    /// The source could not be opened.
    NoSource {
        /// Its number.
        item: u32,
        /// The path that was tried.
        path: Vec<u8>,
        /// Why.
        why: NoSource,
    },
    /// Where bytes may have changed since the base: ranges `(begin, end)`, ascending, apart, at
    /// most [`CHANGES_MAX`]; none: that was all.
    Changes {
        /// The source's number.
        item: u32,
        /// How they were found.
        method: Method,
        /// Bytes of the source.
        ranges: Vec<(u64, u64)>,
    },
    /// What changed cannot be told.
    NoChanges {
        /// The source's number.
        item: u32,
    },
    /// The snapshot is the base now, or `errno` says why not.
    Rotated {
        /// The source's number.
        item: u32,
        /// 0, or what the system said.
        errno: i32,
    },
    /// A target; with its descriptor, and behind it that of what [`There::beside`] names.
    Target {
        /// Its number.
        item: u32,
        /// What kind of thing it is.
        kind: TargetKind,
        /// What is there.
        there: Option<There>,
        /// Where it lies, unless the person named this place for this very command.
        remembered: Option<Remembered>,
    },
    /// The target is again what it was, or `errno` says why not.
    Undone {
        /// Its number.
        item: u32,
        /// 0, or what the system said.
        errno: i32,
    },
    /// The target cannot be had.
    NoTarget {
        /// Its number.
        item: u32,
        /// Why.
        fault: TargetFault,
    },
}
