// SPDX-License-Identifier: GPL-3.0-or-later
//! Targets of a restore, as the keyholder gets them: new and empty, a clone of what they replace, or changed where they are.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use wyng_control::{Remembered, TargetKind};

use super::reflink::{Base, Reflink, is_clone};
use super::snapshot::Snapshot;
use super::{Refusal, Volumes, source_bytes};
use crate::ipc::{There, VolumesToKeyholder};

impl Volumes {
    /// Hands over a new target.
    pub(super) fn hand_over_target(&self, item: u32, target: OwnedFd) -> Result<(), Refusal> {
        match target_kind(&target)? {
            Some(kind) => {
                self.keyholder.send(&VolumesToKeyholder::Target { item, kind, there: None, remembered: None }, &[target.as_fd()])?;
            }
            None => self.keyholder.send(&VolumesToKeyholder::WrongKind { item }, &[])?,
        }
        Ok(())
    }

    /// Hands over a new target and what is in the file whose place it takes: cloned into it, or beside it.
    pub(super) fn hand_over_beside(&mut self, item: u32, target: OwnedFd, old: OwnedFd, base: Option<Base>) -> Result<(), Refusal> {
        let (Some(kind @ TargetKind::File), Some(size_bytes)) = (target_kind(&target)?, source_bytes(&old)?) else {
            return Ok(self.keyholder.send(&VolumesToKeyholder::WrongKind { item }, &[])?);
        };
        let copy = rustix::io::fcntl_dupfd_cloexec(&target, 0)?;
        match Reflink::clone(&old, copy, base, None) {
            Ok(clone) => {
                let there = There { size_bytes: clone.size_bytes(), in_target: true, in_place: false, base: clone.base() };
                self.snapshots.insert(item, Box::new(clone));
                let message = VolumesToKeyholder::Target { item, kind, there: Some(there), remembered: None };
                Ok(self.keyholder.send(&message, &[target.as_fd()])?)
            }
            Err(_) => {
                let there = There { size_bytes, in_target: false, in_place: false, base: None };
                let message = VolumesToKeyholder::Target { item, kind, there: Some(there), remembered: None };
                Ok(self.keyholder.send(&message, &[target.as_fd(), old.as_fd()])?)
            }
        }
    }

    /// Hands over a target that is changed where it is. Its clone tells what changed in it since the base, and is what it can become again.
    pub(super) fn hand_over_in_place(
        &mut self,
        item: u32,
        target: OwnedFd,
        fresh: Option<OwnedFd>,
        base: Option<Base>,
        remembered: Option<Remembered>,
    ) -> Result<(), Refusal> {
        let is_writable = rustix::fs::fcntl_getfl(&target)? & OFlags::RWMODE == OFlags::RDWR;
        let Some(size_bytes) = source_bytes(&target)?.filter(|_| is_writable) else {
            return Ok(self.keyholder.send(&VolumesToKeyholder::WrongKind { item }, &[])?);
        };
        let mut there = There { size_bytes, in_target: true, in_place: true, base: None };
        if let Some(clone) = fresh.and_then(|fresh| Reflink::clone(&target, fresh, base, None).ok()) {
            let dup = |file: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(file, 0);
            self.changed.insert(item, (dup(&target)?, dup(clone.file())?));
            there.base = clone.base();
            self.snapshots.insert(item, Box::new(clone));
        }
        let message = VolumesToKeyholder::Target { item, kind: TargetKind::File, there: Some(there), remembered };
        Ok(self.keyholder.send(&message, &[target.as_fd()])?)
    }
}

/// Makes a target again what its clone is, and looks whether all of it came: the kernel may have had no room for all, and say nothing. Whoever
/// has the target has given it its old size before.
pub(super) fn undo(target: &OwnedFd, was: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(target, was)?;
    if is_clone(was, target).unwrap_or(false) { Ok(()) } else { Err(Errno::IO) }
}

/// The devices that are memory: `/dev/null`, `/dev/full` and their like.
const MEMORY_MAJOR: u32 = 1;

/// A new, empty file that can be read and written anywhere, or something that is written onwards: a terminal is not, since a write to it may
/// wait for ever.
fn target_kind(descriptor: &OwnedFd) -> Result<Option<TargetKind>, Errno> {
    let found = rustix::fs::fstat(descriptor)?;
    let access = rustix::fs::fcntl_getfl(descriptor)? & OFlags::RWMODE;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if found.st_size == 0 && access == OFlags::RDWR => Some(TargetKind::File),
        FileType::CharacterDevice if rustix::fs::major(found.st_rdev) != MEMORY_MAJOR => None,
        FileType::RegularFile | FileType::Fifo | FileType::CharacterDevice | FileType::Socket if access != OFlags::RDONLY => {
            Some(TargetKind::Stream)
        }
        _ => None,
    })
}
