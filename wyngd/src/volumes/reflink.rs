// SPDX-License-Identifier: GPL-3.0-or-later
//! Snapshots on btrfs and XFS: a clone of the one file (FICLONE), atomic also while it is written
//! to, compared with the clone before it.
//!
//! A clone's extents are those of its source, so the old clone keeps the extents that it shares
//! with the volume: their place on the disk cannot be given to other bytes. The clone of a file
//! without checksums (`chattr +C`) is refused by btrfs, as is any across two file systems.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use wyng_control::{BaseLabel, Method};
use wyng_jail::btrfs_extents;
use wyng_snapshot::{Folder, Fresh};

use super::delta::{Delta, Extents};
use super::extents::{BtrfsSearch, Fiemap};
use super::snapshot::{Rotation, Snapshot};
use crate::ipc::CHANGES_MAX;

/// The last clone of a volume, opened for reading.
pub(super) type Base = (BaseLabel, OwnedFd);

/// A clone of a source.
pub(super) struct Reflink {
    file: Rc<OwnedFd>,
    found: Stat,
    base: Option<(BaseLabel, Rc<OwnedFd>, Stat)>,
    ranges: Option<(Method, Ranges)>,
    /// The folder in which it gets its name; without one the client names it.
    folder: Option<Rc<Folder>>,
}

type Ranges = Box<dyn FnMut() -> io::Result<Option<Range<u64>>>>;

impl Reflink {
    /// Clones `source` into a fresh file. Returns the snapshot, and its descriptor for the
    /// keyholder. The descriptors are checked, since a client may have opened them.
    pub(super) fn snapshot(
        source: &OwnedFd,
        fresh: Fresh,
        base: Option<Base>,
        folder: Option<Rc<Folder>>,
    ) -> Result<(Self, OwnedFd), Errno> {
        let (file, reads) = (
            rustix::fs::fstat(&fresh.file)?,
            rustix::fs::fstat(&fresh.reads)?,
        );
        let is_same = (file.st_dev, file.st_ino) == (reads.st_dev, reads.st_ino);
        let is_only_read =
            rustix::fs::fcntl_getfl(&fresh.reads)? & OFlags::RWMODE == OFlags::RDONLY;
        if !is_same || !is_only_read {
            return Err(Errno::INVAL);
        }
        Ok((Self::clone(source, fresh.file, base, folder)?, fresh.reads))
    }

    /// Clones `source` into an empty file.
    pub(super) fn clone(
        source: &OwnedFd,
        file: OwnedFd,
        base: Option<Base>,
        folder: Option<Rc<Folder>>,
    ) -> Result<Self, Errno> {
        let empty = rustix::fs::fstat(&file)?;
        if !is_regular(&empty) || empty.st_size != 0 {
            return Err(Errno::INVAL);
        }
        let wanted_bytes = size(&rustix::fs::fstat(source)?);
        rustix::fs::ioctl_ficlone(&file, source)?;
        let found = rustix::fs::fstat(&file)?;
        // Some kernels report success although XFS had no room for all of it.
        if size(&found) < wanted_bytes {
            return Err(Errno::IO);
        }
        Ok(Self::over(file, found, base, folder))
    }

    /// A clone that was made before.
    pub(super) fn of_clone(
        file: OwnedFd,
        base: Option<Base>,
        folder: Option<Rc<Folder>>,
    ) -> Result<Self, Errno> {
        let found = rustix::fs::fstat(&file)?;
        Ok(Self::over(file, found, base, folder))
    }

    fn over(file: OwnedFd, found: Stat, base: Option<Base>, folder: Option<Rc<Folder>>) -> Self {
        let base = base.and_then(|(label, base)| {
            let old = rustix::fs::fstat(&base).ok()?;
            (is_regular(&old) && (old.st_dev, old.st_ino) != (found.st_dev, found.st_ino))
                .then(|| (label, Rc::new(base), old))
        });
        Self {
            file: Rc::new(file),
            found,
            base,
            ranges: None,
            folder,
        }
    }

    /// The clone itself.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Its size, bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        size(&self.found)
    }

    /// Compares with the base: by btrfs's own search, which knows compressed extents and needs
    /// `CAP_SYS_ADMIN`, or else by FIEMAP.
    fn compare(&self) -> io::Result<(Method, Ranges)> {
        let (_, base, old) = self
            .base
            .as_ref()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        Ok(differences(
            (Rc::clone(base), old),
            (Rc::clone(&self.file), &self.found),
        ))
    }
}

/// The ranges in which a file differs from an older one, and the method.
fn differences(
    (base, old): (Rc<OwnedFd>, &Stat),
    (file, new): (Rc<OwnedFd>, &Stat),
) -> (Method, Ranges) {
    let sizes = (size(old), size(new));
    if btrfs_extents(base.as_fd(), old.st_ino, 0).is_ok() {
        let (old, new) = (
            BtrfsSearch {
                file: base,
                inode: old.st_ino,
            },
            BtrfsSearch {
                file,
                inode: new.st_ino,
            },
        );
        return (Method::BtrfsSearch, ranges(old, new, sizes));
    }
    (Method::Fiemap, ranges(Fiemap(base), Fiemap(file), sizes))
}

/// Whether two files are the same by their extents. Files whose extents are unknown are not.
pub(super) fn is_clone(a: &OwnedFd, b: &OwnedFd) -> io::Result<bool> {
    let (found_a, found_b) = (rustix::fs::fstat(a)?, rustix::fs::fstat(b)?);
    let dup = |file: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(file, 0).map(Rc::new);
    let (_, mut ranges) = differences((dup(a)?, &found_a), (dup(b)?, &found_b));
    Ok(size(&found_a) == size(&found_b) && ranges()?.is_none())
}

fn ranges(
    old: impl Extents + 'static,
    new: impl Extents + 'static,
    (old_bytes, new_bytes): (u64, u64),
) -> Ranges {
    let mut delta = Delta::new(old, old_bytes, new, new_bytes);
    Box::new(move || delta.next_range())
}

impl Snapshot for Reflink {
    fn base(&self) -> Option<(BaseLabel, u64)> {
        self.base
            .as_ref()
            .map(|(label, _, found)| (*label, size(found)))
    }

    fn next_changes(&mut self) -> io::Result<(Method, Vec<(u64, u64)>)> {
        let (method, mut ranges) = self.ranges.take().map_or_else(|| self.compare(), Ok)?;
        let mut page = Vec::new();
        while page.len() < CHANGES_MAX
            && let Some(range) = ranges()?
        {
            page.push((range.start, range.end));
        }
        self.ranges = Some((method, ranges));
        Ok((method, page))
    }

    fn is_of_client(&self) -> bool {
        self.folder.is_none()
    }

    fn drop_base(&self) -> Rotation {
        match (&self.folder, &self.base) {
            (_, None) => Rotation::Done(Ok(())),
            (Some(folder), Some((label, ..))) => Rotation::Done(folder.drop_base(&label.of)),
            (None, Some(_)) => Rotation::ByClient,
        }
    }

    fn rotate(&self, label: &BaseLabel) -> Rotation {
        self.folder.as_ref().map_or(Rotation::ByClient, |folder| {
            Rotation::Done(folder.keep(self.file.as_fd(), label))
        })
    }
}

fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

fn size(found: &Stat) -> u64 {
    u64::try_from(found.st_size).unwrap_or(0)
}
