// SPDX-License-Identifier: GPL-3.0-or-later
//! The folder of base snapshots: finding it above a volume, and keeping it in order. It
//! deliberately clones and compares nothing. `wyng-ctl` uses it with the caller's rights, the
//! volumes role with its own.
//!
//! The folder is at the top of the file system as it was mounted when the folder was made. A file
//! system may be mounted a second time from one of its folders, such as a service's view of its
//! pool. So the folder nearest above the volume is used in every view, and snapshots in a folder
//! further up are removed when a new one is kept.
//!
//! A snapshot has no name until its session is committed, so that a killed run leaves nothing
//! behind. Snapshots may be removed at any time; the next backup of the volume is slower then, and
//! equally correct.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod aside;
mod label;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use wyng_control::{BaseLabel, BaseOf};

pub use aside::AsideName;

/// Name of the folder at the top of a file system.
const FOLDER: &str = ".wyng";
/// Magic numbers of file systems whose files can be cloned: btrfs and XFS.
const CLONING: [u64; 2] = [0x9123_683e, 0x5846_5342];
/// Maximum number of folders above a volume that are searched.
const DEPTH_MAX: usize = 256;

/// The folder with the base snapshots of a file system.
#[derive(Debug)]
pub struct Folder {
    folder: OwnedFd,
    /// Folders of the same name further up, which were made in another view of the file system.
    /// Nearest first.
    above: Vec<OwnedFd>,
    /// The number of the mount in which the folder was found.
    mount: u64,
}

/// A file in a folder of base snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The label in its name.
    pub label: BaseLabel,
    /// Whether it is the file that got the name, and was not written to since.
    pub is_sound: bool,
    name: String,
}

/// A new file for a clone, without a name.
#[derive(Debug)]
pub struct Fresh {
    /// The file to clone into.
    pub file: OwnedFd,
    /// The same file, opened for reading only.
    pub reads: OwnedFd,
}

/// What happens on a file system without a folder of base snapshots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfMissing {
    /// The folder is made at the top.
    Make,
    /// The caller gets no folder.
    Leave,
}

impl Folder {
    /// The folder nearest above the opened `volume` on its mount; a missing one is made at the top.
    /// `None` where files cannot be cloned, where the caller may not write, and where the folder
    /// belongs to another user.
    pub fn of(volume: BorrowedFd<'_>) -> Option<Self> {
        Self::find(volume, IfMissing::Make)
    }

    /// The same as [`of`](Self::of), but a missing folder is not made.
    pub fn found(volume: BorrowedFd<'_>) -> Option<Self> {
        Self::find(volume, IfMissing::Leave)
    }

    fn find(volume: BorrowedFd<'_>, if_missing: IfMissing) -> Option<Self> {
        let is_file = rustix::fs::fstat(volume).is_ok_and(|found| is_regular(&found));
        let path =
            rustix::fs::readlink(format!("/proc/self/fd/{}", volume.as_raw_fd()), Vec::new())
                .ok()
                .filter(|_| is_file)?;
        let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
        Self::on_mount(path.parent()?, mount_of(volume)?, if_missing)
    }

    /// The same as [`of`](Self::of) for volumes in `folder`, which need not exist yet.
    pub fn above(folder: &Path) -> Option<Self> {
        let folder = std::fs::canonicalize(folder).ok()?;
        let opened = open_folder(CWD, &folder).ok()?;
        Self::on_mount(&folder, mount_of(opened.as_fd())?, IfMissing::Make)
    }

