// SPDX-License-Identifier: GPL-3.0-or-later
//! Sources, targets and their base snapshots, each under the number of its item.

use wyng_control::{
    ArchivedVolume, BaseLabel, BaseOf, ChosenQubes, Failure, FoundSource, InPlaceEnd, KeptQube,
    MachineFact, Method, QubeChoice, QubePart, QubesWish, Remembered, RestoredQube, TargetKind,
    TargetLook, Via, WholeCause,
};

pub use wyng_control::{Beside, There};

/// A source that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceShape {
    /// Its size when it was opened, bytes.
    pub size_bytes: u64,
    /// It stands still, and can become a base snapshot.
    pub snapshot: bool,
    /// What its base snapshot is of, and the snapshot's size in bytes.
    pub base: Option<(BaseLabel, u64)>,
    /// Where it lies.
    pub found: FoundSource,
}

/// The next ranges that may have changed since the base snapshot, ascending and disjoint; without
/// ranges, the end of the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePage {
    /// How the ranges were found.
    pub method: Method,
    /// Ranges of the source, bytes: `(begin, end)`.
    pub ranges: Vec<(u64, u64)>,
}

/// A part of a qube that is to be backed up.
#[derive(Debug, Clone, Copy)]
pub struct QubeSource<'a> {
    /// The qube's name.
    pub qube: &'a str,
    /// The qube's uuid.
    pub uuid: &'a str,
    /// The part.
    pub part: &'a QubePart,
    /// The running volume is wanted, if the qube runs.
    pub live: bool,
}

/// What the archive has of a qube that is to be restored.
#[derive(Debug, Clone)]
pub struct ArchivedQube {
    /// The qube as the archive has it: its volumes are `LABEL:VOLUME`.
    pub label: String,
    /// The number under which its settings record was restored.
    pub record: u32,
    /// Its volumes.
    pub volumes: Vec<ArchivedVolume>,
    /// The uuid of the qube on this machine that its history belongs to.
    pub uuid: Option<String>,
}

/// What a restore of qubes needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextOfQubes {
    /// A volume of a new qube is open, under this number, and is to be written.
    Import {
        /// The target's number.
        item: u32,
        /// The target.
        shape: TargetShape,
    },
    /// A volume cannot be written; its qube is not restored.
    NoImport {
        /// The target's number.
        item: u32,
    },
    /// This qube is made, or is known not to be.
    Made {
        /// What became of it.
        qube: RestoredQube,
        /// Why it was not made.
        failure: Option<Failure>,
    },
    /// All qubes are.
    Done,
}

/// A target that is wanted.
pub struct TargetWish<'a> {
    /// The volume's name.
    pub volume: &'a str,
    /// The name of the session that it will hold, seconds since 1970 UTC.
    pub session: i64,
    /// The size that it will have, bytes.
    pub size_bytes: u64,
    /// The base snapshot that may show what is there.
    pub base_of: BaseOf,
    /// The target is changed where it is.
    pub in_place: bool,
    /// The path from which the volume was backed up.
    pub origin: Option<Vec<u8>>,
}

/// A target that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetShape {
    /// Its kind, which says how it is written.
    pub kind: TargetKind,
    /// What is there already.
    pub there: Option<There>,
    /// Where it lies, unless the person named this place for this very command.
    pub remembered: Option<Remembered>,
    /// It was made for this restore, in a thin pool.
    pub fresh: Option<FreshVolume>,
}

/// A volume that was made in a thin pool. What is there, if anything, is a base snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshVolume {
    /// Its size, bytes: the session's, rounded up.
    pub size_bytes: u64,
    /// Bytes that may be taken before too little of the pool is free.
    pub room_bytes: u64,
    /// Length of the blocks in which the pool gives room, bytes.
    pub block_bytes: u64,
}

/// A failure to read or write a source or target, without the volume's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// `EIO`: the medium failed, or ended too early.
    pub const IO: Self = Self(5);
    /// `ECANCELED`: the person interrupted while a stream was written.
    pub const CANCELED: Self = Self(125);
}

