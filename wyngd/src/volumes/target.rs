// SPDX-License-Identifier: GPL-3.0-or-later
//! Targets of a restore, as the keyholder gets them: new and empty, a clone of what they replace,
//! what an interrupted restore left, or changed where they are. The caller opened them all; what
//! cannot be a target fails that volume and nothing else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use wyng_control::{Beside, Remembered, TargetFault, TargetForm, TargetKind, There};

use super::reflink::{Base, Reflink, is_clone};
use super::snapshot::Snapshot;
use super::{Refusal, Volumes};
use crate::ipc::{Fatal, VolumesToKeyholder};

/// A target and what is given along with it, ready for the keyholder.
struct Handed {
    kind: TargetKind,
    there: Option<There>,
    files: Vec<OwnedFd>,
}

impl Volumes {
    /// Hands over a target in the form in which the caller gave it.
    pub(super) fn hand_over_target(
        &mut self,
        item: u32,
        form: TargetForm,
        given: Vec<OwnedFd>,
        base: Option<Base>,
        remembered: Option<Remembered>,
    ) -> Result<(), Refusal> {
        let mut given = given.into_iter();
        let Some(target) = given.next() else {
            return Err(Fatal::Unexpected(self.control.peer()).into());
        };
        let handed = match form {
            TargetForm::Stream => stream(target),
            TargetForm::New => new(target),
            TargetForm::Resumed => resumed(target),
            TargetForm::Replacing => match given.next() {
                Some(old) => self.replacing(item, target, old, base),
                None => Err(Errno::INVAL),
            },
            TargetForm::InPlace { .. } => self.in_place(item, target, given.next(), base),
        };
        match handed {
            Ok(Handed { kind, there, files }) => {
                let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
                Ok(self.keyholder.send(
                    &VolumesToKeyholder::Target {
                        item,
                        kind,
                        there,
                        remembered,
                    },
                    &files,
                )?)
            }
            Err(errno) => {
                let fault = TargetFault::Unavailable {
                    errno: errno.raw_os_error(),
                };
                Ok(self
                    .keyholder
                    .send(&VolumesToKeyholder::NoTarget { item, fault }, &[])?)
            }
        }
    }

    /// A new target and the file whose place it takes: cloned into it where that can be, else
    /// beside it.
    fn replacing(
        &mut self,
        item: u32,
        target: OwnedFd,
        old: OwnedFd,
        base: Option<Base>,
    ) -> Result<Handed, Errno> {
        let target = new(target)?.files.pop().ok_or(Errno::BADF)?;
        let (kind, size_bytes) = random_access(&old)?;
        if kind != TargetKind::File {
            return Err(Errno::INVAL);
        }
        let copy = rustix::io::fcntl_dupfd_cloexec(&target, 0)?;
        let mut there = There {
            size_bytes,
            in_target: false,
            in_place: false,
            beside: Some(Beside::Old),
            base: None,
        };
        let mut files = vec![target];
        match Reflink::clone(&old, copy, base, None) {
            Ok(clone) => {
                there = There {
                    size_bytes: clone.size_bytes(),
                    in_target: true,
                    beside: None,
                    base: clone.base(),
                    ..there
                };
                self.snapshots.insert(item, Box::new(clone));
            }
            Err(_) => files.push(old),
        }
        Ok(Handed {
            kind: TargetKind::File,
            there: Some(there),
            files,
        })
    }

    /// A target that is changed where it is. Its clone tells what changed in it since the base, and
    /// is what it can become again.
    fn in_place(
        &mut self,
        item: u32,
        target: OwnedFd,
        fresh: Option<OwnedFd>,
        base: Option<Base>,
    ) -> Result<Handed, Errno> {
        readable_and_writable(&target)?;
        let (kind, size_bytes) = random_access(&target)?;
        let mut there = There {
            size_bytes,
            in_target: true,
            in_place: true,
            beside: None,
            base: None,
        };
        let mut files = Vec::new();
        if let Some(clone) = fresh.and_then(|fresh| Reflink::clone(&target, fresh, base, None).ok())
        {
            let dup = |file: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(file, 0);
            files.push(dup(clone.file())?);
            self.changed
                .insert(item, (dup(&target)?, dup(clone.file())?));
            there = There {
                beside: Some(Beside::Kept),
                base: clone.base(),
                ..there
            };
            self.snapshots.insert(item, Box::new(clone));
        }
        files.insert(0, target);
        Ok(Handed {
            kind,
            there: Some(there),
            files,
        })
    }
}

/// Makes a target again what its clone is, and looks whether all of it came: the kernel may have
/// had no room for all, and say nothing. Whoever has the target has given it its old size before.
pub(super) fn undo(target: &OwnedFd, was: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(target, was)?;
    if is_clone(was, target).unwrap_or(false) {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// The devices that are memory: `/dev/null`, `/dev/full` and their like.
const MEMORY_MAJOR: u32 = 1;

/// Something that is written onwards. A terminal is refused, since a write to it may wait for ever.
fn stream(target: OwnedFd) -> Result<Handed, Errno> {
    let found = rustix::fs::fstat(&target)?;
    let is_writable = rustix::fs::fcntl_getfl(&target)? & OFlags::RWMODE != OFlags::RDONLY;
    let takes_bytes = match FileType::from_raw_mode(found.st_mode) {
        FileType::CharacterDevice => rustix::fs::major(found.st_rdev) == MEMORY_MAJOR,
        FileType::RegularFile | FileType::Fifo | FileType::Socket => true,
        _ => false,
    };
    if is_writable && takes_bytes {
        Ok(Handed {
            kind: TargetKind::Stream,
            there: None,
            files: vec![target],
        })
    } else {
        Err(Errno::BADF)
    }
}

fn new(target: OwnedFd) -> Result<Handed, Errno> {
    readable_and_writable(&target)?;
    match random_access(&target)? {
        (TargetKind::File, 0) => Ok(Handed {
            kind: TargetKind::File,
            there: None,
            files: vec![target],
        }),
        _ => Err(Errno::EXIST),
    }
}

fn resumed(target: OwnedFd) -> Result<Handed, Errno> {
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
        Ok(Handed {
            kind,
            there: Some(there),
            files: vec![target],
        })
    } else {
        Err(Errno::INVAL)
    }
}

/// A target is read back, so it must be both.
fn readable_and_writable(file: &OwnedFd) -> Result<(), Errno> {
    if rustix::fs::fcntl_getfl(file)? & OFlags::RWMODE == OFlags::RDWR {
        Ok(())
    } else {
        Err(Errno::BADF)
    }
}

/// What can be read and written anywhere, and its size.
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
