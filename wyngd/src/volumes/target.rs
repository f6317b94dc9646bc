// SPDX-License-Identifier: GPL-3.0-or-later
//! Targets of a restore, as the keyholder gets them: new and empty, a clone of the file that they
//! replace, the file that an interrupted restore left, or changed in place. The caller opened them
//! all; a descriptor that cannot be a target fails its volume and nothing else.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use wyng_control::{Beside, TargetForm, TargetKind, There};

use super::reflink::{Base, Reflink, is_clone};
use super::snapshot::Snapshot;

/// A target and what goes to the keyholder along with it.
pub(super) struct Prepared {
    pub(super) kind: TargetKind,
    pub(super) there: Option<There>,
    /// Length of the blocks that it gives back when they are discarded, bytes; 0 if none.
    pub(super) discards_bytes: u32,
    /// The target first, then what [`There::beside`] names.
    pub(super) files: Vec<OwnedFd>,
    /// Its clone, which shows what changed in it since the base.
    pub(super) clone: Option<Reflink>,
    /// The target again, and the clone that it can become again.
    pub(super) undo: Option<(OwnedFd, OwnedFd)>,
}

impl Prepared {
    /// A target without anything beside it.
    fn alone(kind: TargetKind, there: Option<There>, target: OwnedFd) -> Self {
        Self {
            kind,
            there,
            discards_bytes: 0,
            files: vec![target],
            clone: None,
            undo: None,
        }
    }
}

/// Prepares a target in the form in which the caller gave it. `EBADF` and `EINVAL` mean that a
/// descriptor does not suit its form.
pub(super) fn prepare(
    form: TargetForm,
    given: Vec<OwnedFd>,
    base: Option<Base>,
) -> Result<Prepared, Errno> {
    let mut given = given.into_iter();
    let target = given.next().ok_or(Errno::BADF)?;
    match form {
        TargetForm::Stream => stream(target),
        TargetForm::New => new(target),
        TargetForm::Resumed => resumed(target),
        TargetForm::Replacing => replacing(target, given.next().ok_or(Errno::INVAL)?, base),
        TargetForm::InPlace { discards_bytes, .. } => Ok(Prepared {
            discards_bytes,
            ..in_place(target, given.next(), base)?
        }),
    }
}

/// A new target and the file whose place it takes: cloned into it where the file system can clone,
/// else beside it.
fn replacing(target: OwnedFd, old: OwnedFd, base: Option<Base>) -> Result<Prepared, Errno> {
    let mut prepared = new(target)?;
    let (kind, size_bytes) = random_access(&old)?;
    if kind != TargetKind::File {
        return Err(Errno::INVAL);
    }
    let target = prepared.files.first().ok_or(Errno::BADF)?;
    let copy = rustix::io::fcntl_dupfd_cloexec(target, 0)?;
    let beside = There {
        size_bytes,
        in_target: false,
        in_place: false,
        beside: Some(Beside::Old),
        base: None,
    };
    match Reflink::clone(&old, copy, base, None) {
        Ok(clone) => {
            prepared.there = Some(There {
                size_bytes: clone.size_bytes(),
                in_target: true,
                beside: None,
                base: clone.base(),
                ..beside
            });
            prepared.clone = Some(clone);
        }
        Err(_) => {
            prepared.there = Some(beside);
            prepared.files.push(old);
        }
    }
    Ok(prepared)
}

/// A target that is changed in place. Its clone shows what changed in it since the base, and is
/// what the target can become again.
fn in_place(
    target: OwnedFd,
    fresh: Option<OwnedFd>,
    base: Option<Base>,
) -> Result<Prepared, Errno> {
    readable_and_writable(&target)?;
    let (kind, size_bytes) = random_access(&target)?;
    let there = There {
        size_bytes,
        in_target: true,
        in_place: true,
        beside: None,
        base: None,
    };
    let cloned = fresh.and_then(|fresh| Reflink::clone(&target, fresh, base, None).ok());
    let Some(clone) = cloned else {
        return Ok(Prepared::alone(kind, Some(there), target));
    };
    let dup = |file: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(file, 0);
    Ok(Prepared {
        kind,
        there: Some(There {
            beside: Some(Beside::Kept),
            base: clone.base(),
            ..there
        }),
        discards_bytes: 0,
        undo: Some((dup(&target)?, dup(clone.file())?)),
        files: vec![target, dup(clone.file())?],
        clone: Some(clone),
    })
}

/// Makes a target again what its clone is, and checks that all of it came: the kernel may run out
/// of room without an error. The keyholder has given the target its old size before.
pub(super) fn undo(target: &OwnedFd, was: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(target, was)?;
    if is_clone(was, target).unwrap_or(false) {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// Major number of the memory devices: `/dev/null`, `/dev/full` and the like.
const MEMORY_MAJOR: u32 = 1;

/// A target that is only written forward. A terminal is refused, since a write to it may block for
/// ever.
fn stream(target: OwnedFd) -> Result<Prepared, Errno> {
    let found = rustix::fs::fstat(&target)?;
    let is_writable = rustix::fs::fcntl_getfl(&target)? & OFlags::RWMODE != OFlags::RDONLY;
    let takes_bytes = match FileType::from_raw_mode(found.st_mode) {
        FileType::CharacterDevice => rustix::fs::major(found.st_rdev) == MEMORY_MAJOR,
        FileType::RegularFile | FileType::Fifo | FileType::Socket => true,
        _ => false,
    };
    if is_writable && takes_bytes {
        Ok(Prepared::alone(TargetKind::Stream, None, target))
    } else {
        Err(Errno::BADF)
    }
}

fn new(target: OwnedFd) -> Result<Prepared, Errno> {
    readable_and_writable(&target)?;
    match random_access(&target)? {
        (TargetKind::File, 0) => Ok(Prepared::alone(TargetKind::File, None, target)),
        _ => Err(Errno::EXIST),
    }
}

fn resumed(target: OwnedFd) -> Result<Prepared, Errno> {
    readable_and_writable(&target)?;
    let (kind, size_bytes) = random_access(&target)?;
    let there = There {
        size_bytes,
        in_target: true,
        in_place: false,
        beside: None,
        base: None,
    };
    if kind == TargetKind::File {
        Ok(Prepared::alone(kind, Some(there), target))
    } else {
        Err(Errno::INVAL)
    }
}

/// Fails with `EBADF` unless the target can be read and written: it is read back.
fn readable_and_writable(file: &OwnedFd) -> Result<(), Errno> {
    if rustix::fs::fcntl_getfl(file)? & OFlags::RWMODE == OFlags::RDWR {
        Ok(())
    } else {
        Err(Errno::BADF)
    }
}

/// The kind of a target that can be read and written at any place, and its size in bytes.
fn random_access(file: &OwnedFd) -> Result<(TargetKind, u64), Errno> {
    let found = rustix::fs::fstat(file)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok((TargetKind::File, u64::try_from(found.st_size).unwrap_or(0))),
        FileType::BlockDevice => Ok((
            TargetKind::Device,
            rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?,
        )),
        _ => Err(Errno::INVAL),
    }
}
