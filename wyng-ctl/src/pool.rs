// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of running qubes: writes to one in place are lost when the qube halts, and its file may
//! not even exist.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use wyng_config::dirty_image;
use wyng_control::{NoSource, TargetFault};
use wyng_origin::LogicalVolume;

/// Why a source cannot be opened: a missing volume may belong to a running qube.
pub(crate) fn why_missing(path: &Path, why: NoSource) -> NoSource {
    let is_missing = why == NoSource::Errno(Errno::NOENT.raw_os_error());
    let is_away = is_missing && dirty_image(path).is_some_and(|dirty| dirty.exists());
    if is_away { NoSource::QubeRuns } else { why }
}

/// Prefix of the logical volumes that belong to qubes.
const OF_QUBE: &[u8] = b"vm-";

/// Prefix of the logical volumes that are base snapshots.
const OF_SNAPSHOT: &[u8] = b"wyng-";

/// A target that is changed in place, as it was opened.
pub(crate) struct InPlace {
    /// The path without links.
    path: PathBuf,
    file: OwnedFd,
}

impl InPlace {
    /// Refuses the volume of a qube that runs, and every volume of a qube in a pool of LVM: Qubes
    /// OS renames and snapshots those whenever a qube starts or halts. `logical` is what the target
    /// is in LVM.
    pub(crate) fn new(
        path: &Path,
        target: &OwnedFd,
        logical: Option<&LogicalVolume>,
    ) -> Result<Self, TargetFault> {
        if logical.is_some_and(|logical| logical.name.starts_with(OF_QUBE)) {
            return Err(TargetFault::OfQube);
        }
        if logical.is_some_and(|logical| logical.name.starts_with(OF_SNAPSHOT)) {
            return Err(TargetFault::InUse {
                how: "its name is that of a snapshot of Wyng's, which the next backup removes"
                    .to_owned(),
            });
        }
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let file = target.as_fd().try_clone_to_owned();
        let file = file.map_err(|error| TargetFault::Unavailable {
            errno: error.raw_os_error().unwrap_or(0),
        })?;
        let in_place = Self { path, file };
        if in_place.is_written_elsewhere() {
            Err(TargetFault::OfRunningQube)
        } else {
            Ok(in_place)
        }
    }

    /// The target's path, if its qube was started meanwhile: the written content is then no longer
    /// there, or will be replaced.
    pub(crate) fn lost(&self) -> Option<&Path> {
        (self.is_written_elsewhere() || !self.still_there()).then_some(&self.path)
    }

    /// Whether a running qube writes to a file that will replace it.
    fn is_written_elsewhere(&self) -> bool {
        dirty_image(&self.path).is_some_and(|dirty| dirty.exists())
    }

    fn still_there(&self) -> bool {
        let (Ok(opened), Ok(named)) = (rustix::fs::fstat(&self.file), rustix::fs::stat(&self.path))
        else {
            return false;
        };
        (opened.st_dev, opened.st_ino, opened.st_rdev)
            == (named.st_dev, named.st_ino, named.st_rdev)
    }
}
