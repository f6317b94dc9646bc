// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between volumes and keyholder: sources, what changed in them, and targets. A descriptor
//! travels beside a message only where its line says so.

use bincode::{Decode, Encode};
use wyng_control::{
    ArchivedVolume, BaseLabel, BaseOf, ChosenQubes, Failure, FoundSource, InPlaceEnd, KeptQube,
    LeftOut, MachineFact, Method, NoSource, QubeChoice, QubePart, QubesWish, Remembered,
    RestoredQube, TargetFault, TargetKind, There, Via, WholeCause,
};

/// Maximum number of ranges in one message, of which each takes at most 18 bytes.
pub const CHANGES_MAX: usize = 2048;

/// keyholder → volumes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyholderToVolumes {
    /// The command has ended: snapshots and targets that are kept for it are closed.
    EndAll,
    /// A source is to be opened for reading.
    OpenSource {
        /// Its number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// Volume whose base snapshot is looked for.
        base_of: BaseOf,
        /// Path that the volume was backed up from, if the command itself names none.
        origin: Option<Vec<u8>>,
    },
    /// What whole qubes depend on is to be checked. [`VolumesToKeyholder::Machine`] answers.
    CheckMachine {
        /// The far ends that are checked.
        far_ends: Vec<Via>,
    },
    /// The qubes of a backup are to be chosen.
    ChooseQubes {
        /// Which ones the person asks for.
        choice: QubeChoice,
        /// Qubes behind these are not taken.
        far_ends: Vec<Via>,
        /// Running volumes are wanted.
        live: bool,
    },
    /// A part of a qube is to be opened for reading: a volume is answered with
    /// [`VolumesToKeyholder::Source`], a settings record with [`VolumesToKeyholder::Settings`].
    OpenOfQube {
        /// Its number.
        item: u32,
        /// The qube's name.
        qube: String,
        /// The qube's uuid.
        uuid: String,
        /// The part.
        part: QubePart,
        /// Volume whose base snapshot is looked for.
        base_of: BaseOf,
        /// The running volume is wanted, if the qube runs.
        live: bool,
    },
    /// All of a qube was backed up.
    NoteBackedUp {
        /// The qube's name.
        qube: String,
        /// The qube's uuid.
        uuid: String,
        /// The name of its sessions, seconds since 1970 UTC.
        time: i64,
    },
    /// A new memory file is to be made, which a settings record is restored to.
    OpenRecord {
        /// Its number.
        item: u32,
    },
    /// A record is complete: it is to be decoded, with what the archive has beside it.
    AddQube {
        /// The qube as the archive has it.
        label: String,
        /// The record's number.
        record: u32,
        /// Its volumes.
        volumes: Vec<ArchivedVolume>,
        /// The uuid of the qube on this machine that its history belongs to.
        uuid: Option<String>,
        /// What is asked for.
        wish: QubesWish,
    },
    /// The record of the whole system is complete: what differs here is to be shown, as
    /// [`VolumesToKeyholder::PlanLines`].
    ShowSystem {
        /// The record's number.
        record: u32,
    },
    /// A plan is to be made of the qubes that were added.
    PlanQubes {
        /// What is asked for.
        wish: QubesWish,
        /// The archive's history is proven.
        is_proven: bool,
    },
    /// The next lines of the plan are wanted.
    NextPlanLines,
    /// The plan is confirmed: its next part is to be done. A new qube's volume is answered with
    /// [`VolumesToKeyholder::Target`].
    NextOfQubes,
    /// Which qubes are kept as they were before restores in place is to be told.
    KeptQubes,
    /// What a qube was before a restore in place is to be given up, or put back.
    SettleQube {
        /// The qube's name.
        qube: String,
        /// Which of the two.
        end: InPlaceEnd,
    },
    /// The volume of a new qube is complete and durable: its import is to be ended.
    EndImport {
        /// Its number.
        item: u32,
    },
    /// The next ranges that changed since the base are wanted.
    NextChanges {
        /// The source's number.
        item: u32,
    },
    /// The next ranges of a snapshot that read as zeros are wanted.
    NextHoles {
        /// The source's number.
        item: u32,
    },
    /// The source's session is committed: the snapshot that it was read from becomes the base.
    Rotate {
        /// The source's number.
        item: u32,
        /// The session that it holds.
        label: BaseLabel,
    },
    /// The base snapshot of this source or target is not what its label says: it is to be removed.
    /// [`VolumesToKeyholder::BaseDropped`] answers.
    DropBase {
        /// Its number.
        item: u32,
    },
    /// This source has no session to commit, or this target is done with.
    CloseSource {
        /// Its number.
        item: u32,
    },
    /// A target is to be made or opened.
    OpenTarget {
        /// Its number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// Size that it will have, bytes.
        size_bytes: u64,
        /// Volume whose base snapshot is looked for.
        base_of: BaseOf,
        /// It is changed in place.
        in_place: bool,
        /// Path that the volume was backed up from.
        origin: Option<Vec<u8>>,
    },
    /// A new volume of a thin pool is complete: it is to get its name.
    /// [`VolumesToKeyholder::Named`] answers.
    NameTarget {
        /// The target's number.
        item: u32,
    },
    /// A target that was changed in place is to become again what it was.
    Undo {
        /// Its number.
        item: u32,
    },
}

