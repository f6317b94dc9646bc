// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between volumes and pool: snapshots of volumes of LVM and ZFS, and what they hold. A descriptor
//! travels beside a message only where its line says so. Volumes asks, and waits for the answer.

use bincode::{Decode, Encode};
use wyng_control::{
    BaseLabel, BaseOf, LogicalName, Method, TargetFault, ThinPage, ThinPlace, ThinRemoval,
    ThinWaste, WholeCause,
};

use super::jail::NotEnforced;

/// volumes → pool.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum VolumesToPool {
    /// A volume is to be snapshotted, and the snapshot activated for reading.
    /// [`PoolToVolumes::Snapshot`] or [`PoolToVolumes::NoSnapshot`] answers.
    Snapshot {
        /// The kernel's number of the volume's device.
        device: DeviceNumber,
        /// Volume whose base snapshot is looked for in the same pool.
        of: BaseOf,
    },
    /// The next ranges are wanted. [`PoolToVolumes::Ranges`] or [`PoolToVolumes::NoRanges`]
    /// answers.
    NextRanges {
        /// The snapshot's number.
        number: u32,
        /// The kind of ranges.
        kind: RangeKind,
    },
    /// The snapshot's session is committed: the snapshot gets this label, and the base before it
    /// goes. [`PoolToVolumes::Done`] answers.
    Keep {
        /// The snapshot's number.
        number: u32,
        /// The session that it holds.
        label: BaseLabel,
    },
    /// The base of this snapshot is not what its label says: it is to be removed.
    /// [`PoolToVolumes::Done`] answers.
    DropBase {
        /// The snapshot's number.
        number: u32,
    },
    /// A new volume is to be made for a restore, under a name of ours, from a base where one has
    /// this size. [`PoolToVolumes::Made`] or [`PoolToVolumes::NotMade`] answers.
    Make {
        /// Where it will lie in the end.
        place: ThinPlace,
        /// Its size, bytes; it is rounded up.
        size_bytes: u64,
        /// Volume whose base is looked for in that pool.
        of: BaseOf,
    },
    /// The new volume is complete: it gets its name. [`PoolToVolumes::Done`] answers.
    Name {
        /// The volume's number.
        number: u32,
    },
    /// A question about a volume of a qube that is restored in place.
    OfQube(QuestionOfQube),
    /// Our volumes and their pools are to be listed. [`PoolToVolumes::Listed`] answers.
    List {
        /// The number of volumes that were listed before.
        from: u32,
    },
    /// Something is to be removed, unless a run uses it. [`PoolToVolumes::Removed`] answers.
    Remove(ThinWaste),
    /// The snapshot is not needed any more. There is no answer.
    Release {
        /// The snapshot's number.
        number: u32,
    },
}

/// A volume of a qube in a thin pool, and the restore in place that it is kept for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OfQube {
    /// The pool, with its group.
    pub pool: LogicalName,
    /// The name of the volume in the same group, `vm-QUBE-VOLUME`.
    pub name: String,
    /// What tells this restore of this volume from every other.
    pub restore: [u8; 16],
}

/// What is asked about a qube's volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QuestionOfQube {
    /// What is there? [`PoolToVolumes::OfQube`] or [`PoolToVolumes::NotMade`] answers.
    Look(OfQube),
    /// What it is now is to be kept. The answers are the same.
    Keep(OfQube),
    /// A volume is to be made that will take its place. [`PoolToVolumes::Made`] or
    /// [`PoolToVolumes::NotMade`] answers.
    Make {
        /// The volume.
        of: OfQube,
        /// What the new one is a snapshot of.
        from: MadeFrom,
        /// The least size that it has, bytes.
        size_bytes: u64,
    },
    /// The new volume is complete, and qubesd has made an empty one for an import: the new one
    /// takes its place. [`PoolToVolumes::Done`] answers.
    PutImport {
        /// The new volume's number.
        number: u32,
    },
    /// qubesd has made the new volume the qube's. [`PoolToVolumes::Done`] answers: whether that is
    /// so. The number is not known any more then.
    CheckImport {
        /// The new volume's number.
        number: u32,
    },
    /// What was kept is to be removed. [`PoolToVolumes::Done`] or [`PoolToVolumes::NotMade`]
    /// answers.
    GiveUp(OfQube),
}

/// What a volume that takes the place of a qube's begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum MadeFrom {
    /// The qube's volume as it is now, which is what is kept.
    Present,
    /// What is kept.
    Kept,
}

/// pool → volumes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PoolToVolumes {
    /// Pool is in its jail; the protections that could not be enforced.
    Ready(Vec<NotEnforced>),
    /// A snapshot; with its device, opened for reading.
    Snapshot {
        /// Its number.
        number: u32,
        /// Its size, bytes.
        size_bytes: u64,
        /// The base's label, and its size in bytes.
        base: Option<(BaseLabel, u64)>,
        /// Why there is no base; `None` if there is one.
        whole: Option<WholeCause>,
        /// How its changes are found.
        method: Method,
    },
    /// There is no snapshot.
    NoSnapshot {
        /// Why not; `None` if the device is a volume of neither LVM nor ZFS.
        why: Option<WholeCause>,
    },
    /// Ranges of bytes, ascending and apart, at most [`CHANGES_MAX`](super::CHANGES_MAX). An empty
    /// list ends them.
    Ranges(Vec<(u64, u64)>),
    /// The ranges cannot be determined, and why not.
    NoRanges(WholeCause),
    /// A new volume; with its device, opened for reading and writing.
    Made {
        /// Its number.
        number: u32,
        /// Its size, bytes.
        size_bytes: u64,
        /// Length of the pool's blocks, bytes; 0 if it does not take them back.
        discards_bytes: u32,
        /// Bytes that may be taken before less than a tenth of the pool is free.
        room_bytes: u64,
        /// Length of the blocks in which the pool gives room, bytes.
        block_bytes: u64,
        /// The base that it is a snapshot of.
        base: Option<BaseLabel>,
    },
    /// There is no new volume.
    NotMade(TargetFault),
    /// What there is of a qube's volume.
    OfQube {
        /// The size of what is kept, bytes; `None` if nothing is.
        kept_bytes: Option<u64>,
        /// The volume is what is kept: a snapshot of it, or the very one that it is a snapshot
        /// of.
        is_back: bool,
        /// The pool has room for a snapshot.
        has_room: bool,
    },
    /// Our volumes; `None` if LVM or ZFS failed.
    Listed(Option<ThinPage>),
    /// What became of what was to be removed.
    Removed(ThinRemoval),
    /// It is done, or `errno` says why not.
    Done {
        /// 0, or the system's error number.
        errno: i32,
    },
}

/// What ranges of a snapshot are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RangeKind {
    /// Bytes in them may have changed since the base.
    Changes,
    /// They have never been written to, and read as zeros. Where changes were asked for before:
    /// those of the changes that read as zeros.
    Holes,
}

/// The kernel's number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct DeviceNumber {
    /// Number of its driver.
    pub major: u32,
    /// Number within the driver.
    pub minor: u32,
}
