// SPDX-License-Identifier: GPL-3.0-or-later
//! Everything that the engine meets, as one trait: clocks, randomness, state files, the far end,
//! volumes and targets.
//!
//! Each call is a point at which a test may stop the engine; so no call does two things that a
//! crash could part.

use std::sync::Arc;

use wyng_archive::Fault;
use wyng_archive::crypto::{ArchiveId, DataKey};
use wyng_control::{
    Asked, BaseLabel, BaseOf, Failure, FoundSource, Method, Progress, Remembered, TargetKind,
    TargetLook, ToClient,
};
use wyng_wire::{BlobName, Service};

pub use crate::ipc::{Beside, Found, There};

/// What lies under the name of a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The blob, which is new.
    New,
    /// The blob: it was there already.
    Same,
    /// Something else. The blob was not stored.
    Different,
    /// Something that cannot or may not be read. The blob was not stored.
    Unknown,
}

/// A receipt: PUT `number` ended so. Receipts come in the order of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// As [`World::put`] gave it.
    pub number: u64,
    /// How it ended.
    pub kept: Kept,
}

/// What became of a request to read.
pub enum Fetched<B> {
    /// Just the bytes that were asked for.
    Bytes(B),
    /// There is no such blob.
    Missing,
    /// The blob is shorter than what was asked for.
    Short,
    /// There is something that cannot be read: what is wrong with it.
    Unreadable(Fault),
}

impl<B> Fetched<B> {
    /// The bytes, or what is wrong with the blob. That is damage of this blob alone; others may be
    /// sound.
    pub fn or_fault(self) -> Result<B, Fault> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Missing => Err(Fault::Missing),
            Self::Short => Err(Fault::Length),
            Self::Unreadable(fault) => Err(fault),
        }
    }
}

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
    /// `ECANCELED`: the person interrupted while a stream was written.
    pub const CANCELED: Self = Self(125);
}

/// See the module's first line.
pub trait World {
    /// Room that is filled and then sent.
    type Buffer: AsMut<[u8]> + AsRef<[u8]> + Send + 'static;
    /// Bytes that came back.
    type Bytes: AsRef<[u8]> + Send + Sync + 'static;

