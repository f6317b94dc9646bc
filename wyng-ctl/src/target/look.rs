// SPDX-License-Identifier: GPL-3.0-or-later
//! One look at where a target goes, before the passphrase is asked for and anything is fetched:
//! what is there, is it free, has it room. It changes nothing and leaves nothing behind.

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

/// The unit of `st_blocks`.
const STATUS_BLOCK_BYTES: u64 = 512;
const EXT: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const TMPFS: u64 = 0x0102_1994;
const FAT: u64 = 0x4d44;
const EXFAT: u64 = 0x2011_bab0;
/// A file of FAT is smaller.
const FAT_FILE_MAX_BYTES: u64 = 1 << 32;

/// A file that is made, in an open folder.
pub(super) struct NewFile {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
    /// The file whose place it takes.
    pub(super) old: Option<OwnedFd>,
}

/// A new file at `path`, or one that replaces what is there.
pub(super) fn new_file(path: &Path, overwrite: bool) -> Result<NewFile, TargetFault> {
    match rustix::fs::stat(path) {
        Ok(found) => match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile if overwrite => replacement(path),
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

/// The file that a link leads to is replaced, and the link stays.
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

/// What a new file at this place will find: rights, room, and whether it can become all that the
/// old one is.
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
        // It is opened for its locks alone; who may not write to it may still replace it.
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
    // A file without a name is tried: it tells what no other question does, and leaves nothing.
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
    // Elsewhere what is written may be compressed, or share its blocks with what is there.
    let is_counted =
        matches!(kind, EXT | XFS | TMPFS | FAT | EXFAT) && !clones && status.f_blocks > 0;
    Ok(TargetFound {
        holds_bytes: place.old.is_some(),
        free_bytes: is_counted.then(|| free_bytes(&status)),
        keeps_holes: !matches!(kind, FAT | EXFAT),
        remembered: None,
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

/// Bytes of room that a file which is changed where it is has and can get; none where that cannot
/// be told: what is written to a clone, or compressed, takes room of its own.
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

/// A file or device that is changed where it is, opened as a restore opens it.
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
            // Whoever holds the device keeps it from being opened so, and we keep it while it is
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

/// The same for two paths only if they lead to the same file or the same device.
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

/// A folder and the name in it.
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

fn open_folder(folder: &Path) -> Result<OwnedFd, TargetFault> {
    rustix::fs::openat(
        CWD,
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(unavailable)
}

/// A file that is made among devices lies in memory, and its name is most likely that of a disk
/// which is not there.
fn is_of_devices(folder: &Path) -> bool {
    folder
        .canonicalize()
        .is_ok_and(|folder| folder.starts_with("/dev") && !folder.starts_with("/dev/shm"))
}

/// In a folder like `/tmp` only a file's owner may put another in its place.
fn is_anothers_in_sticky(folder: &OwnedFd, file: &Stat) -> bool {
    let own = rustix::process::geteuid();
    rustix::fs::fstat(folder).is_ok_and(|folder| {
        let is_sticky = Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX);
        is_sticky && !own.is_root() && ![file.st_uid, folder.st_uid].contains(&own.as_raw())
    })
}

/// A volume's name comes from an archive: it is checked again before it names a file.
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

/// The system's word.
pub(super) fn unavailable(errno: Errno) -> TargetFault {
    TargetFault::Unavailable {
        errno: errno.raw_os_error(),
    }
}