    /// Opens a folder of base snapshots by its path. It must belong to the caller; root may open
    /// that of any user.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let folder = open_folder(CWD, path)?;
        let caller = rustix::process::geteuid();
        if path.file_name().is_none_or(|name| name != FOLDER)
            || !(caller.is_root() || is_owned_by_caller(&folder))
        {
            return Err(Errno::PERM);
        }
        let mount = mount_of(folder.as_fd()).ok_or(Errno::OPNOTSUPP)?;
        Ok(Self {
            folder,
            above: Vec::new(),
            mount,
        })
    }

    /// Whether the folder belongs to the caller. Root can open those of others, too.
    pub fn is_of_caller(&self) -> bool {
        is_owned_by_caller(&self.folder)
    }

    /// The paths at which base snapshots of volumes in `folder` may be: there, and in each folder
    /// above it.
    pub fn candidates(folder: &Path) -> impl Iterator<Item = PathBuf> {
        folder.ancestors().map(|above| above.join(FOLDER))
    }

    /// Device and inode: the identity of the folder, by whichever path it was opened.
    pub fn identity(&self) -> Option<(u64, u64)> {
        rustix::fs::fstat(&self.folder)
            .ok()
            .map(|found| (found.st_dev, found.st_ino))
    }

    /// The folder and those further up, for a process that restricts itself to them.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(&self.folder)
            .chain(&self.above)
            .map(AsFd::as_fd)
    }

    /// The path of the folder.
    pub fn path(&self) -> Option<PathBuf> {
        let path = rustix::fs::readlink(own_path(&self.folder), Vec::new()).ok()?;
        Some(PathBuf::from(OsString::from_vec(path.into_bytes())))
    }

    /// Whether the opened volume is on the mount of this folder.
    pub fn is_of(&self, volume: BorrowedFd<'_>) -> bool {
        mount_of(volume) == Some(self.mount)
    }

    /// Walks up while the mount is the same. Mounts are compared, not devices: on btrfs a subvolume
    /// has its own device number, and can still be cloned from.
    fn on_mount(folder: &Path, mount: u64, if_missing: IfMissing) -> Option<Self> {
        let mut level = open_folder(CWD, folder)
            .ok()
            .filter(|level| mount_of(level.as_fd()) == Some(mount))?;
        let kind = u64::try_from(rustix::fs::fstatfs(&level).ok()?.f_type).ok()?;
        if !CLONING.contains(&kind) {
            return None;
        }
        let mut found = Vec::new();
        for _ in 0..DEPTH_MAX {
            found.extend(usable(&level, mount));
            let above = open_folder(&level, Path::new("..")).ok()?;
            let is_root = same_file(
                &rustix::fs::fstat(&level).ok()?,
                &rustix::fs::fstat(&above).ok()?,
            );
            if is_root || mount_of(above.as_fd()) != Some(mount) {
                if found.is_empty() && if_missing == IfMissing::Make {
                    rustix::fs::mkdirat(&level, FOLDER, Mode::RWXU).ok()?;
                    rustix::fs::fsync(&level).ok()?;
                    found.extend(usable(&level, mount));
                }
                let mut found = found.into_iter();
                return Some(Self {
                    folder: found.next()?,
                    above: found.collect(),
                    mount,
                });
            }
            level = above;
        }
        None
    }

    /// A new, empty file without a name.
    pub fn fresh(&self) -> Result<Fresh, Errno> {
        let file = rustix::fs::openat(
            &self.folder,
            ".",
            OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        let reads = rustix::fs::open(
            own_path(&file),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Fresh { file, reads })
    }

    /// The newest base snapshot of a volume, opened for reading. A file that its name does not fit
    /// is skipped.
    pub fn base(&self, of: &BaseOf) -> Option<(BaseLabel, OwnedFd)> {
        let mut newest: Option<(BaseLabel, OwnedFd)> = None;
        for folder in std::iter::once(&self.folder).chain(&self.above) {
            for name in names(folder, &label::prefix(of)).unwrap_or_default() {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let Ok(file) = rustix::fs::openat(folder, &name, flags, Mode::empty()) else {
                    continue;
                };
                let Ok(found) = rustix::fs::fstat(&file) else {
                    continue;
                };
                let Some(label) = label::parse(&name, &found).filter(|_| is_regular(&found)) else {
                    continue;
                };
                if newest
                    .as_ref()
                    .is_none_or(|(known, _)| known.generation < label.generation)
                {
                    newest = Some((label, file));
                }
            }
        }
        newest
    }

    /// Gives a complete snapshot its name durably, and removes the older ones: a volume has one
    /// base snapshot for each archive.
    pub fn keep(&self, file: BorrowedFd<'_>, label: &BaseLabel) -> Result<(), Errno> {
        rustix::fs::fsync(file)?;
        let name = label::name(label, &rustix::fs::fstat(file)?);
        rustix::fs::linkat(
            CWD,
            own_path(&file),
            &self.folder,
            &name,
            AtFlags::SYMLINK_FOLLOW,
        )?;
        // btrfs does not log a file without a name, and syncing the folder logs only that the file
        // exists.
        rustix::fs::fsync(file)?;
        rustix::fs::fsync(&self.folder)?;
        let prefix = label::prefix(&label.of);
        for folder in std::iter::once(&self.folder).chain(&self.above) {
            let is_it = |older: &str| std::ptr::eq(folder, &self.folder) && older == name;
            for older in names(folder, &prefix)?.iter().filter(|older| !is_it(older)) {
                rustix::fs::unlinkat(folder, older, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Removes the base snapshots of a volume durably; the next backup reads the whole volume.
    pub fn drop_base(&self, of: &BaseOf) -> Result<(), Errno> {
        for folder in std::iter::once(&self.folder).chain(&self.above) {
            for name in names(folder, &label::prefix(of))? {
                rustix::fs::unlinkat(folder, &name, AtFlags::empty())?;
            }
            rustix::fs::fsync(folder)?;
        }
        Ok(())
    }

    /// All base snapshots in the folder. Files with other names are ignored.
    pub fn kept(&self) -> Result<Vec<Kept>, Errno> {
        let mut kept = Vec::new();
        for name in names(&self.folder, "")? {
            let Some(label) = label::read(&name) else {
                continue;
            };
            let found = rustix::fs::statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW);
            let is_sound = found
                .is_ok_and(|found| is_regular(&found) && label::parse(&name, &found).is_some());
            kept.push(Kept {
                label,
                is_sound,
                name,
            });
        }
        Ok(kept)
    }

    /// Removes one of the snapshots of [`kept`](Self::kept).
    pub fn remove(&self, kept: &Kept) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.folder, &kept.name, AtFlags::empty())
    }
}

/// Maximum number of clones that a process may hold until their sessions are committed. Each takes
/// up to four descriptors, and 100 are kept for other uses.
pub fn held_max() -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(1 << 20);
    usize::try_from(descriptors.saturating_sub(100) / 4)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// The names in a folder that begin with `prefix`.
fn names(folder: &OwnedFd, prefix: &str) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        names.extend(
            entry?
                .file_name()
                .to_str()
                .ok()
                .filter(|name| name.starts_with(prefix))
                .map(str::to_owned),
        );
    }
    Ok(names)
}

