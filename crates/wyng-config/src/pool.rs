// SPDX-License-Identifier: GPL-3.0-or-later
//! The names of volumes in the pools of Qubes OS: pure rules over names. The caller looks them up.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// In a pool of files each qube has its own folder in one of these two.
const FOLDERS_OF_QUBES: [&str; 2] = ["appvms", "vm-templates"];
/// The suffix of a volume's file in a pool of files, and of the file that holds its content while
/// the qube runs.
const IMAGE: &[u8] = b".img";
const DIRTY_IMAGE: &[u8] = b"-dirty.img";

/// The folder above the folder of the qube that has this volume in a pool of files. It stays when a
/// qube is removed and created again.
pub fn folder_of_qubes(volume: &Path) -> Option<&Path> {
    let above = volume.parent()?.parent()?;
    FOLDERS_OF_QUBES
        .iter()
        .any(|name| above.file_name() == Some(OsStr::new(name)))
        .then_some(above)
}

/// The file that a running qube writes to, next to its volume in a pool of files. When the qube
/// halts, the file is renamed to the volume's name.
pub fn dirty_image(volume: &Path) -> Option<PathBuf> {
    let stem = volume
        .file_name()?
        .as_bytes()
        .strip_suffix(IMAGE)
        .filter(|stem| !stem.is_empty())?;
    let dirty = OsString::from_vec([stem, DIRTY_IMAGE].concat());
    (!stem.ends_with(b"-dirty")).then(|| volume.with_file_name(dirty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qubes_folder_may_be_made_anew_and_the_one_above_it_not() {
        let folder = |path: &'static str| {
            folder_of_qubes(Path::new(path)).map(|folder| folder.to_str().unwrap())
        };
        assert_eq!(
            folder("/var/lib/qubes/appvms/work/private.img"),
            Some("/var/lib/qubes/appvms")
        );
        assert_eq!(
            folder("/pool/vm-templates/debian/root.img"),
            Some("/pool/vm-templates")
        );
        for other in [
            "/srv/images/work.img",
            "/var/lib/qubes/appvms/private.img",
            "/appvms",
            "/",
        ] {
            assert_eq!(folder(other), None, "{other}");
        }
    }

    #[test]
    fn a_running_qube_writes_beside_its_volume() {
        let dirty =
            |path: &str| dirty_image(Path::new(path)).map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(
            dirty("/p/appvms/work/private.img").as_deref(),
            Some("/p/appvms/work/private-dirty.img")
        );
        for none in [
            "/p/appvms/work/private-dirty.img",
            "/p/.img",
            "/p/private.raw",
            "/",
        ] {
            assert_eq!(dirty(none), None, "{none}");
        }
    }
}
