// SPDX-License-Identifier: GPL-3.0-or-later
//! The target of a restore as the caller sees it: where it is, what it is, and why it cannot be
//! used.

use bincode::{Decode, Encode};

use crate::failure::Failure;
use crate::kind::Unfit;
use crate::origin::{PATH_MAX_BYTES, Remembered};

/// Four characters stand for a byte of a path that is no text.
const TEXT_MAX_BYTES: usize = 4 * PATH_MAX_BYTES;

/// How a target is handed over, and which descriptors travel with it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum TargetForm {
    /// A pipe, or standard output: it alone, written from begin to end.
    Stream,
    /// A new, empty file: it alone.
    New,
    /// A new, empty file, and the one whose place it takes, for reading.
    Replacing,
    /// The file that an interrupted restore left: it alone.
    Resumed,
    /// A file or block device that is changed where it is; and where it can be cloned, a new file
    /// for its clone.
    InPlace {
        /// The new file travels.
        clones: bool,
    },
}

impl TargetForm {
    /// How many descriptors travel, without the base snapshot's.
    pub fn descriptors(self) -> usize {
        match self {
            Self::Stream | Self::New | Self::Resumed | Self::InPlace { clones: false } => 1,
            Self::Replacing | Self::InPlace { clones: true } => 2,
        }
    }
}

/// What the caller found where a target goes. Nothing was made or changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TargetLook {
    /// The path, as [`path_text`](crate::path_text) writes it; `-` is standard output.
    pub path: String,
    /// What is there, or why it cannot be a target.
    pub found: Result<TargetFound, TargetFault>,
}

impl TargetLook {
    /// Does it keep to the bounds of a path and of the sentences about it?
    pub fn is_bounded(&self) -> bool {
        let is_found_bounded = match &self.found {
            Ok(found) => found
                .remembered
                .iter()
                .all(|known| known.origin.is_bounded()),
            Err(fault) => fault.is_bounded(),
        };
        self.path.len() <= TEXT_MAX_BYTES && is_found_bounded
    }
}

/// A place where a target can be made, or a target that can be changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TargetFound {
    /// Something is there whose bytes are compared first.
    pub holds_bytes: bool,
    /// Bytes that are free for a new file; none where that cannot be told, as on file systems that
    /// compress or clone.
    pub free_bytes: Option<u64>,
    /// Holes take no room there.
    pub keeps_holes: bool,
    /// Where it lies, if it is changed in place and the person did not name this place for this
    /// very command.
    pub remembered: Option<Remembered>,
}

/// Why something cannot be a target.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TargetFault {
    /// The system's own word (`errno`).
    Unavailable {
        /// See above.
        errno: i32,
    },
    /// It exists, and is not to be replaced.
    Exists,
    /// It can hold no volume.
    Unfit(Unfit),
    /// A block device is only written where it is.
    IsDevice,
    /// It is smaller than the session.
    TooSmall {
        /// Its size.
        has_bytes: u64,
    },
    /// Somebody uses it.
    InUse {
        /// Who, as a part of a sentence: "PATH is …".
        how: String,
    },
    /// Replacing it would lose something that is not a byte of it.
    Loses {
        /// What, as a part of a sentence: "PATH would lose …".
        what: String,
    },
    /// Nobody knows where the volume was backed up from.
    NoOrigin,
    /// It belongs to a qube that runs.
    OfRunningQube,
    /// The person did not agree to overwrite it.
    NotConfirmed,
}

impl TargetFault {
    /// Is what it says about somebody or something no longer than a path?
    pub fn is_bounded(&self) -> bool {
        match self {
            Self::InUse { how: said } | Self::Loses { what: said } => said.len() <= TEXT_MAX_BYTES,
            _ => true,
        }
    }

    /// As it is reported of a volume of `size_bytes` whose target is `path`.
    pub fn of_volume(self, volume: &str, path: &str, size_bytes: u64) -> Failure {
        let (volume, path) = (volume.to_owned(), path.to_owned());
        match self {
            Self::Unavailable { errno } => Failure::TargetUnavailable {
                volume,
                path,
                errno,
            },
            Self::Exists => Failure::TargetExists { volume, path },
            Self::Unfit(kind) => Failure::TargetKind { volume, path, kind },
            Self::IsDevice => Failure::TargetIsDevice { volume, path },
            Self::TooSmall { has_bytes } => Failure::TargetTooSmall {
                volume,
                path,
                has_bytes,
                size_bytes,
            },
            Self::InUse { how } => Failure::TargetInUse { volume, path, how },
            Self::Loses { what } => Failure::TargetLoses { volume, path, what },
            Self::NoOrigin => Failure::NoOrigin { volume },
            Self::OfRunningQube => Failure::TargetOfRunningQube { volume, path },
            Self::NotConfirmed => Failure::NotConfirmed { volume, path },
        }
    }
}