    /// Nanoseconds since 1970 UTC by the wall clock.
    fn wall_nanos(&mut self) -> u64;
    /// Nanoseconds of a clock that only goes forward.
    fn monotonic_nanos(&mut self) -> u64;
    /// CPU time of this process so far, microseconds.
    fn cpu_micros(&mut self) -> u64;
    /// Peaks of the memory of this process and of those that it hears of, with what was on its way
    /// to the far end; 0: not measured.
    fn peak_bytes(&mut self) -> u64 {
        0
    }
    /// Whose process asked for the command.
    fn client_uid(&self) -> u32;
    /// This process.
    fn process_id(&self) -> u32;
    /// Fresh random bytes of the kernel.
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Failure>;
    /// The same, as an array.
    fn draw<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.random(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the local state can only be read here: an archive is then opened as it was last
    /// committed, and no file is changed.
    fn only_looks(&self) -> bool {
        false
    }
    /// Closes what was opened for a look, so that the next one finds the files that are there then.
    fn look_anew(&mut self) {}
    /// Whether the command is to begin anew: it waited for a passphrase while others waited for it.
    fn has_given_back(&self) -> bool {
        false
    }

    /// A whole file of the state; `None` if there is none. At most 256 MiB.
    fn read_file(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure>;
    /// Replaces a file, durably and at once: after a crash it is the old or the new one. Makes its
    /// folder.
    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure>;
    /// Appends; durable only after [`sync_file`](Self::sync_file).
    fn append_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure>;
    /// Makes a file's bytes and its name durable. An error here is as bad as a crash: the file must
    /// be read anew.
    fn sync_file(&mut self, name: &str) -> Result<(), Failure>;
    /// Cuts a file.
    fn truncate_file(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure>;
    /// The length of a file; `None` if there is none.
    fn file_bytes(&mut self, name: &str) -> Result<Option<u64>, Failure>;
    /// Fills `bytes` from `offset`; a short file is an error.
    fn read_file_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure>;
    /// Removes a file or a folder with all that is in it; that it is absent is no error.
    fn remove(&mut self, name: &str) -> Result<(), Failure>;
    /// The names in a folder of the state; none if there is no such folder.
    fn list_folder(&mut self, name: &str) -> Result<Vec<String>, Failure>;
    /// Makes `name` a link to `target`, durably. Makes its folder.
    fn make_link(&mut self, name: &str, target: &str) -> Result<(), Failure>;
    /// What a link points to; `None` if there is none.
    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure>;

    /// Starts the far end for one service and opens the destination. With `create` its last folder
    /// is made, and must be empty.
    fn connect(
        &mut self,
        service: Service,
        via: &str,
        destination: &str,
        create: bool,
    ) -> Result<(), Failure>;
    /// Room for one blob. What it holds at first is zeros, or a blob that was sent.
    fn buffer(&mut self, length_bytes: usize) -> Result<Self::Buffer, Failure>;
    /// Sends the first `length_bytes` under a name and gives the number of the PUT, counted from 1.
    /// Waits while the window is full.
    fn put(
        &mut self,
        name: BlobName,
        bytes: Self::Buffer,
        length_bytes: usize,
        may_use_reserve: bool,
    ) -> Result<u64, Failure>;
    /// The next receipt, if one is there; with `wait` until one is there. A store that is full,
    /// refuses or fails is an error.
    fn receipt(&mut self, wait: bool) -> Result<Option<Receipt>, Failure>;
    /// The bytes of the PUT whose receipt was the last one, if the store did not take them because
    /// the name was taken; once.
    fn take_back(&mut self) -> Result<Self::Buffer, Failure>;
    /// Ends the push: the far end has everything and said so.
    fn finish_push(&mut self) -> Result<(), Failure>;
    /// Asks for a range of a blob; answers come in the order of the questions.
    fn request(
        &mut self,
        name: BlobName,
        offset_bytes: u32,
        length_bytes: u32,
    ) -> Result<(), Failure>;
    /// The answer to the oldest question.
    fn answer(&mut self) -> Result<Fetched<Self::Bytes>, Failure>;
    /// What lies under a name; nothing of it is read.
    fn stat(&mut self, name: BlobName) -> Result<Found, Failure>;
    /// All blobs of the store, with their lengths, and whether every part of the store could be
    /// listed. Only a claim.
    fn list_store(&mut self, visit: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure>;
    /// Ends the fetch.
    fn finish_fetch(&mut self) -> Result<(), Failure>;

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
    /// asked only at its end. `offset` is a multiple of [`BLOCK_BYTES`](super::room::BLOCK_BYTES),
    /// and `bytes` are whole blocks of a [`Room`](super::room::Room).
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

    /// Asks the caller for a passphrase. [`Failure::NoPassphrase`] to [`Asked::Again`] where nobody
    /// can try again.
    fn passphrase(&mut self, asked: Asked) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure>;

    /// The credential of an archive, as the service manager unsealed it.
    fn sealed_credential(&mut self, archive: ArchiveId) -> Option<zeroize::Zeroizing<Vec<u8>>>;
    /// Keeps an archive's data key for so long, in the place of one that is kept already.
    fn keep_key(&mut self, archive: ArchiveId, key: Arc<DataKey>, secs: u64);
    /// The archive's data key, while it is kept.
    fn kept_key(&mut self, archive: ArchiveId) -> Option<Arc<DataKey>>;
    /// Wipes the archive's data key, or all, before their time.
    fn wipe_keys(&mut self, archive: Option<ArchiveId>);

    /// Writes a secret to a pipe of the caller, who shows it to the person; it passes through no
    /// other role.
    fn show_secret(&mut self, text: &[u8]) -> Result<(), Failure>;

    /// Tells the client a result.
    fn tell(&mut self, event: ToClient) -> Result<(), Failure>;
    /// Tells the client how far it is; called often, told seldom.
    fn progress(&mut self, progress: Progress);
    /// Did the person interrupt?
    fn cancelled(&mut self) -> bool;
}
