// SPDX-License-Identifier: GPL-3.0-or-later
//! The folder of base snapshots: found at the top of a volume's file system, and kept in order. It deliberately clones and compares nothing:
//! whoever may work in the folder, `wyng-ctl` with the caller's rights or the volumes role with its own, does that through this crate.
//!
//! A snapshot has no name until its session is committed: a run that is killed leaves nothing behind. Anybody may remove what lies here at
//! any time; the next backup of that volume is then slower, and as right.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod label;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use wyng_control::{BaseLabel, BaseOf};

/// Its name at the top of a file system.
const FOLDER: &str = ".wyng";
/// File systems whose files can be cloned: btrfs and XFS.
const CLONING: [u64; 2] = [0x9123_683e, 0x5846_5342];
/// More folders than these nobody has above a volume.
const DEPTH_MAX: usize = 256;

/// The folder in which the base snapshots of a file system lie.
#[derive(Debug)]
pub struct Folder {
    folder: OwnedFd,
    /// The mount that it was found in.
    mount: u64,
}

/// A new file for a clone, without a name.
#[derive(Debug)]
pub struct Fresh {
    /// To clone into.
    pub file: OwnedFd,
    /// The same file, only to be read.
    pub reads: OwnedFd,
}

impl Folder {
    /// The folder of the file system that the opened `volume` lies on, made if it is missing. `None` where nothing can be cloned, where the
    /// caller may not write at its top, and where the folder is somebody else's.
    pub fn of(volume: BorrowedFd<'_>) -> Option<Self> {
        Self::find(volume, true)
    }

    /// The same if it is there.
    pub fn found(volume: BorrowedFd<'_>) -> Option<Self> {
        Self::find(volume, false)
    }

    fn find(volume: BorrowedFd<'_>, make: bool) -> Option<Self> {
        let is_file = rustix::fs::fstat(volume).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile);
        let path = rustix::fs::readlink(format!("/proc/self/fd/{}", volume.as_raw_fd()), Vec::new()).ok().filter(|_| is_file)?;
        let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
        Self::at_top(path.parent()?, mount_of(volume)?, make)
    }

    /// The same for volumes in `folder`, which need not be there yet.
    pub fn above(folder: &Path) -> Option<Self> {
        let folder = std::fs::canonicalize(folder).ok()?;
        let opened = open_folder(CWD, &folder).ok()?;
        Self::at_top(&folder, mount_of(opened.as_fd())?, true)
    }

    /// For whoever confines itself to the folder.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Is it that of the file system that the opened volume lies on?
    pub fn is_of(&self, volume: BorrowedFd<'_>) -> bool {
        mount_of(volume) == Some(self.mount)
    }

    /// Walks up while it is the same mount: on btrfs a subvolume has a device number of its own, and can be cloned from all the same.
    fn at_top(folder: &Path, mount: u64, make: bool) -> Option<Self> {
        let mut top = open_folder(CWD, folder).ok().filter(|top| mount_of(top.as_fd()) == Some(mount))?;
        for _ in 0..DEPTH_MAX {
            let above = open_folder(&top, Path::new("..")).ok()?;
            let is_root = same_file(&rustix::fs::fstat(&top).ok()?, &rustix::fs::fstat(&above).ok()?);
            if is_root || mount_of(above.as_fd()) != Some(mount) {
                return Self::in_top(&top, mount, make);
            }
            top = above;
        }
        None
    }

    fn in_top(top: &OwnedFd, mount: u64, make: bool) -> Option<Self> {
        let kind = u64::try_from(rustix::fs::fstatfs(top).ok()?.f_type).ok()?;
        if !CLONING.contains(&kind) {
            return None;
        }
        let made = make && rustix::fs::mkdirat(top, FOLDER, Mode::RWXU).is_ok();
        let folder = open_folder(top, Path::new(FOLDER)).ok()?;
        if made {
            rustix::fs::fsync(top).ok()?;
        }
        let found = rustix::fs::fstat(&folder).ok()?;
        let ours = found.st_uid == rustix::process::geteuid().as_raw() && Mode::from_raw_mode(found.st_mode) & !Mode::RWXU == Mode::empty();
        ours.then_some(Self { folder, mount })
    }

    /// A new, empty file without a name.
    pub fn fresh(&self) -> Result<Fresh, Errno> {
        let file = rustix::fs::openat(&self.folder, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
        let reads = rustix::fs::open(own_path(&file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Fresh { file, reads })
    }

    /// The newest base snapshot of a volume, opened for reading. A file that is not what its name says is passed over.
    pub fn base(&self, of: &BaseOf) -> Option<(BaseLabel, OwnedFd)> {
        let mut newest: Option<(BaseLabel, OwnedFd)> = None;
        for name in self.names(of).ok()? {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let Ok(file) = rustix::fs::openat(&self.folder, &name, flags, Mode::empty()) else { continue };
            let Ok(found) = rustix::fs::fstat(&file) else { continue };
            let Some(label) = label::parse(&name, &found).filter(|_| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
            else {
                continue;
            };
            if newest.as_ref().is_none_or(|(known, _)| known.generation < label.generation) {
                newest = Some((label, file));
            }
        }
        newest
    }

    /// Gives a complete snapshot its name, durably, and removes those that were before it: a volume has one base for each archive.
    pub fn keep(&self, file: BorrowedFd<'_>, label: &BaseLabel) -> Result<(), Errno> {
        rustix::fs::fsync(file)?;
        let name = label::name(label, &rustix::fs::fstat(file)?);
        rustix::fs::linkat(CWD, own_path(&file), &self.folder, &name, AtFlags::SYMLINK_FOLLOW)?;
        rustix::fs::fsync(&self.folder)?;
        for older in self.names(&label.of)?.iter().filter(|older| **older != name) {
            rustix::fs::unlinkat(&self.folder, older, AtFlags::empty())?;
        }
        Ok(())
    }

    fn names(&self, of: &BaseOf) -> Result<Vec<String>, Errno> {
        let prefix = label::prefix(of);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            names.extend(entry?.file_name().to_str().ok().filter(|name| name.starts_with(&prefix)).map(str::to_owned));
        }
        Ok(names)
    }
}

fn open_folder(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The number of the mount that a descriptor was opened through.
fn mount_of(file: BorrowedFd<'_>) -> Option<u64> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID).then_some(found.stx_mnt_id)
}

fn same_file(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn own_path(file: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}
