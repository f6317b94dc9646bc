// SPDX-License-Identifier: GPL-3.0-or-later
//! The store in a folder: the blob `abcdef…` is the file `ab/abcdef…`. Every path is walked from
//! the open folder one component at a time, without following symbolic links. Other files in the
//! folder are left alone.

mod folder;
mod medium;
mod reading;
mod temporary;
mod upload;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, StatVfsMountFlags, accessat, fstatvfs,
    fsync, mkdir, mkdirat, openat, rmdir, statat, syncfs, unlinkat,
};
use rustix::io::Errno;
use wyng_wire::{BlobName, OpenStatus, Opened, RESERVE_BYTES, Service};

use super::{Prune, StoreError};
use folder::{FOLDER, FOLDER_MODE};
use temporary::Temporaries;

/// Minimum free space beyond the reserve for creating a store, bytes: less would not hold the
/// backup of an empty disk.
const FIRST_BACKUP_BYTES: u64 = 4 * 1024 * 1024;

/// An open folder full of blobs.
pub(crate) struct Directory {
    root: OwnedFd,
    temporaries: Temporaries,
    /// Shards with deletions that are not durable yet.
    deleted_from: BTreeMap<[u8; 2], OwnedFd>,
    from_disk: medium::FromDisk,
}

/// What a folder must hold to be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Nothing: a store is made of it.
    EmptyFolder,
    /// At least one blob.
    Store,
}

impl Directory {
    /// Opens `folder` for a service. With `create` its last component is made.
    pub(crate) fn open(service: Service, create: bool, folder: &Path) -> Result<Self, Opened> {
        let opened = if create {
            Self::make(service, folder)
        } else {
            Self::open_folder(service, Expected::Store, folder)
        };
        opened.map_err(|status| {
            let known = || {
                space_of(folder)
                    .or_else(|| folder.parent().and_then(space_of))
                    .map(|space| space.free_mib())
            };
            Opened {
                free_mib: (status == OpenStatus::Full).then(known).flatten(),
                ..Opened::of(status)
            }
        })
    }

    fn make(service: Service, folder: &Path) -> Result<Self, OpenStatus> {
        let made = make_folder(folder)?;
        Self::open_folder(service, Expected::EmptyFolder, folder).inspect_err(|_| {
            // A folder that could not become a store is removed again.
            if made {
                let _ = rmdir(folder);
            }
        })
    }

    fn open_folder(
        service: Service,
        expected: Expected,
        folder: &Path,
    ) -> Result<Self, OpenStatus> {
        // The owner chose this path, which may contain links.
        let root = openat(
            CWD,
            folder,
            FOLDER.difference(OFlags::NOFOLLOW),
            Mode::empty(),
        )
        .map_err(open_status)?;
        let holds = holds(&root).map_err(open_status)?;
        match (expected, holds) {
            (Expected::EmptyFolder, Holds::Nothing) | (Expected::Store, Holds::Blobs) => {}
            (Expected::EmptyFolder, _) => return Err(OpenStatus::NotEmpty),
            (Expected::Store, _) => return Err(OpenStatus::Empty),
        }
        let temporaries = match service {
            Service::Push => prepare_push(&root)?,
            Service::Prune => prepare_writes(&root).map(|()| Temporaries::Unnamed)?,
            Service::Fetch => prepare_fetch(&root).map(|()| Temporaries::Unnamed)?,
        };
        if expected == Expected::EmptyFolder {
            if space(&root)
                .map_err(open_status)?
                .leaves_less_than(RESERVE_BYTES.saturating_add(FIRST_BACKUP_BYTES))
            {
                return Err(OpenStatus::Full);
            }
            temporary::try_to_be_exclusive(temporaries, &root).map_err(unsuitable)?;
        }
        Ok(Self {
            root,
            temporaries,
            deleted_from: BTreeMap::new(),
            from_disk: medium::FromDisk::default(),
        })
    }

    /// The folder, for the jail.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Free space of the store, MiB; `None`: it has no limit, or states none.
    pub(crate) fn free_mib(&self) -> Option<u32> {
        let space = space(&self.root).ok().filter(|space| space.limited)?;
        Some(space.free_mib())
    }

