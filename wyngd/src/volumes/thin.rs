// SPDX-License-Identifier: GPL-3.0-or-later
//! Snapshots of volumes in an LVM thin pool or of ZFS. The pool role makes them, and compares them
//! with the base; here they are only numbers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use wyng_control::{BaseLabel, BaseOf, Method, ThinPage, ThinRemoval, ThinWaste, WholeCause};

use super::snapshot::{Rotation, Snapshot};
use crate::ipc::{
    DeviceNumber, Fatal, NotEnforced, PoolToVolumes, RangeKind, Received, VolumesToPool, Wire,
};
use crate::roles::Role;

/// The wire to the pool role.
pub(super) type PoolWire = Wire<VolumesToPool, PoolToVolumes>;

/// The pool role, where this daemon has it.
pub(super) struct ThinPools(Rc<PoolWire>);

/// What becomes of a source.
pub(super) enum Tried {
    /// The snapshot is read in its place.
    Snapshot(Thin, OwnedFd),
    /// It is read as it is now; and why so, if it is a thin volume.
    AsItIs(Option<WholeCause>),
}

/// A snapshot that the pool role holds.
pub(super) struct Thin {
    pools: Rc<PoolWire>,
    number: u32,
    size_bytes: u64,
    base: Option<(BaseLabel, u64)>,
    /// Why there is no base, or no ranges.
    whole: Option<WholeCause>,
    method: Method,
}

impl ThinPools {
    /// The role, once it is in its jail, and the protections that it did not get; `None` where the
    /// daemon has no such role.
    pub(super) fn meet() -> Result<Option<(Self, Vec<NotEnforced>)>, Fatal> {
        let wire = Wire::inherited(Role::Volumes, Role::Pool)?;
        match wire.receive() {
            Err(Fatal::Gone(_)) => Ok(None),
            received => match received?.message {
                PoolToVolumes::Ready(missing) => Ok(Some((Self(Rc::new(wire)), missing))),
                _ => Err(Fatal::Unexpected(Role::Pool.name())),
            },
        }
    }

    /// A snapshot of `source`, and its descriptor for the keyholder. Otherwise the source is read
    /// as it is now, and why so if it is a thin volume.
    pub(super) fn snapshot(&self, source: &OwnedFd, of: &BaseOf) -> Result<Tried, Fatal> {
        let Some(device) = number_of(source)? else {
            return Ok(Tried::AsItIs(None));
        };
        let received = ask(&self.0, &VolumesToPool::Snapshot { device, of: *of })?;
        match &received.message {
            PoolToVolumes::Snapshot {
                number,
                size_bytes,
                base,
                whole,
                method,
            } => {
                let thin = Thin {
                    pools: Rc::clone(&self.0),
                    number: *number,
                    size_bytes: *size_bytes,
                    base: *base,
                    whole: *whole,
                    method: *method,
                };
                Ok(Tried::Snapshot(thin, received.descriptor()?))
            }
            PoolToVolumes::NoSnapshot { why } => Ok(Tried::AsItIs(*why)),
            _ => Err(Fatal::Unexpected(self.0.peer())),
        }
    }
}

impl ThinPools {
    /// Our volumes in pools, from this number on; `None` if LVM or ZFS failed.
    pub(super) fn list(&self, from: u32) -> Result<Option<ThinPage>, Fatal> {
        match ask(&self.0, &VolumesToPool::List { from })?.message {
            PoolToVolumes::Listed(page) => Ok(page),
            _ => Err(Fatal::Unexpected(self.0.peer())),
        }
    }

    /// The wire to the role.
    pub(super) fn wire(&self) -> &Rc<PoolWire> {
        &self.0
    }

    /// Removes what a person wants to have removed.
    pub(super) fn remove(&self, waste: &ThinWaste) -> Result<ThinRemoval, Fatal> {
        match ask(&self.0, &VolumesToPool::Remove(waste.clone()))?.message {
            PoolToVolumes::Removed(removal) => Ok(removal),
            _ => Err(Fatal::Unexpected(self.0.peer())),
        }
    }
}