/// volumes → keyholder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum VolumesToKeyholder {
    /// A source; with its descriptor.
    Source {
        /// Its number.
        item: u32,
        /// Its size now, bytes.
        size_bytes: u64,
        /// The descriptor is a snapshot, which can become a base.
        snapshot: bool,
        /// The base snapshot's label, and its size in bytes.
        base: Option<(BaseLabel, u64)>,
        /// Why a volume of a thin pool has no base, or no snapshot.
        whole: Option<WholeCause>,
        /// Where it lies.
        found: FoundSource,
        /// Peak of the volumes role's resident memory, bytes.
        peak_rss_bytes: u64,
    },
    /// The qubes that were chosen.
    Qubes {
        /// They, and what is left out.
        chosen: ChosenQubes,
    },
    /// What whole qubes depend on.
    Machine {
        /// The facts, as many as fit a message; none outside of dom0.
        facts: Vec<MachineFact>,
    },
    /// No qubes can be chosen.
    NoQubes {
        /// Why.
        failure: Failure,
    },
    /// A settings record, in a sealed memory file; with its descriptor.
    Settings {
        /// Its number.
        item: u32,
        /// Its length, bytes.
        size_bytes: u64,
        /// What is not in it.
        left_out: Vec<LeftOut>,
        /// Peak of the volumes role's resident memory, bytes.
        peak_rss_bytes: u64,
    },
    /// It was tried to tell qubesd of the backup.
    Noted,
    /// The qube's record is taken, or `failure` says why not.
    QubeAdded {
        /// Why it is refused.
        failure: Option<Failure>,
    },
    /// The plan is made, or `failure` says why not.
    Planned {
        /// Why there is none.
        failure: Option<Failure>,
    },
    /// Lines of the plan; none at its end.
    PlanLines {
        /// At most 16 KiB.
        lines: Vec<String>,
    },
    /// The volume of a qube cannot be written; the qube is not restored.
    NoImport {
        /// Its number.
        item: u32,
    },
    /// The import is ended, or `failure` says why not.
    ImportEnded {
        /// Its number.
        item: u32,
        /// Why the volume is not in its place.
        failure: Option<Failure>,
    },
    /// Qubes of which what they were before restores in place is kept.
    KeptQubes {
        /// At most 256.
        kept: Vec<KeptQube>,
    },
    /// A qube is made, or settled, or is known not to be.
    QubeMade {
        /// What became of it.
        qube: RestoredQube,
        /// Why it was not made.
        failure: Option<Failure>,
    },
    /// The plan is done, or cannot be begun.
    QubesDone {
        /// Why it was not begun.
        failure: Option<Failure>,
    },
    /// The source could not be opened.
    NoSource {
        /// Its number.
        item: u32,
        /// The path that was tried.
        path: Vec<u8>,
        /// Why it is not available.
        why: NoSource,
    },
    /// Ranges `(begin, end)` in which bytes may have changed since the base, ascending and apart,
    /// at most [`CHANGES_MAX`]. An empty list ends them.
    Changes {
        /// The source's number.
        item: u32,
        /// How the ranges were found.
        method: Method,
        /// Ranges of the source, bytes.
        ranges: Vec<(u64, u64)>,
    },
    /// Ranges `(begin, end)` of a snapshot that read as zeros and need not be read, ascending and
    /// apart, at most [`CHANGES_MAX`]. An empty list ends them.
    Holes {
        /// The source's number.
        item: u32,
        /// Ranges of the source, bytes.
        ranges: Vec<(u64, u64)>,
    },
    /// The changes or holes cannot be determined.
    NoChanges {
        /// The source's number.
        item: u32,
        /// Why not, for a volume of a thin pool.
        whole: Option<WholeCause>,
    },
    /// The snapshot is the base now, or `errno` says why not.
    Rotated {
        /// The source's number.
        item: u32,
        /// 0, or the system's error number.
        errno: i32,
    },
    /// The base snapshot is gone, or `errno` says why not.
    BaseDropped {
        /// The number of the source or target.
        item: u32,
        /// 0, or the system's error number.
        errno: i32,
    },
    /// A target; with its descriptor, and behind it that of what [`There::beside`] names.
    Target {
        /// Its number.
        item: u32,
        /// Its kind.
        kind: TargetKind,
        /// What already lies there.
        there: Option<There>,
        /// Length of the blocks that a thin volume gives back when they are discarded, bytes; 0 if
        /// it is none.
        discards_bytes: u32,
        /// It was made for this restore in a thin pool.
        fresh: Option<FreshVolume>,
        /// Where it lies, unless the person named this place for this very command.
        remembered: Option<Remembered>,
    },
    /// The new volume has its name, or `errno` says why not.
    Named {
        /// The target's number.
        item: u32,
        /// 0, or the system's error number.
        errno: i32,
    },
    /// The target is again what it was, or `errno` says why not.
    Undone {
        /// Its number.
        item: u32,
        /// 0, or the system's error number.
        errno: i32,
    },
    /// The target is not available.
    NoTarget {
        /// Its number.
        item: u32,
        /// Why it is not available.
        fault: TargetFault,
    },
}

/// A volume that was made in a thin pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FreshVolume {
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Bytes that may be taken before too little of the pool is free.
    pub room_bytes: u64,
    /// Length of the blocks in which the pool gives room, bytes.
    pub block_bytes: u64,
}
