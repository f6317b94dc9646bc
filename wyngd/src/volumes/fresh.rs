// SPDX-License-Identifier: GPL-3.0-or-later
//! A volume that the pool role made for a restore. The keyholder writes it, and the pool role gives
//! it its name, or removes it.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use wyng_control::{BaseLabel, BaseOf, Method, PoolRefusal, TargetFault, ThinPlace};

use super::snapshot::{Rotation, Snapshot};
use super::thin::{PoolWire, ask, done};
use crate::ipc::{Fatal, PoolToVolumes, VolumesToPool};

/// A new volume without its name.
pub(super) struct Fresh {
    pools: Rc<PoolWire>,
    number: u32,
    size_bytes: u64,
    base: Option<BaseLabel>,
}

/// A new volume as it goes to the keyholder.
pub(super) struct Made {
    pub(super) fresh: Fresh,
    /// Its size, bytes.
    pub(super) size_bytes: u64,
    /// Length of the pool's blocks, bytes; 0 if it does not take them back.
    pub(super) discards_bytes: u32,
    /// Bytes that may be taken.
    pub(super) room_bytes: u64,
    /// Length of the blocks in which the pool gives room, bytes.
    pub(super) block_bytes: u64,
    pub(super) device: OwnedFd,
}

/// What became of the wish for a new volume.
pub(super) enum Tried {
    /// It is there.
    Made(Made),
    /// It is not.
    Refused(TargetFault),
}

/// Has a volume made.
pub(super) fn make(
    pools: Option<&Rc<PoolWire>>,
    place: ThinPlace,
    size_bytes: u64,
    of: BaseOf,
) -> Result<Tried, Fatal> {
    let Some(pools) = pools else {
        return Ok(Tried::Refused(TargetFault::Pool(PoolRefusal::NotRoot)));
    };
    let question = VolumesToPool::Make {
        place,
        size_bytes,
        of,
    };
    let received = ask(pools, &question)?;
    match received.message {
        PoolToVolumes::Made {
            number,
            size_bytes,
            discards_bytes,
            room_bytes,
            block_bytes,
            base,
        } => Ok(Tried::Made(Made {
            fresh: Fresh {
                pools: Rc::clone(pools),
                number,
                size_bytes,
                base,
            },
            size_bytes,
            discards_bytes,
            room_bytes,
            block_bytes,
            device: received.descriptor()?,
        })),
        PoolToVolumes::NotMade(fault) => Ok(Tried::Refused(fault)),
        _ => Err(Fatal::Unexpected(pools.peer())),
    }
}

impl Snapshot for Fresh {
    fn base(&self) -> Option<(BaseLabel, u64)> {
        self.base.map(|label| (label, self.size_bytes))
    }

    /// It is a snapshot of its base, to which nothing was written.
    fn next_changes(&mut self) -> io::Result<(Method, Vec<(u64, u64)>)> {
        match self.base {
            Some(_) => Ok((Method::ThinDelta, Vec::new())),
            None => Err(io::Error::other("a new volume has no base")),
        }
    }

    fn is_of_client(&self) -> bool {
        false
    }

    fn drop_base(&self) -> Rotation {
        let number = self.number;
        done(&self.pools, &VolumesToPool::DropBase { number })
    }

    fn rotate(&self, _label: &BaseLabel) -> Rotation {
        Rotation::Done(Err(Errno::OPNOTSUPP))
    }

    fn give_name(&self) -> Result<(), Errno> {
        let number = self.number;
        match done(&self.pools, &VolumesToPool::Name { number }) {
            Rotation::Done(done) => done,
            Rotation::ByClient => Err(Errno::IO),
        }
    }
}

impl Drop for Fresh {
    /// A volume that has its name is not known by its number any more.
    fn drop(&mut self) {
        let number = self.number;
        let _ = self.pools.send(&VolumesToPool::Release { number }, &[]);
    }
}