/// Opens, reads and writes sources and targets.
pub trait Volumes {
    /// Asks the client for a source and for its base snapshot. `origin` is the path of the source,
    /// if the command does not name it.
    fn open_source(
        &mut self,
        item: u32,
        volume: &str,
        base_of: &BaseOf,
        origin: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure>;
    /// What whole qubes depend on, with these far ends; nothing where qubesd is not asked.
    fn check_machine(&mut self, _far_ends: &[Via]) -> Result<Vec<MachineFact>, Failure> {
        Ok(Vec::new())
    }
    /// The qubes of a backup, as qubesd knows them now. Those behind these far ends are not among
    /// them, and are not paused if `live` volumes are wanted. [`Failure::NoQubesHere`] where qubesd
    /// is not asked.
    fn choose_qubes(
        &mut self,
        _choice: &QubeChoice,
        _far_ends: &[Via],
        _live: bool,
    ) -> Result<ChosenQubes, Failure> {
        Err(Failure::NoQubesHere)
    }
    /// The same as [`open_source`](Self::open_source) for a part of a qube; a failure names it as
    /// `volume`.
    fn open_of_qube(
        &mut self,
        _item: u32,
        _volume: &str,
        _base_of: &BaseOf,
        _source: &QubeSource<'_>,
    ) -> Result<SourceShape, Failure> {
        Err(Failure::NoQubesHere)
    }
    /// Tells qubesd that all of a qube was backed up at this time, seconds since 1970 UTC. It is a
    /// hint for people: what cannot be told is left.
    fn note_backed_up(&mut self, _qube: &str, _uuid: &str, _time: i64) -> Result<(), Failure> {
        Ok(())
    }
    /// A new target in memory, which a settings record is restored to.
    fn open_record(&mut self, _item: u32, _volume: &str) -> Result<TargetShape, Failure> {
        Err(Failure::NoQubesHere)
    }
    /// Takes what the archive has of a qube, once its record is restored.
    /// [`Failure::QubeRecord`] if the record is refused.
    fn add_qube(&mut self, _qube: &ArchivedQube, _wish: &QubesWish) -> Result<(), Failure> {
        Err(Failure::NoQubesHere)
    }
    /// The commands, for a person, that set what the restored record of the whole system has and
    /// this system has not.
    fn system_commands(&mut self, _record: u32) -> Result<Vec<String>, Failure> {
        Err(Failure::NoQubesHere)
    }
    /// Plans the restore of the qubes that were added.
    fn plan_qubes(&mut self, _wish: &QubesWish, _is_proven: bool) -> Result<(), Failure> {
        Err(Failure::NoQubesHere)
    }
    /// The next lines of the plan; none at its end.
    fn next_plan_lines(&mut self) -> Result<Vec<String>, Failure> {
        Err(Failure::NoQubesHere)
    }
    /// Asks the person for the plan's confirmation. [`Failure::QubesNotConfirmed`] without it.
    fn confirm_qubes(&mut self) -> Result<(), Failure> {
        Err(Failure::NoQubesHere)
    }
    /// Does the next part of the plan.
    fn next_of_qubes(&mut self) -> Result<NextOfQubes, Failure> {
        Err(Failure::NoQubesHere)
    }
    /// The qubes of which what they were before restores in place is kept.
    fn kept_qubes(&mut self) -> Result<Vec<KeptQube>, Failure> {
        Err(Failure::NoQubesHere)
    }
    /// Gives up what a qube was before a restore in place, or puts it back. Returns what became of
    /// it, and why it was not done.
    fn settle_qube(
        &mut self,
        _qube: &str,
        _end: InPlaceEnd,
    ) -> Result<(RestoredQube, Option<Failure>), Failure> {
        Err(Failure::NoQubesHere)
    }
    /// The next page of changes since the base snapshot; `None` if they are not known.
    fn next_changes(&mut self, item: u32) -> Result<Option<ChangePage>, Failure>;
    /// Why a source of a thin pool has to be read whole, as far as it is known by now.
    fn whole_cause(&self, _item: u32) -> Option<WholeCause> {
        None
    }
    /// The next range at or after `offset` that may hold data, `(begin, end)`; `None` when only
    /// holes follow.
    fn next_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno>;
    /// Reads from a source; returns the number of bytes, less than asked only at its end.
    fn read_source(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno>;
    /// The size that the source has now, bytes.
    fn source_bytes(&mut self, item: u32) -> Result<u64, Errno>;
    /// Closes a source that was read; its snapshot stays until it is rotated.
    fn end_reading(&mut self, item: u32);
    /// Makes the snapshot of a source whose session is committed the new base snapshot, atomically;
    /// returns whether it did. If not, that is no failure: the next run reads more.
    fn rotate(&mut self, item: u32, label: &BaseLabel) -> Result<bool, Failure>;
    /// Closes a source that has no session to be committed.
    fn close_source(&mut self, item: u32);
    /// Removes the base snapshot of a source or target, because it was found to be wrong. Fails
    /// with [`Failure::BaseKept`] if it cannot be removed.
    fn drop_base(&mut self, item: u32) -> Result<(), Failure>;
    /// Has the client look at where a target goes. Nothing is made or changed.
    fn look_at_target(&mut self, item: u32, wish: &TargetWish<'_>) -> Result<TargetLook, Failure>;
    /// Asks the client for a target, which a failure names by `path`. A file beside it is read as a
    /// source with the same number.
    fn open_target(
        &mut self,
        item: u32,
        wish: &TargetWish<'_>,
        path: &str,
    ) -> Result<TargetShape, Failure>;
    /// The next range at or after `offset` of a target that may hold data, `(begin, end)`; `None`
    /// when only holes follow.
    fn next_target_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno>;
    /// Reads what the medium of a target has, past the page cache; returns the number of bytes,
    /// less than asked only at its end. `offset` is a multiple of
    /// [`BLOCK_BYTES`](crate::room::BLOCK_BYTES), and `bytes` are whole blocks of a
    /// [`Room`](crate::room::Room).
    fn read_target(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno>;
    /// Writes to a target: anywhere in a file or device, only onwards in a stream.
    fn write_target(&mut self, item: u32, offset: u64, bytes: &[u8]) -> Result<(), Errno>;
    /// Makes a range of a file or device read as zeros, as a hole where the file system has holes.
    fn punch_target(&mut self, item: u32, offset: u64, length: u64) -> Result<(), Errno>;
    /// Gives a file or stream its size, and makes a file or device durable.
    fn finish_target(&mut self, item: u32, size_bytes: u64) -> Result<(), Errno>;
    /// Lets the client give a target its name, durably, if it has none yet.
    fn place_target(&mut self, item: u32, volume: &str, path: &str) -> Result<(), Failure>;
    /// Gives a target that is changed where it is back what its clone has, at this size and in one
    /// step; returns whether it did.
    fn undo_target(&mut self, item: u32, size_bytes: u64) -> Result<bool, Failure>;
    /// Closes a target, and what is beside it.
    fn close_target(&mut self, item: u32);
    /// Peak of the memory of the role that opens volumes, bytes; 0: not measured.
    fn peak_bytes(&self) -> u64 {
        0
    }
}
