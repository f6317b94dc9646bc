// SPDX-License-Identifier: GPL-3.0-or-later
//! Sources: opening one by the path that a person named, and looking at what that leads to. It
//! decides nothing: whether a source is the one that was backed up before is for the keyholder,
//! which remembers.
//!
//! `wyng-ctl` works here with the caller's rights. The volumes role does so in its jail, which
//! leaves it `/sys` and the folders of configured volumes; what lies elsewhere is opened before, by
//! [`Machine::open`].
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod device;
mod mounts;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use wyng_control::{FileKind, FoundSource, NoSource, Origin};

pub use device::SYSFS;

/// What this machine says of its devices.
#[derive(Debug)]
pub struct Machine {
    /// Above `sys` and `dev`: the root folder, but in tests.
    root: PathBuf,
    mounts: Option<File>,
    swaps: Option<File>,
}

impl Machine {
    /// Opens what a jail would not let be opened later. What is missing is not known then.
    pub fn open() -> Self {
        let open = |path| File::open(path).ok();
        Self {
            mounts: open("/proc/self/mountinfo"),
            swaps: open("/proc/swaps"),
            ..Self::unopened()
        }
    }

    /// Without the lists of what is in use: for whoever looks at no source.
    pub fn unopened() -> Self {
        Self {
            root: "/".into(),
            mounts: None,
            swaps: None,
        }
    }

    /// Where the opened `source` lies. `path` is the absolute path that it was opened by.
    pub fn origin(&self, path: &Path, source: BorrowedFd<'_>) -> Origin {
        let own = rustix::fs::readlink(format!("/proc/self/fd/{}", source.as_raw_fd()), Vec::new());
        let leads_to = own.map_or_else(
            |_| path.as_os_str().as_bytes().to_vec(),
            std::ffi::CString::into_bytes,
        );
        let device = rustix::fs::fstat(source).ok().filter(is_device);
        Origin {
            path: path.as_os_str().as_bytes().to_vec(),
            leads_to,
            device_bytes: device
                .and_then(|_| rustix::fs::seek(source, rustix::fs::SeekFrom::End(0)).ok()),
            marks: device.map_or_else(Vec::new, |found| device::marks(&self.root, found.st_rdev)),
        }
    }

    /// The same with all that a backup is told of a source, but for its base snapshot.
    pub fn look(&self, path: &Path, source: BorrowedFd<'_>) -> FoundSource {
        FoundSource {
            origin: self.origin(path, source),
            mounted_at: self.mounted_at(source),
            snapshots: None,
        }
    }

    /// Where file systems of these kinds are mounted.
    pub fn mounted(&self, kinds: &[&str]) -> Vec<PathBuf> {
        mounts::places(kinds, self.mounts.as_ref())
            .into_iter()
            .map(|place| PathBuf::from(OsString::from_vec(place)))
            .collect()
    }

    /// Where a device or an image, or a part of it, is mounted, or `[SWAP]` where it is swap space.
    /// The first place that is found.
    fn mounted_at(&self, source: BorrowedFd<'_>) -> Option<Vec<u8>> {
        let found = rustix::fs::fstat(source).ok()?;
        let devices = if is_device(&found) {
            device::with_parts_and_holders(&self.root, found.st_rdev)
        } else {
            device::loops_over(&self.root, &found)
        };
        mounts::first_use(&devices, self.mounts.as_ref(), self.swaps.as_ref())
    }
}

fn is_device(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice
}

/// Opens a source for reading. Its kind is looked at before, since opening some devices has effects
/// and a socket cannot be opened at all; and again afterwards, since the name may lead elsewhere by
/// then.
pub fn open(path: &Path) -> Result<OwnedFd, NoSource> {
    let errno = |errno: Errno| NoSource::Errno(errno.raw_os_error());
    usable(&rustix::fs::statat(CWD, path, rustix::fs::AtFlags::empty()).map_err(errno)?)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let source = rustix::fs::open(path, flags, Mode::empty()).map_err(errno)?;
    usable(&rustix::fs::fstat(source.as_fd()).map_err(errno)?)?;
    Ok(source)
}

/// Whether something of this kind has bytes at fixed places.
pub fn usable(found: &Stat) -> Result<(), NoSource> {
    special(FileType::from_raw_mode(found.st_mode)).map_or(Ok(()), |kind| Err(NoSource::Kind(kind)))
}

/// A kind that has no bytes at fixed places; `None` for regular files and block devices.
pub fn special(kind: FileType) -> Option<FileKind> {
    Some(match kind {
        FileType::RegularFile | FileType::BlockDevice => return None,
        FileType::Directory => FileKind::Folder,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        _ => FileKind::Other,
    })
}

/// An absolute path that means the same wherever it is used: links and `..` stay, since what they
/// lead to may change.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_of_the_wrong_kind_is_named_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| match open(path) {
            Err(NoSource::Kind(kind)) => kind,
            other => panic!("{other:?}"),
        };
        let _listening =
            std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        rustix::fs::mknodat(
            CWD,
            folder.path().join("fifo"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(kind(&folder.path().join("socket")), FileKind::Socket);
        assert_eq!(kind(&folder.path().join("fifo")), FileKind::Fifo);
        assert_eq!(kind(folder.path()), FileKind::Folder);
        assert_eq!(kind(Path::new("/dev/null")), FileKind::CharacterDevice);
        assert_eq!(
            open(&folder.path().join("none")).unwrap_err(),
            NoSource::Errno(2)
        );
    }

    #[test]
    fn a_link_is_remembered_as_it_was_named_beside_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, b"x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let found = Machine::open().origin(&link, open(&link).unwrap().as_fd());
        assert_eq!(found.path, link.as_os_str().as_bytes());
        assert_eq!(
            found.leads_to,
            std::fs::canonicalize(&file).unwrap().as_os_str().as_bytes()
        );
        assert_eq!((found.device_bytes, found.marks), (None, Vec::new()));
    }
}
