// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of qubes that run: what is written to one in its place is lost when the qube halts, and
//! it may not even be there.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;
use wyng_config::{dirty_image, mapped_snapshot};
use wyng_control::{NoSource, TargetFault};

/// Why a source cannot be opened: a volume that is not there may be away while its qube runs.
pub(crate) fn why_missing(path: &Path, why: NoSource) -> NoSource {
    let is_missing = why == NoSource::Errno(Errno::NOENT.raw_os_error());
    let is_away = is_missing && dirty_image(path).is_some_and(|dirty| dirty.exists());
    if is_away { NoSource::QubeRuns } else { why }
}

/// A target that is changed where it is, as it was opened.
pub(crate) struct InPlace {
    /// Without links.
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

    /// Its path, if what was written there is not what stands there now, or not for long: its qube
    /// was started meanwhile.
    pub(crate) fn lost(&self) -> Option<&Path> {
        (self.is_written_elsewhere() || !self.still_there()).then_some(&self.path)
    }

    /// Whether a qube writes to something that will take its place.
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
