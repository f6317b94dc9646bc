// SPDX-License-Identifier: GPL-3.0-or-later
//! Sources: opening a source by the path that a person named, and finding out where the path leads.
//! It decides nothing: the keyholder remembers sources, and decides whether one is the same as
//! before.
//!
//! `wyng-ctl` uses it with the caller's rights. The volumes role uses it in its jail, with access
//! to `/sys` and the folders of configured volumes; files elsewhere are opened before, by
//! [`Machine::open`].
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod device;
mod logical;
mod mounts;
mod zvol;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use wyng_control::{FileKind, FoundSource, NoSource, Origin, ZvolName};

pub use device::SYSFS;
pub use logical::{LogicalVolume, has_thin_pool};
pub use zvol::has_zvols;

/// This machine's information about its devices.
#[derive(Debug)]
pub struct Machine {
    /// The folder that has `sys` and `dev`: the root folder, except in tests.
    root: PathBuf,
    mounts: Option<File>,
    swaps: Option<File>,
}

impl Machine {
    /// Opens the files that a jail forbids to open later. Information from a missing file is
    /// unknown.
    pub fn open() -> Self {
        let open = |path| File::open(path).ok();
        Self {
            mounts: open("/proc/self/mountinfo"),
            swaps: open("/proc/swaps"),
            ..Self::unopened()
        }
    }

    /// Without the lists of mounts and swap spaces, for a caller that examines no source.
    pub fn unopened() -> Self {
        Self {
            root: "/".into(),
            mounts: None,
            swaps: None,
        }
    }

    /// The origin of the opened `source`. `path` is the absolute path by which it was opened.
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

    /// The origin, and everything else that a backup needs to know about a source except for its
    /// base snapshot.
    pub fn look(&self, path: &Path, source: BorrowedFd<'_>) -> FoundSource {
        FoundSource {
            origin: self.origin(path, source),
            mounted_at: self.mounted_at(source),
            snapshots: None,
        }
    }

    /// The logical volume of LVM that an opened device is.
    pub fn logical_volume(&self, source: BorrowedFd<'_>) -> Option<LogicalVolume> {
        let found = rustix::fs::fstat(source).ok().filter(is_device)?;
        logical::logical_volume(&self.root, found.st_rdev)
    }

    /// The ZFS volume that an opened device is.
    pub fn zvol(&self, source: BorrowedFd<'_>) -> Option<ZvolName> {
        let found = rustix::fs::fstat(source).ok().filter(is_device)?;
        zvol::zvol(&self.root, found.st_rdev)
    }

    /// The mount points of file systems of these types.
    pub fn mounted(&self, kinds: &[&str]) -> Vec<PathBuf> {
        mounts::places(kinds, self.mounts.as_ref())
            .into_iter()
            .map(|place| PathBuf::from(OsString::from_vec(place)))
            .collect()
    }

    /// The first mount point of a device or an image, or of a part of it; `[SWAP]` if it is used as
    /// swap space.
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

/// Opens a source for reading. Its kind is checked before, because opening some devices has effects
/// and a socket cannot be opened; and again afterwards, because the name may lead elsewhere by
/// then.
pub fn open(path: &Path) -> Result<OwnedFd, NoSource> {
    let errno = |errno: Errno| NoSource::Errno(errno.raw_os_error());
    usable(&rustix::fs::statat(CWD, path, rustix::fs::AtFlags::empty()).map_err(errno)?)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let source = rustix::fs::open(path, flags, Mode::empty()).map_err(errno)?;
    usable(&rustix::fs::fstat(source.as_fd()).map_err(errno)?)?;
    Ok(source)
}

/// Checks that a file has bytes at fixed offsets: a regular file or a block device.
pub fn usable(found: &Stat) -> Result<(), NoSource> {
    special(FileType::from_raw_mode(found.st_mode)).map_or(Ok(()), |kind| Err(NoSource::Kind(kind)))
}

/// The kind of a file without bytes at fixed offsets; `None` for regular files and block devices.
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

/// An absolute path that means the same in any working folder. Links and `..` stay, because their
/// targets may change.
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
