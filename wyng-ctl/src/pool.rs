// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of running qubes: writes to one in place are lost when the qube halts, and its file may
//! not even exist.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;
use wyng_config::{dirty_image, mapped_snapshot};
use wyng_control::{NoSource, TargetFault};

/// Why a source cannot be opened: a missing volume may belong to a running qube.
pub(crate) fn why_missing(path: &Path, why: NoSource) -> NoSource {
    let is_missing = why == NoSource::Errno(Errno::NOENT.raw_os_error());
    let is_away = is_missing && dirty_image(path).is_some_and(|dirty| dirty.exists());
    if is_away { NoSource::QubeRuns } else { why }
}

/// A target that is changed in place, as it was opened.
pub(crate) struct InPlace {
    /// The path without links.
    path: PathBuf,
    file: OwnedFd,
}

impl InPlace {
    /// Refuses the volume of a qube that runs.
    pub(crate) fn new(path: &Path, target: &OwnedFd) -> Result<Self, TargetFault> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let file = rustix::io::fcntl_dupfd_cloexec(target, 0);
        let file = file.map_err(|errno| TargetFault::Unavailable {
            errno: errno.raw_os_error(),
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

    /// Whether a running qube writes to a snapshot that will replace it.
    fn is_written_elsewhere(&self) -> bool {
        let Ok(found) = rustix::fs::fstat(&self.file) else {
            return false;
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::BlockDevice => {
                let (major, minor) = (
                    rustix::fs::major(found.st_rdev),
                    rustix::fs::minor(found.st_rdev),
                );
                let mapped =
                    std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/dm/name"));
                let snapshot = mapped
                    .ok()
                    .and_then(|name| mapped_snapshot(name.trim_end().as_bytes()));
                snapshot
                    .is_some_and(|name| Path::new("/dev/mapper").join(OsStr::new(&name)).exists())
            }
            _ => dirty_image(&self.path).is_some_and(|dirty| dirty.exists()),
        }
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
