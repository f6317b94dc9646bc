// SPDX-License-Identifier: GPL-3.0-or-later
//! The store, by way of a far end: at most one push, one prune and one fetch at a time.

use wyng_archive::Fault;
use wyng_control::{Abilities, Failure};
use wyng_wire::{BlobName, Service};

pub use wyng_control::Found;

use super::place::Place;
use super::random::Random;

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
    /// Something that may not be read. With what the far end was given, only these bytes could be
    /// put under the name: where the name is that of the bytes, the blob is there.
    Signed,
}

/// The name of a blob that may be deleted: neither a commit, nor a slot that the head lists, nor a
/// pack that anything needs. Only the guard of `space` makes one, after its check, and
/// `store check` for the name that it draws, so that no DELETE can be signed for any other name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doomed(BlobName);

impl Doomed {
    /// The name of a blob that the guard has checked.
    pub(crate) fn by_the_guard(name: BlobName) -> Self {
        Self(name)
    }

    /// A name that was drawn for a trial of a store: no archive has it.
    pub(crate) fn drawn(random: &mut impl Random) -> Result<Self, Failure> {
        random.draw().map(|name| Self(BlobName(name)))
    }

    /// The name.
    pub fn name(self) -> BlobName {
        self.0
    }
}

/// How a PUT ended. Receipts come in the order of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The number that [`Store::put`] gave.
    pub number: u64,
    /// What lies under the name now.
    pub kept: Kept,
}

/// The answer to a request to read.
pub enum Fetched<B> {
    /// Exactly the bytes that were asked for.
    Bytes(B),
    /// There is no such blob.
    Missing,
    /// The blob is shorter than the range that was asked for.
    Short,
    /// Something is there that cannot be read: what is wrong with it.
    Unreadable(Fault),
}

impl<B> Fetched<B> {
    /// The bytes, or what is wrong with the blob. That is damage of this blob alone; other blobs
    /// may be sound.
    pub fn or_fault(self) -> Result<B, Fault> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Missing => Err(Fault::Missing),
            Self::Short => Err(Fault::Length),
            Self::Unreadable(fault) => Err(fault),
        }
    }
}

/// Answer to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, durably.
    Gone,
    /// There was no such blob.
    Absent,
    /// It is still there: the store does not allow its deletion.
    Refused,
}

/// A blob whose lock is to be lengthened, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasting {
    /// Its name.
    pub name: BlobName,
    /// The day of UTC until whose beginning it is locked, counted from the beginning of 1970; at
    /// least 1.
    pub until_day: u32,
}

/// Answer to the lengthening of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The blob is locked until the day, or longer.
    Locked,
    /// There is no such blob.
    Missing,
    /// The store has no locks that could be lengthened.
    Unsupported,
    /// The store does not allow it.
    Refused,
    /// The store failed for this blob; others may be made longer.
    Failed,
}

/// How much one command may spend on lengthening locks. The next one continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalBudget {
    /// Maximum number of requests.
    pub requests_max: usize,
    /// Time after which no further one is made, nanoseconds.
    pub nanos_max: u64,
}

impl Default for RenewalBudget {
    fn default() -> Self {
        Self {
            requests_max: 10_000,
            nanos_max: 10 * 60 * 1_000_000_000,
        }
    }
}

/// Which store a far end is to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenStore {
    /// One that exists.
    #[default]
    Existing,
    /// One that exists, and whose first PUT also tries what the store refuses.
    Tried,
    /// A new one: its last folder is made, and must be empty. It is tried too.
    New,
}

/// Whether a blob may take the room that a store keeps free for slots and commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// It may not: the store counts as full once only the reserve is left.
    Untouched,
    /// It may.
    Usable,
}

/// Whether a receipt is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Takes a receipt only if one has already arrived.
    Never,
    /// Until there is one.
    UntilThere,
}

/// Pushes blobs to a store, fetches them and deletes them.
pub trait Store {
    /// A buffer that is filled and then sent.
    type Buffer: AsMut<[u8]> + AsRef<[u8]> + Send + 'static;
    /// Bytes that came back.
    type Bytes: AsRef<[u8]> + Send + Sync + 'static;

