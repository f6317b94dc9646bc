// SPDX-License-Identifier: GPL-3.0-or-later
//! A look at the place of a target, before a passphrase is asked for and anything is fetched: what
//! is there, whether it is in use, and whether there is room. It changes nothing and leaves nothing
//! behind.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, IFlags, Mode, OFlags, Stat, StatVfs, StatVfsMountFlags,
};
use rustix::io::Errno;
use wyng_control::{BaseOf, FileKind, TargetFault, TargetFound, Unfit};
use wyng_origin::special;
use wyng_snapshot::Folder;

use super::{attributes, in_use};

/// The unit of `st_blocks`, bytes.
const STATUS_BLOCK_BYTES: u64 = 512;
const EXT: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const TMPFS: u64 = 0x0102_1994;
const FAT: u64 = 0x4d44;
const EXFAT: u64 = 0x2011_bab0;
/// Exclusive limit of the size of a file on FAT, bytes.
const FAT_FILE_MAX_BYTES: u64 = 1 << 32;

/// What happens to a file at the path of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and the new file cannot be created.
    Stays,
    /// The new file replaces it.
    IsReplaced,
}

/// A file to be created in an open folder.
pub(super) struct NewFile {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
    /// The file that it replaces.
    pub(super) old: Option<OwnedFd>,
}

/// A new file at `path`, or one that replaces the file there.
pub(super) fn new_file(path: &Path, existing: Existing) -> Result<NewFile, TargetFault> {
    match rustix::fs::stat(path) {
        Ok(found) => match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile if existing == Existing::IsReplaced => replacement(path),
            FileType::RegularFile => Err(TargetFault::Exists),
            FileType::BlockDevice => Err(TargetFault::IsDevice),
            kind => Err(unfit(kind)),
        },
        Err(Errno::NOENT) if rustix::fs::lstat(path).is_ok() => {
            Err(TargetFault::Unfit(Unfit::DeadLink))
        }
        Err(Errno::NOENT) => {
            let (folder, name) = split(path)?;
            if is_of_devices(&folder) {
                return Err(TargetFault::Unfit(Unfit::NoDevice));
            }
            Ok(NewFile {
                folder: open_folder(&folder)?,
                name,
                old: None,
            })
        }
        Err(errno) => Err(unavailable(errno)),
    }
}

/// Replaces the file to which a link leads; the link stays.
fn replacement(path: &Path) -> Result<NewFile, TargetFault> {
    let path = path
        .canonicalize()
        .map_err(|error| TargetFault::Unavailable {
            errno: error.raw_os_error().unwrap_or(0),
        })?;
    let (folder, name) = split(&path)?;
    let folder = open_folder(&folder)?;
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let old = rustix::fs::openat(&folder, &name, flags, Mode::empty()).map_err(unavailable)?;
    let found = rustix::fs::fstat(&old).map_err(unavailable)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(unavailable(Errno::AGAIN));
    }
    let flags = rustix::fs::ioctl_getflags(&old).unwrap_or(IFlags::empty());
    if flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)
        || is_anothers_in_sticky(&folder, &found)
    {
        return Err(unavailable(Errno::PERM));
    }
    Ok(NewFile {
        folder,
        name,
        old: Some(old),
    })
}

/// Checks the place of a new file: permissions, room, and whether it can take over the attributes
/// of the old file.
pub(super) fn at_new_file(
    place: &NewFile,
    size_bytes: u64,
    base_of: &BaseOf,
) -> Result<TargetFound, TargetFault> {
    let status = rustix::fs::fstatvfs(&place.folder).map_err(unavailable)?;
    if status.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(unavailable(Errno::ROFS));
    }
    rustix::fs::accessat(
        &place.folder,
        c".",
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    )
    .map_err(unavailable)?;
    if let Some(old) = &place.old {
        let found = rustix::fs::fstat(old).map_err(unavailable)?;
        // It is opened only to test its locks; a caller who may not write to it may still replace
        // it.
        let flags =
            OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let writable = rustix::fs::openat(&place.folder, &place.name, flags, Mode::empty()).ok();
        if let Some(how) = in_use::of_file(&found, writable.as_ref()) {
            return Err(TargetFault::InUse { how });
        }
    }
    let kind = u64::try_from(
        rustix::fs::fstatfs(&place.folder)
            .map_err(unavailable)?
            .f_type,
    )
    .unwrap_or(0);
    let mut clones = kind == XFS && place.old.is_some();
    // Creating a file without a name tests everything at once, and leaves nothing behind.
    match rustix::fs::openat(
        &place.folder,
        ".",
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    ) {
        Ok(probe) => {
            if let Some(old) = &place.old {
                attributes::take_over(old, &probe).map_err(|what| TargetFault::Loses { what })?;
            }
            rustix::fs::ftruncate(&probe, size_bytes).map_err(unavailable)?;
            clones |= Folder::found(probe.as_fd())
                .and_then(|folder| folder.base(base_of))
                .is_some();
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL)
            if kind == FAT && size_bytes >= FAT_FILE_MAX_BYTES =>
        {
            return Err(unavailable(Errno::FBIG));
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        Err(errno) => return Err(unavailable(errno)),
    }
    // On other file systems, writes may be compressed or share blocks with existing files.
    let is_counted =
        matches!(kind, EXT | XFS | TMPFS | FAT | EXFAT) && !clones && status.f_blocks > 0;
    Ok(TargetFound {
        holds_bytes: place.old.is_some(),
        free_bytes: is_counted.then(|| free_bytes(&status)),
        keeps_holes: !matches!(kind, FAT | EXFAT),
        remembered: None,
    })
}

