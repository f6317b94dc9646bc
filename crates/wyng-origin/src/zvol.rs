// SPDX-License-Identifier: GPL-3.0-or-later
//! ZFS volumes, from udev's links to their devices. A device's own name says nothing of its volume.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::Dev;
use wyng_control::{ZVOLS, ZvolName};

/// Maximum number of datasets in each other.
const LEVELS_MAX: usize = 50;
/// Maximum number of links and folders that are looked at.
const ENTRIES_MAX: usize = 100_000;

/// Whether this machine has ZFS volumes. Every user may know it.
pub fn has_zvols() -> bool {
    Path::new(ZVOLS).exists()
}

/// The ZFS volume whose device this is, if udev made its link, and its name has no strange
/// characters.
pub(crate) fn zvol(root: &Path, device: Dev) -> Option<ZvolName> {
    let top = root.join(ZVOLS.trim_start_matches('/'));
    let mut folders = vec![(top.clone(), 0_usize)];
    let mut seen = 0_usize;
    while let Some((folder, level)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen = seen.saturating_add(1);
            if seen > ENTRIES_MAX {
                return None;
            }
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if level < LEVELS_MAX {
                    folders.push((path, level.saturating_add(1)));
                }
                continue;
            }
            let leads_there = std::fs::metadata(&path)
                .is_ok_and(|found| found.file_type().is_block_device() && found.rdev() == device);
            if leads_there {
                return ZvolName::new(path.strip_prefix(&top).ok()?.to_str()?);
            }
        }
    }
    None
}