impl Thin {
    /// Its size, bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn next_ranges(&mut self, kind: RangeKind) -> io::Result<Vec<(u64, u64)>> {
        let number = self.number;
        match ask(&self.pools, &VolumesToPool::NextRanges { number, kind })
            .map_err(io::Error::other)?
            .message
        {
            PoolToVolumes::Ranges(ranges) => Ok(ranges),
            PoolToVolumes::NoRanges(cause) => {
                self.whole = Some(cause);
                Err(io::Error::other("the pool's metadata shows no ranges"))
            }
            _ => Err(io::Error::other("an unexpected message from pool")),
        }
    }
}

impl Snapshot for Thin {
    fn base(&self) -> Option<(BaseLabel, u64)> {
        self.base
    }

    fn next_changes(&mut self) -> io::Result<(Method, Vec<(u64, u64)>)> {
        Ok((self.method, self.next_ranges(RangeKind::Changes)?))
    }

    fn next_holes(&mut self) -> io::Result<Vec<(u64, u64)>> {
        self.next_ranges(RangeKind::Holes)
    }

    fn whole_cause(&self) -> Option<WholeCause> {
        self.whole
    }

    fn is_of_client(&self) -> bool {
        false
    }

    fn drop_base(&self) -> Rotation {
        let number = self.number;
        done(&self.pools, &VolumesToPool::DropBase { number })
    }

    fn rotate(&self, label: &BaseLabel) -> Rotation {
        let (number, label) = (self.number, *label);
        done(&self.pools, &VolumesToPool::Keep { number, label })
    }
}

impl Drop for Thin {
    /// A snapshot that became a base is not known by its number any more. If the role is gone, it
    /// has removed the snapshot.
    fn drop(&mut self) {
        let number = self.number;
        let _ = self.pools.send(&VolumesToPool::Release { number }, &[]);
    }
}

/// Asks the pool role, and waits until it has done what was asked.
pub(super) fn done(pools: &PoolWire, question: &VolumesToPool) -> Rotation {
    let errno = match ask(pools, question).map(|received| received.message) {
        Ok(PoolToVolumes::Done { errno }) => errno,
        _ => Errno::IO.raw_os_error(),
    };
    Rotation::Done(match errno {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    })
}

/// Asks the pool role, and waits for its answer.
pub(super) fn ask(
    pools: &PoolWire,
    question: &VolumesToPool,
) -> Result<Received<PoolToVolumes>, Fatal> {
    pools.send(question, &[])?;
    pools.receive()
}

/// The kernel's number of a block device that is open for reading. The pool role opens a snapshot
/// with its own rights, so whoever may not read a volume gets none.
fn number_of(source: &OwnedFd) -> Result<Option<DeviceNumber>, Fatal> {
    let found = rustix::fs::fstat(source.as_fd())?;
    let is_device = FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice;
    Ok((is_device && can_be_read(source)?).then(|| DeviceNumber {
        major: rustix::fs::major(found.st_rdev),
        minor: rustix::fs::minor(found.st_rdev),
    }))
}

/// Whether a descriptor was opened for reading. One opened by its path alone needs no right to
/// read.
fn can_be_read(file: &OwnedFd) -> Result<bool, Errno> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(!flags.contains(OFlags::PATH) && flags & OFlags::RWMODE != OFlags::WRONLY)
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;

    use super::*;

    #[test]
    fn a_descriptor_that_cannot_be_read_gives_no_right_to_a_snapshot() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let opened = |flags| rustix::fs::open(file.path(), flags, Mode::empty()).unwrap();
        for (flags, is_readable) in [
            (OFlags::RDONLY, true),
            (OFlags::RDWR, true),
            (OFlags::WRONLY, false),
            (OFlags::PATH, false),
        ] {
            assert_eq!(can_be_read(&opened(flags)), Ok(is_readable), "{flags:?}");
        }
    }
}
