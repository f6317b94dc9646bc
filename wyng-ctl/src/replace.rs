// SPDX-License-Identifier: GPL-3.0-or-later
//! Replaces a small file of the caller atomically. Readers see the old file or the new one, and a
//! link that somebody else made leads the write nowhere.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Maximum number of links that are followed, as in the kernel.
const LINKS_MAX: usize = 40;
/// The mode of the file, whatever the umask: monitoring systems run as users of their own.
const MODE: Mode = Mode::from_raw_mode(0o644);

/// Replaces the file at an absolute path: writes a temporary file beside it, syncs and renames it.
/// A link at the path itself is replaced, not followed.
///
/// # Errors
/// The path has no name or leads over a link that belongs neither to root nor to the caller, or a
/// system call failed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it names no file"));
    };
    let folder = open_folder(parent)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    match rustix::fs::unlinkat(&folder, &hidden, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let replaced = write(&folder, &hidden, bytes).and_then(|()| {
        rustix::fs::renameat(&folder, &hidden, &folder, name)?;
        Ok(())
    });
    if replaced.is_err() {
        // The first failure is the one to report.
        let _ = rustix::fs::unlinkat(&folder, &hidden, AtFlags::empty());
    }
    replaced?;
    Ok(rustix::fs::fsync(&folder)?)
}

fn write(folder: &OwnedFd, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(folder, name, flags, MODE)?;
    let mut file = std::fs::File::from(file);
    rustix::fs::fchmod(&file, MODE)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens a folder component by component. A link on the way must belong to root or to the caller,
/// as in folders that are both sticky and writable for everybody only its owner can replace it.
fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let top = || rustix::fs::open("/", folder_flags(), Mode::empty());
    let (mut folder, mut links) = (top()?, 0_usize);
    let mut left: VecDeque<PathBuf> = components(path);
    while let Some(name) = left.pop_front() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&folder, &name, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&opened)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            folder = rustix::fs::openat(&folder, &name, folder_flags(), Mode::empty())?;
            continue;
        }
        if ![0, rustix::process::geteuid().as_raw()].contains(&found.st_uid) {
            return Err(io::Error::other(format!(
                "{} on its path is a link of another user",
                name.display()
            )));
        }
        links = links.saturating_add(1);
        if links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&opened, "", Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            folder = top()?;
        }
        let mut then = components(target);
        then.append(&mut left);
        left = then;
    }
    Ok(folder)
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn components(path: &Path) -> VecDeque<PathBuf> {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| AsRef::<Path>::as_ref(&component).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_with_everybody_allowed_to_read_it_and_nothing_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.json");
        for text in ["first", "second"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o644);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(Path::new("/"), b"").is_err());
    }

    #[test]
    fn a_link_at_the_path_is_replaced_and_what_it_leads_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("status"), folder.path().join("other"));
        std::fs::write(&other, "precious").unwrap();
        symlink(&other, &path).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
        assert!(path.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn a_link_on_the_way_is_followed_only_if_it_belongs_to_root_or_to_the_caller() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        symlink("./real/../real", &link).unwrap();
        replace(&link.join("status"), b"own").unwrap();
        assert_eq!(std::fs::read(real.join("status")).unwrap(), b"own");
        // Only root can make a link of another user, which the test needs.
        if folder.path().metadata().unwrap().uid() == 0 {
            std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
            let refused = replace(&link.join("status"), b"another").unwrap_err();
            assert!(refused.to_string().contains("another user"), "{refused}");
            assert_eq!(std::fs::read(real.join("status")).unwrap(), b"own");
        }
    }
}
