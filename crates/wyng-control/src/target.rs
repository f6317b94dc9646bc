// SPDX-License-Identifier: GPL-3.0-or-later
//! The target of a restore as `wyng-ctl` finds it: its place, its kind, and why it cannot be used.

use bincode::{Decode, Encode};

use crate::failure::Failure;
use crate::kind::Unfit;
use crate::origin::{PATH_MAX_BYTES, Remembered};
use crate::thin::PoolRefusal;

/// Maximum length of a path as text, bytes: four characters stand for a byte that is not UTF-8.
const TEXT_MAX_BYTES: usize = 4 * PATH_MAX_BYTES;

/// The form of a target, which says which descriptors travel with it, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum TargetForm {
    /// A pipe or standard output, written from beginning to end: the one descriptor.
    Stream,
    /// A new, empty file: the one descriptor.
    New,
    /// A new, empty file, and the file that it replaces, for reading.
    Replacing,
    /// The file that an interrupted restore left: the one descriptor.
    Resumed,
    /// A file or block device that is changed in place, and a new file for its clone if it can be
    /// cloned.
    InPlace {
        /// The new file travels too.
        clones: bool,
        /// Length of the blocks that a thin volume gives back when they are discarded, bytes; 0 if
        /// it is none.
        discards_bytes: u32,
    },
}

impl TargetForm {
    /// The number of descriptors that travel, besides that of the base snapshot.
    pub fn descriptors(self) -> usize {
        match self {
            Self::Stream | Self::New | Self::Resumed | Self::InPlace { clones: false, .. } => 1,
            Self::Replacing | Self::InPlace { clones: true, .. } => 2,
        }
    }
}

/// What `wyng-ctl` found at a target's path. Nothing was created or changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TargetLook {
    /// The path, as [`path_text`](crate::path_text) writes it; `-` is standard output.
    pub path: String,
    /// The target, or why there can be none.
    pub found: Result<TargetFound, TargetFault>,
}

impl TargetLook {
    /// Whether the path and the sentences about it are within their bounds.
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

/// A place where a target can be created, or a target that can be changed in place.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TargetFound {
    /// A file or device is there, whose bytes are compared first.
    pub holds_bytes: bool,
    /// Bytes that are free for a new file. `None` where the number means nothing, as on file
    /// systems that compress or clone.
    pub free_bytes: Option<u64>,
    /// Holes take no space there.
    pub keeps_holes: bool,
    /// The place of a target that is changed in place, if the user did not name it for this
    /// command.
    pub remembered: Option<Remembered>,
}

/// Why something cannot be a target.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TargetFault {
    /// The system refuses it.
    Unavailable {
        /// The system's error number.
        errno: i32,
    },
    /// It exists, and `--overwrite` was not given.
    Exists,
    /// It cannot hold a volume.
    Unfit(Unfit),
    /// A volume of this name is in the pool already.
    VolumeExists,
    /// It is a block device, which can only be changed in place.
    IsDevice,
    /// It is smaller than the session.
    TooSmall {
        /// Its size, bytes.
        has_bytes: u64,
    },
    /// It is in use.
    InUse {
        /// What uses it: the end of the sentence "PATH is in use: …".
        how: String,
    },
    /// Replacing it would lose something besides its bytes.
    Loses {
        /// What would be lost: the object of "PATH would lose …".
        what: String,
    },
    /// The path from which the volume was backed up is not known.
    NoOrigin,
    /// It belongs to a qube that runs.
    OfRunningQube,
    /// It is a qube's volume in a pool of LVM.
    OfQube,
    /// No volume can be made in the thin pool.
    Pool(PoolRefusal),
    /// The user did not confirm that it is overwritten.
    NotConfirmed,
}

impl TargetFault {
    /// Whether its sentence is no longer than a path as text.
    pub fn is_bounded(&self) -> bool {
        match self {
            Self::InUse { how: said } | Self::Loses { what: said } => said.len() <= TEXT_MAX_BYTES,
            _ => true,
        }
    }

    /// The failure of a volume of `size_bytes` with the target `path`.
    pub fn of_volume(self, volume: &str, path: &str, size_bytes: u64) -> Failure {
        let (volume, path) = (volume.to_owned(), path.to_owned());
        match self {
            Self::Unavailable { errno } => Failure::TargetUnavailable {
                volume,
                path,
                errno,
            },
            Self::Exists => Failure::TargetExists { volume, path },
            Self::VolumeExists => Failure::TargetVolumeExists { volume, path },
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
            Self::OfQube => Failure::TargetOfQube { volume, path },
            Self::Pool(why) => Failure::TargetPool { volume, path, why },
            Self::NotConfirmed => Failure::NotConfirmed { volume, path },
        }
    }
}
