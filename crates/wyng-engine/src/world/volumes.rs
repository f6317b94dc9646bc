// SPDX-License-Identifier: GPL-3.0-or-later
//! Sources, targets and their base snapshots, each under the number of its item.

use wyng_control::{
    BaseLabel, BaseOf, Failure, FoundSource, Method, Remembered, TargetKind, TargetLook,
};

pub use wyng_control::{Beside, There};

/// A source that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceShape {
    /// Its size when it was opened.
    pub size_bytes: u64,
    /// It stands still, and can become a base.
    pub snapshot: bool,
    /// What its base is of, and how large the base is.
    pub base: Option<(BaseLabel, u64)>,
    /// Where it lies.
    pub found: FoundSource,
}

/// The next ranges that may have changed since the base, ascending and apart, and how they were
/// found; none: that was all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePage {
    /// How.
    pub method: Method,
    /// Bytes of the source: `(begin, end)`.
    pub ranges: Vec<(u64, u64)>,
}

/// A target that is wanted.
pub struct TargetWish<'a> {
    /// The volume's name.
    pub volume: &'a str,
    /// The name of the session that it will hold, seconds since 1970 UTC.
    pub session: i64,
    /// The size that it will have.
    pub size_bytes: u64,
    /// Whose base snapshot may tell what is there.
    pub base_of: BaseOf,
    /// It is changed where it is.
    pub in_place: bool,
    /// The path that the volume was backed up from.
    pub origin: Option<Vec<u8>>,
}

/// A target that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetShape {
    /// What can be done with it.
    pub kind: TargetKind,
    /// What stands where it goes.
    pub there: Option<There>,
    /// Where it lies, unless the person named this place for this very command.
    pub remembered: Option<Remembered>,
}

/// A failure to read or write a source or target, before the volume's name is put to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// `EIO`: the medium failed, or ended too early.
    pub const IO: Self = Self(5);
    /// `ECANCELED`: the person interrupted while a stream was written.
    pub const CANCELED: Self = Self(125);
}

/// See the module's first line.
pub trait Volumes {
    /// Asks the caller for a source, and for its base snapshot. `origin` is its path, if the
    /// command itself does not say it.
    fn open_source(
        &mut self,
        item: u32,
        volume: &str,
        base_of: &BaseOf,
        origin: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure>;
    /// The next page of what changed since the base; `None` when that cannot be told.
    fn next_changes(&mut self, item: u32) -> Result<Option<ChangePage>, Failure>;
    /// The next range at or after `offset` that may hold data, `(begin, end)`; `None` when only
    /// holes follow.
    fn next_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno>;
    /// Reads from a source; the number of bytes, less than asked only at its end.
    fn read_source(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno>;
    /// The size that the source has now.
    fn source_bytes(&mut self, item: u32) -> Result<u64, Errno>;
    /// The source is read; its snapshot stands still until it is rotated.
    fn end_reading(&mut self, item: u32);
    /// The source's session is committed: its snapshot becomes the base, at once, in the place of
    /// the one before; whether it did. That it cannot is no failure: the next run reads more.
    fn rotate(&mut self, item: u32, label: &BaseLabel) -> Result<bool, Failure>;
    /// Done with a source that has no session to be committed.
    fn close_source(&mut self, item: u32);
    /// The base snapshot of the source or target with this number says what is not so: whoever has
    /// it removes it.
    fn drop_base(&mut self, item: u32) -> Result<(), Failure>;
    /// Has the caller look at where a target goes. Nothing is made or changed.
    fn look_at_target(&mut self, item: u32, wish: &TargetWish<'_>) -> Result<TargetLook, Failure>;
    /// Asks the caller for a target, which `path` names in a failure. A file beside it is read
    /// under the same number as a source.
    fn open_target(
        &mut self,
        item: u32,
        wish: &TargetWish<'_>,
        path: &str,
    ) -> Result<TargetShape, Failure>;
    /// The next range at or after `offset` of a target that may hold data, `(begin, end)`; `None`
    /// when only holes follow.
    fn next_target_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno>;
    /// Reads from a target what its medium has, past the page cache; the number of bytes, less than
    /// asked only at its end. `offset` is a multiple of [`BLOCK_BYTES`](crate::room::BLOCK_BYTES),
    /// and `bytes` are whole blocks of a [`Room`](crate::room::Room).
    fn read_target(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno>;
    /// Writes to a target: anywhere in a file or device, only onwards in a stream.
    fn write_target(&mut self, item: u32, offset: u64, bytes: &[u8]) -> Result<(), Errno>;
    /// Has a range of a target that is a file or a device read as zeros, as a hole where that can
    /// be.
    fn punch_target(&mut self, item: u32, offset: u64, length: u64) -> Result<(), Errno>;
    /// Gives a file or stream its size, and makes a file or device durable.
    fn finish_target(&mut self, item: u32, size_bytes: u64) -> Result<(), Errno>;
    /// Lets the caller give a target its name, durably, if it has none yet.
    fn place_target(&mut self, item: u32, volume: &str, path: &str) -> Result<(), Failure>;
    /// A target that is changed where it is becomes at once again what its clone is, of this size;
    /// whether it did.
    fn undo_target(&mut self, item: u32, size_bytes: u64) -> Result<bool, Failure>;
    /// Done with a target, and with what is beside it.
    fn close_target(&mut self, item: u32);
    /// Peak of the memory of the role that opens volumes, bytes; 0: not measured.
    fn peak_bytes(&self) -> u64 {
        0
    }
}