/// Checks the place of scratch. It shares no blocks with an existing file, and whoever wrote more
/// than is free would fill the disk of others: what compression might save does not count.
pub(super) fn at_scratch(
    folder: &Path,
    size_bytes: u64,
    base_of: &BaseOf,
) -> Result<TargetFound, TargetFault> {
    let place = NewFile {
        folder: open_folder(folder)?,
        name: OsString::new(),
        old: None,
    };
    let found = at_new_file(&place, size_bytes, base_of)?;
    let status = rustix::fs::fstatvfs(&place.folder).map_err(unavailable)?;
    Ok(TargetFound {
        free_bytes: (status.f_blocks > 0).then(|| free_bytes(&status)),
        ..found
    })
}

fn free_bytes(status: &StatVfs) -> u64 {
    let blocks = if rustix::process::geteuid().is_root() {
        status.f_bfree
    } else {
        status.f_bavail
    };
    blocks.saturating_mul(status.f_frsize)
}

/// Room of a file that is changed in place: bytes that it has and can get. `None` where that is
/// unknown, as writes to a clone or to a compressed file take room of their own.
pub(super) fn room_in_place(file: &OwnedFd) -> Result<Option<u64>, TargetFault> {
    let found = rustix::fs::fstat(file).map_err(unavailable)?;
    let kind = u64::try_from(rustix::fs::fstatfs(file).map_err(unavailable)?.f_type).unwrap_or(0);
    let is_counted = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && matches!(kind, EXT | TMPFS | FAT | EXFAT);
    let has_bytes = u64::try_from(found.st_blocks)
        .unwrap_or(0)
        .saturating_mul(STATUS_BLOCK_BYTES);
    let status = rustix::fs::fstatvfs(file).map_err(unavailable)?;
    Ok((is_counted && status.f_blocks > 0).then(|| free_bytes(&status).saturating_add(has_bytes)))
}

/// Opens a file or device to be changed in place, as a restore does.
pub(super) fn in_place(path: &Path, size_bytes: u64) -> Result<OwnedFd, TargetFault> {
    let found = rustix::fs::stat(path).map_err(unavailable)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {
            let file = rustix::fs::open(path, flags, Mode::empty()).map_err(unavailable)?;
            match in_use::of_file(&found, Some(&file)) {
                Some(how) => Err(TargetFault::InUse { how }),
                None => Ok(file),
            }
        }
        FileType::BlockDevice => {
            // The open fails if another process holds the device, and keeps others out while it is
            // open.
            let device = match rustix::fs::open(path, flags | OFlags::EXCL, Mode::empty()) {
                Err(Errno::BUSY) => {
                    let how = in_use::of_device(&found)
                        .unwrap_or_else(|| "somebody holds it for himself".to_owned());
                    return Err(TargetFault::InUse { how });
                }
                device => device.map_err(unavailable)?,
            };
            if let Some(how) = in_use::of_device(&found) {
                return Err(TargetFault::InUse { how });
            }
            let has_bytes =
                rustix::fs::seek(&device, rustix::fs::SeekFrom::End(0)).map_err(unavailable)?;
            if has_bytes < size_bytes {
                Err(TargetFault::TooSmall { has_bytes })
            } else {
                Ok(device)
            }
        }
        kind => Err(unfit(kind)),
    }
}

/// The identity of a file or device, equal for all paths that lead to it.
pub(super) fn identity(target: &OwnedFd) -> Result<(u64, u64), TargetFault> {
    let found = rustix::fs::fstat(target).map_err(unavailable)?;
    let is_device = FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice;
    // No file has the inode number 0.
    Ok(if is_device {
        (found.st_rdev, 0)
    } else {
        (found.st_dev, found.st_ino)
    })
}

/// A path as its folder and a name.
fn split(path: &Path) -> Result<(PathBuf, OsString), TargetFault> {
    let is_folders = path.as_os_str().as_bytes().ends_with(b"/");
    let name = path
        .file_name()
        .filter(|_| !is_folders)
        .ok_or_else(|| unavailable(Errno::NOENT))?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok((folder.to_owned(), name.to_owned()))
}

pub(super) fn open_folder(folder: &Path) -> Result<OwnedFd, TargetFault> {
    rustix::fs::openat(
        CWD,
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(unavailable)
}

/// Whether a folder holds devices: a regular file created there would lie in memory, and most
/// likely has the name of a missing disk.
fn is_of_devices(folder: &Path) -> bool {
    folder
        .canonicalize()
        .is_ok_and(|folder| folder.starts_with("/dev") && !folder.starts_with("/dev/shm"))
}

/// Whether the folder is sticky, like `/tmp`, and the file belongs to another user: only its owner
/// may replace it.
fn is_anothers_in_sticky(folder: &OwnedFd, file: &Stat) -> bool {
    let own = rustix::process::geteuid();
    rustix::fs::fstat(folder).is_ok_and(|folder| {
        let is_sticky = Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX);
        is_sticky && !own.is_root() && ![file.st_uid, folder.st_uid].contains(&own.as_raw())
    })
}

/// The file name of a volume. A name from an archive is checked again before it names a file.
pub(super) fn file_name(volume: &str) -> Result<&OsStr, TargetFault> {
    let fine = !volume.is_empty()
        && !volume.starts_with(['.', '-'])
        && volume.chars().all(|char| char != '/' && !char.is_control());
    if fine {
        Ok(OsStr::new(volume))
    } else {
        Err(unavailable(Errno::INVAL))
    }
}

fn unfit(kind: FileType) -> TargetFault {
    TargetFault::Unfit(Unfit::Kind(special(kind).unwrap_or(FileKind::Other)))
}

/// The system's error as a fault of a target.
pub(super) fn unavailable(errno: Errno) -> TargetFault {
    TargetFault::Unavailable {
        errno: errno.raw_os_error(),
    }
}
