// SPDX-License-Identifier: GPL-3.0-or-later
//! The folders in which configured volumes and their base snapshots lie, for the jail. It opens no
//! volume.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};
use wyng_config::folder_of_qubes;
use wyng_origin::SYSFS;
use wyng_snapshot::Folder;

/// The folder of all devices.
const DEVICES: &str = "/dev";

/// The folder in which a configured volume lies as long as this process lives. Names of devices are
/// links, so the folder of all devices is `/dev`; a qube's own folder may be made anew, so that of
/// a pool's volumes is the folder of all qubes.
fn folder_of(path: &Path) -> Option<PathBuf> {
    if path.starts_with(DEVICES) {
        return Some(PathBuf::from(DEVICES));
    }
    folder_of_qubes(path)
        .or_else(|| path.parent())
        .map(Path::to_owned)
}

/// The folder of base snapshots of each configured volume; volumes of one file system share it.
pub(super) fn snapshot_folders(
    volumes: &BTreeMap<String, PathBuf>,
) -> BTreeMap<String, Rc<Folder>> {
    let mut folders: BTreeMap<String, Rc<Folder>> = BTreeMap::new();
    for (name, path) in volumes {
        // A volume's name may be a link to where it lies; and it may not be there yet.
        let lies = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let folder = folder_of(&lies)
            .filter(|folder| !folder.starts_with(DEVICES))
            .and_then(|folder| Folder::above(&folder));
        let Some(folder) = folder else { continue };
        let shared = folders
            .values()
            .find(|known| known.path() == folder.path())
            .cloned();
        folders.insert(name.clone(), shared.unwrap_or_else(|| Rc::new(folder)));
    }
    folders
}

/// The folders in which configured volumes lie, as far as they exist: a file may be replaced, a
/// device made anew; with `devices`, that of all devices too. With them the folder in which the
/// kernel lists the marks of devices.
pub(super) fn folders_of(volumes: &BTreeMap<String, PathBuf>, devices: bool) -> Vec<OwnedFd> {
    let leads_to = volumes
        .values()
        .filter_map(|path| std::fs::canonicalize(path).ok());
    let mut folders: BTreeSet<PathBuf> = volumes
        .values()
        .cloned()
        .chain(leads_to)
        .filter_map(|path| folder_of(&path))
        .collect();
    if devices {
        folders.insert(DEVICES.into());
    }
    if !folders.is_empty() {
        folders.insert(SYSFS.into());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    folders
        .iter()
        .filter_map(|folder| rustix::fs::open(folder, flags, Mode::empty()).ok())
        .collect()
}