/// The folder of base snapshots in the folder `level`, if the caller owns it and may write to it.
fn usable(level: &OwnedFd, mount: u64) -> Option<OwnedFd> {
    let folder = open_folder(level, Path::new(FOLDER))
        .ok()
        .filter(|folder| mount_of(folder.as_fd()) == Some(mount))?;
    let is_writable =
        rustix::fs::accessat(&folder, ".", Access::WRITE_OK, AtFlags::empty()).is_ok();
    (is_writable && is_owned_by_caller(&folder)).then_some(folder)
}

/// Whether the caller owns the folder, and no other user may enter it.
fn is_owned_by_caller(folder: &OwnedFd) -> bool {
    rustix::fs::fstat(folder).is_ok_and(|found| {
        let is_closed = Mode::from_raw_mode(found.st_mode) & !Mode::RWXU == Mode::empty();
        found.st_uid == rustix::process::geteuid().as_raw() && is_closed
    })
}

fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

fn open_folder(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        at,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The number of the mount through which a file was opened.
fn mount_of(file: BorrowedFd<'_>) -> Option<u64> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    StatxFlags::from_bits_retain(found.stx_mask)
        .contains(StatxFlags::MNT_ID)
        .then_some(found.stx_mnt_id)
}

fn same_file(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn own_path(file: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}