    /// Starts a far end for one service and has it open the store at this place.
    fn connect(&mut self, service: Service, place: &Place, open: OpenStore) -> Result<(), Failure>;
    /// A buffer for one blob. It holds zeros, or a blob that was sent.
    fn buffer(&mut self, length_bytes: usize) -> Result<Self::Buffer, Failure>;
    /// Sends the first `length_bytes` of a buffer under a name and returns the number of the PUT,
    /// counted from 1. Waits while the window is full.
    fn put(
        &mut self,
        name: BlobName,
        bytes: Self::Buffer,
        length_bytes: usize,
        reserve: Reserve,
    ) -> Result<u64, Failure>;
    /// The next receipt; `None` if there is none, or none yet. A store that is full, refuses or
    /// fails is an error.
    fn receipt(&mut self, wait: Wait) -> Result<Option<Receipt>, Failure>;
    /// The bytes of the PUT of the last receipt, if the store did not take them because the name
    /// was taken. They are given back once.
    fn take_back(&mut self) -> Result<Self::Buffer, Failure>;
    /// Requests that the lock of a blob be lengthened, in a push that puts nothing; answers come in
    /// the order of the requests.
    fn renew(&mut self, lasting: Lasting) -> Result<(), Failure>;
    /// The answer to the oldest request to lengthen a lock. A far end that ends is an error.
    fn renewed(&mut self) -> Result<Renewed, Failure>;
    /// How much one command may spend on lengthening locks.
    fn renewal_budget(&self) -> RenewalBudget {
        RenewalBudget::default()
    }
    /// Ends the push: the far end has said that it has everything.
    fn finish_push(&mut self) -> Result<(), Failure>;
    /// Requests the deletion of a blob; answers come in the order of the names.
    fn delete(&mut self, doomed: Doomed) -> Result<(), Failure>;
    /// The answer to the oldest deletion. A store that fails is an error.
    fn deleted(&mut self) -> Result<Deleted, Failure>;
    /// Ends the prune.
    fn finish_prune(&mut self) -> Result<(), Failure>;
    /// Asks for a range of a blob; answers come in the order of the requests.
    fn request(
        &mut self,
        name: BlobName,
        offset_bytes: u32,
        length_bytes: u32,
    ) -> Result<(), Failure>;
    /// From now on requests for this blob read its `version`-th older version, where the store
    /// keeps any; 0: the blob that the store serves. At most [`wyng_wire::GET_VERSION_MAX`]. Holds
    /// until the next fetch is connected.
    fn show_version(&mut self, name: BlobName, version: u8);
    /// The answer to the oldest request.
    fn answer(&mut self) -> Result<Fetched<Self::Bytes>, Failure>;
    /// What lies under a name, of which nothing is read.
    fn stat(&mut self, name: BlobName) -> Result<Found, Failure>;
    /// The same for several names, in their order. A store far away is asked for all of them before
    /// it answers.
    fn stat_each(&mut self, names: &[BlobName]) -> Result<Vec<Found>, Failure> {
        names.iter().map(|name| self.stat(*name)).collect()
    }
    /// Visits every blob of the store with its length in bytes; returns whether every part of the
    /// store could be listed. All of it is only a claim.
    fn list(&mut self, visit: &mut dyn FnMut(BlobName, u64)) -> Result<bool, Failure>;
    /// Ends the fetch.
    fn finish_fetch(&mut self) -> Result<(), Failure>;
    /// The free space that a far end stated since the last call, MiB; `None`: none did. It is only
    /// a claim.
    fn take_free_mib(&mut self) -> Option<u32> {
        None
    }
    /// What far ends stated about the store since the last call, and what trials showed. It is only
    /// a claim.
    fn take_abilities(&mut self) -> Abilities {
        Abilities::default()
    }
    /// Peak of the memory of the role that carries blobs, with the blobs on their way, bytes; 0:
    /// not measured.
    fn peak_bytes(&self) -> u64 {
        0
    }
}