    /// The folder `ab` of a blob, if it exists.
    fn shard(&self, shard: [u8; 2]) -> Result<Option<OwnedFd>, Errno> {
        match openat(&self.root, &shard[..], FOLDER, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The folder `ab` of a blob; a missing one is made durably.
    fn shard_for_writing(&self, shard: [u8; 2]) -> Result<OwnedFd, Errno> {
        if let Some(folder) = self.shard(shard)? {
            return Ok(folder);
        }
        match mkdirat(&self.root, &shard[..], FOLDER_MODE) {
            Ok(()) => fsync(&self.root)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        openat(&self.root, &shard[..], FOLDER, Mode::empty())
    }
}

impl Prune for Directory {
    fn delete(&mut self, name: &BlobName) -> Result<bool, StoreError> {
        let hex = name.to_hex();
        let shard = shard_of(&hex);
        let Some(folder) = self
            .shard(shard)
            .map_err(|errno| StoreError::at_name("open a shard", errno))?
        else {
            return Ok(false);
        };
        let was_there = match unlinkat(&folder, &hex[..], AtFlags::empty()) {
            Ok(()) => true,
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(StoreError::at_name("delete a blob", errno)),
        };
        // Also when the blob did not exist: an earlier run may have deleted it and been killed
        // before that was durable.
        self.deleted_from.insert(shard, folder);
        Ok(was_there)
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        for folder in std::mem::take(&mut self.deleted_from).into_values() {
            fsync(&folder).map_err(|errno| StoreError::Failed {
                step: "make deletions durable",
                errno,
            })?;
        }
        Ok(())
    }
}

/// The free space of a file system.
#[derive(Clone, Copy)]
struct Space {
    free_bytes: u64,
    /// False: the file system has no blocks and states no limit.
    limited: bool,
}

impl Space {
    fn leaves_less_than(self, bytes: u64) -> bool {
        self.limited && self.free_bytes < bytes
    }

    /// The free space, MiB, capped at the highest number of the frame.
    fn free_mib(self) -> u32 {
        u32::try_from(self.free_bytes >> 20)
            .unwrap_or(u32::MAX)
            .min(u32::MAX - 1)
    }
}

fn space(folder: &OwnedFd) -> Result<Space, Errno> {
    let space = fstatvfs(folder)?;
    Ok(Space {
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        limited: space.f_blocks > 0,
    })
}

fn space_of(folder: &Path) -> Option<Space> {
    let folder = openat(
        CWD,
        folder,
        FOLDER.difference(OFlags::NOFOLLOW),
        Mode::empty(),
    )
    .ok()?;
    space(&folder).ok()
}

/// The first two digits of a name.
fn shard_of(hex: &[u8; 64]) -> [u8; 2] {
    let [first, second, ..] = *hex;
    [first, second]
}

/// The relevant contents of a folder.
enum Holds {
    Nothing,
    Blobs,
    OtherThings,
}

fn holds(root: &OwnedFd) -> Result<Holds, Errno> {
    let mut other_things = false;
    for entry in Dir::read_from(root)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        match name {
            // Every new ext file system has a lost+found.
            b"." | b".." | b"lost+found" => {}
            _ if temporary::is_left_by_a_try(name) => {}
            _ if is_shard(root, name) => {
                // A shard that cannot be read may hold blobs.
                if !is_empty(root, name).unwrap_or(false) {
                    return Ok(Holds::Blobs);
                }
            }
            _ => other_things = true,
        }
    }
    Ok(if other_things {
        Holds::OtherThings
    } else {
        Holds::Nothing
    })
}

fn is_shard(root: &OwnedFd, name: &[u8]) -> bool {
    let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    // An entry that cannot be examined is no usable shard; the other entries decide.
    let is_folder = || {
        statat(root, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    };
    name.len() == 2 && name.iter().all(is_digit) && is_folder()
}

/// Whether a folder is empty, as one is whose blobs were all deleted.
fn is_empty(root: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    let folder = openat(root, name, FOLDER, Mode::empty())?;
    for entry in Dir::new(folder)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a missing folder durably. Returns whether it was missing.
fn make_folder(folder: &Path) -> Result<bool, OpenStatus> {
    let made = match mkdir(folder, FOLDER_MODE) {
        Ok(()) => true,
        // An earlier run may have made it, and been killed before that was durable.
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(open_status(errno)),
    };
    let Some(parent) = folder.parent() else {
        return Ok(made);
    };
    match openat(
        CWD,
        parent,
        FOLDER.difference(OFlags::NOFOLLOW),
        Mode::empty(),
    ) {
        Ok(parent) => fsync(&parent).map(|()| made).map_err(open_status),
        Err(Errno::ACCESS) if !made => Ok(made),
        Err(errno) => Err(open_status(errno)),
    }
}

fn prepare_push(root: &OwnedFd) -> Result<Temporaries, OpenStatus> {
    prepare_writes(root)?;
    // An earlier run may have made a shard, and been killed before that was durable.
    fsync(root).map_err(open_status)?;
    let temporaries = Temporaries::of(root).map_err(open_status)?;
    if temporaries == Temporaries::Named {
        temporary::sweep(root);
    }
    Ok(temporaries)
}

fn prepare_writes(root: &OwnedFd) -> Result<(), OpenStatus> {
    if fstatvfs(root)
        .map_err(open_status)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY)
    {
        return Err(OpenStatus::ReadOnly);
    }
    accessat(
        root,
        c".",
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::empty(),
    )
    .map_err(open_status)
}

fn prepare_fetch(root: &OwnedFd) -> Result<(), OpenStatus> {
    accessat(root, c".", Access::EXEC_OK, AtFlags::empty()).map_err(open_status)?;
    // A push may have been killed after it gave a blob its name and before the name was durable. A
    // blob must not be shown if a power cut can undo its name.
    syncfs(root).map_err(open_status)
}

/// The status if the trial of a name fails.
fn unsuitable(errno: Errno) -> OpenStatus {
    match errno {
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::NOENT => {
            OpenStatus::Unsuitable
        }
        errno => open_status(errno),
    }
}

fn open_status(errno: Errno) -> OpenStatus {
    match errno {
        Errno::NOENT => OpenStatus::Missing,
        Errno::NOTDIR | Errno::LOOP => OpenStatus::NotAFolder,
        Errno::ACCESS | Errno::PERM => OpenStatus::Permission,
        Errno::ROFS => OpenStatus::ReadOnly,
        Errno::NOSPC | Errno::DQUOT => OpenStatus::Full,
        Errno::NAMETOOLONG => OpenStatus::BadDestination,
        Errno::STALE
        | Errno::TIMEDOUT
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::NOTCONN => OpenStatus::Unreachable,
        _ => OpenStatus::Failed,
    }
}
