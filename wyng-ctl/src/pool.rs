// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes of running qubes: writes to one in place are lost when the qube halts, and its file may
//! not even exist.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use wyng_config::dirty_image;
use wyng_control::{NoSource, TargetFault, ZvolName};
use wyng_origin::{LogicalVolume, Machine};

use crate::message::Message;

/// Why a source cannot be opened: a missing volume may belong to a running qube.
pub(crate) fn why_missing(path: &Path, why: NoSource) -> NoSource {
    let is_missing = why == NoSource::Errno(Errno::NOENT.raw_os_error());
    let is_away = is_missing && dirty_image(path).is_some_and(|dirty| dirty.exists());
    if is_away { NoSource::QubeRuns } else { why }
}

/// The path of a source or target: `zfs:POOL/DATASET` leads to the device of that volume, and any
/// other is the path that it is.
pub(crate) fn path_of(named: &Path) -> Result<PathBuf, Message> {
    match named.to_str().and_then(ZvolName::of_scheme) {
        None => Ok(named.to_owned()),
        Some(Some(name)) => Ok(name.device()),
        Some(None) => Err(Message::usage(
            format!("{named:?} does not name a ZFS volume"),
            "Name it as zfs:POOL/DATASET, without spaces; or by its path below /dev/zvol.",
        )),
    }
}

/// Whether a ZFS volume has a name that Qubes OS gives to those of qubes.
fn is_of_qube(zvol: &ZvolName) -> bool {
    let parts: Vec<&str> = zvol.as_str().split('/').collect();
    let is_last_of_qube = parts
        .last()
        .is_some_and(|last| ZVOLS_OF_QUBE.contains(last));
    is_last_of_qube || parts.iter().any(|part| ZVOLS_OF_QUBES.contains(part))
}

/// Prefix of the logical volumes that belong to qubes.
const OF_QUBE: &[u8] = b"vm-";

/// Prefix of the logical volumes that are base snapshots.
const OF_SNAPSHOT: &[u8] = b"wyng-";

/// Last components of the ZFS volumes that belong to qubes.
const ZVOLS_OF_QUBE: [&str; 3] = ["root", "private", "volatile"];
/// Datasets in which Qubes OS keeps ZFS volumes of its own while it works on them.
const ZVOLS_OF_QUBES: [&str; 3] = [".importing", ".exported", ".tmp"];
/// The file that Qubes OS has in dom0 alone.
const DOM0: &str = "/var/lib/qubes/qubes.xml";

/// A target that is changed in place, as it was opened.
pub(crate) struct InPlace {
    /// The path without links.
    path: PathBuf,
    file: OwnedFd,
}

impl InPlace {
    /// Refuses the volume of a qube that runs, and every volume of a qube in a pool of LVM: Qubes
    /// OS renames and snapshots those whenever a qube starts or halts. In a pool of ZFS it goes on
    /// to clone the snapshot that it made before. `logical` is what the target is in LVM.
    pub(crate) fn new(
        path: &Path,
        target: &OwnedFd,
        logical: Option<&LogicalVolume>,
    ) -> Result<Self, TargetFault> {
        let zvol = Machine::unopened().zvol(target.as_fd());
        let is_dom0 = Path::new(DOM0).exists();
        if logical.is_some_and(|logical| logical.name.starts_with(OF_QUBE))
            || zvol
                .as_ref()
                .is_some_and(|zvol| is_dom0 && is_of_qube(zvol))
        {
            return Err(TargetFault::OfQube);
        }
        if logical.is_some_and(|logical| logical.name.starts_with(OF_SNAPSHOT))
            || zvol.is_some_and(|zvol| zvol.is_own())
        {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zfs_volume_is_named_by_its_dataset_and_leads_to_its_device() {
        let path = |named: &str| path_of(Path::new(named));
        assert_eq!(
            path("zfs:tank/a/b").unwrap(),
            Path::new("/dev/zvol/tank/a/b")
        );
        assert_eq!(path("./zfs:x").unwrap(), Path::new("./zfs:x"));
        for named in ["zfs:", "zfs:tank", "zfs:tank/../x", "zfs:tank/a b"] {
            assert!(path(named).is_err(), "{named}");
        }
    }

    #[test]
    fn the_zfs_volumes_of_qubes_are_known_by_their_names() {
        let is_of_qube = |name| is_of_qube(&ZvolName::new(name).unwrap());
        for name in [
            "tank/qubes/work/private",
            "tank/work/root",
            "tank/qubes/.importing/tank_qubes_work_private",
        ] {
            assert!(is_of_qube(name), "{name}");
        }
        assert!(!is_of_qube("tank/private/disk") && !is_of_qube("tank/my-root"));
    }
}
