// SPDX-License-Identifier: GPL-3.0-or-later
//! The operations that a service needs of a store, one small trait each, so that the push path
//! cannot even name a read. The meaning of blobs is not known here.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use wyng_s3::{Signature, Stamp};
use wyng_wire::{BlobName, ListStatus, Signed};

use super::error::StoreError;
use crate::piece::Piece;

/// The outcome of a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// The blob is new and durable.
    New,
    /// The same, and it was sent twice at the same moment: the store refused one of the two.
    Once,
    /// The same, and the store took both; or it was seen in this call to replace what has a name.
    Twice,
    /// The name held the same bytes already; they are durable.
    Same,
    /// The name holds something else.
    Different,
    /// The name is taken, and its file cannot or may not be read.
    Unknown,
}

/// Whether a blob may take the space that is kept so that a full store can still be pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// The last [`wyng_wire::RESERVE_BYTES`] stay free.
    Kept,
    /// The blob may be stored in them.
    Usable,
}

/// What the daemon signed for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The signature.
    pub(crate) signature: Signature,
    /// SHA-256 of the body that it allows.
    pub(crate) body_sha256: [u8; 32],
}

impl From<&Signed<'_>> for Given {
    fn from(signed: &Signed<'_>) -> Self {
        let token = (!signed.token.is_empty()).then(|| signed.token.to_owned());
        Self {
            signature: Signature {
                key_id: signed.key_id.to_owned(),
                token,
                stamp: Stamp::at(i64::try_from(signed.time_secs).unwrap_or(i64::MAX)),
                mac: signed.signature,
            },
            body_sha256: signed.body_sha256,
        }
    }
}

/// The answer of a store that knows no signatures. The daemon signs for no such store.
fn knows_no_signatures() -> StoreError {
    StoreError::Refused {
        step: "use a signature",
        errno: Errno::OPNOTSUPP,
    }
}

/// A store that takes blobs.
pub(crate) trait Push: Sync {
    /// An upload, which leaves nothing behind when it is dropped before it is finished.
    type Upload: Upload;

    /// Maximum number of blobs that are received or stored at a time, at least 2: one is received
    /// while another one is made durable.
    const BODIES_AT_ONCE: usize;

    /// Begins a blob of `length_bytes`. Nothing is visible under its name until it is finished.
    fn begin(
        &self,
        name: &BlobName,
        length_bytes: u32,
        reserve: Reserve,
    ) -> Result<Self::Upload, StoreError>;

    /// The same with a request that the daemon signed.
    fn begin_signed(
        &self,
        _name: &BlobName,
        _length_bytes: u32,
        _given: Given,
    ) -> Result<Self::Upload, StoreError> {
        Err(knows_no_signatures())
    }

    /// Begins to lengthen the lock of a blob to a day of UTC, perhaps with a request that the
    /// daemon signed. Only stores with locks override it.
    fn renew(&self, _name: &BlobName, _until_day: u32, _given: Option<Given>) -> Renewal {
        Box::new(|| Ok(Renewed::Unsupported))
    }
}

/// The outcome of a RENEW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// The blob is locked until the day, or longer.
    Locked,
    /// There is no such blob.
    Absent,
    /// The store has no locks, or its address does not say how it locks.
    Unsupported,
}

/// A RENEW under way: it is waited for until it is over.
pub(crate) type Renewal = Box<dyn FnOnce() -> Result<Renewed, StoreError> + Send>;

/// A blob that is being stored.
pub(crate) trait Upload: Send {
    /// Appends bytes to the blob.
    fn write(&mut self, piece: &[u8]) -> Result<(), StoreError>;

    /// The file to which the kernel may append bytes of the blob directly; `None` if all bytes must
    /// pass through [`Upload::write`].
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Gives the blob its name if the name is free, and returns when the outcome is durable.
    fn finish(self) -> Result<Placed, StoreError>;
}

/// A store that deletes blobs.
pub(crate) trait Prune {
    /// Deletes one blob, and returns whether it existed. Durable only after [`Prune::settle`].
    fn delete(&mut self, name: &BlobName) -> Result<bool, StoreError>;

    /// The same with a request that the daemon signed.
    fn delete_signed(&mut self, _name: &BlobName, _given: &Given) -> Result<bool, StoreError> {
        Err(knows_no_signatures())
    }

    /// Makes every deletion so far durable.
    fn settle(&mut self) -> Result<(), StoreError>;
}

/// A store that lists and reads blobs.
pub(crate) trait Fetch {
    /// A blob that is open for reading.
    type Blob: Blob;

    /// Maximum number of requests that the store is asked at a time. 1: it is next to the helper,
    /// and is asked one request after the other.
    const REQUESTS_AT_ONCE: usize;

    /// Calls `visit` with every blob and its length, bytes, in no order. `Ok(false)`: part of the
    /// store could not be read.
    fn list<E>(&self, visit: impl FnMut(&BlobName, u64) -> Result<(), E>) -> Result<bool, E>;

    /// The length of a blob, bytes, if it exists. The blob is not opened, so it may still be
    /// unreadable.
    fn stat(&self, name: &BlobName) -> Result<Option<u64>, StoreError>;

    /// Calls `visit` with the blobs of one page of the listing, which the daemon signed; the page
    /// begins behind `after`.
    fn list_page<E>(
        &self,
        _after: Option<&BlobName>,
        _given: &Given,
        _visit: impl FnMut(&BlobName, u64) -> Result<(), E>,
    ) -> Result<ListStatus, E> {
        Ok(ListStatus::Incomplete)
    }

    /// [`Fetch::stat`] with a request that the daemon signed.
    fn stat_signed(&self, _name: &BlobName, _given: &Given) -> Result<Option<u64>, StoreError> {
        Err(knows_no_signatures())
    }

    /// The ids of the older versions of a blob, the newest first, by a request that the daemon
    /// signed.
    fn versions_signed(&self, _name: &BlobName, _given: &Given) -> Result<Vec<String>, StoreError> {
        Err(knows_no_signatures())
    }

    /// Opens a blob, if it exists.
    fn open_blob(&self, name: &BlobName) -> Result<Option<Self::Blob>, StoreError>;

    /// Opens a blob to read one range of it. A store overrides this if it keeps versions, or if a
    /// range that is known in advance costs less.
    fn open_range(
        &self,
        name: &BlobName,
        wanted: &Wanted,
    ) -> Result<Opened<Self::Blob>, StoreError> {
        if wanted.version != 0 {
            return Ok(Opened::NoVersion);
        }
        Ok(self.open_blob(name)?.map_or(Opened::Absent, Opened::Blob))
    }
}

/// A range of one version of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// 0: what the store serves; 1 to 15: the versions before it.
    pub(crate) version: u8,
    /// The id of an older version whose request was signed.
    pub(crate) version_id: Option<String>,
    /// Where the range begins, bytes.
    pub(crate) offset_bytes: u64,
    /// Length of the range, bytes; the blob may end before it does.
    pub(crate) length_bytes: u32,
    /// The daemon's signature of the request for this range.
    pub(crate) given: Option<Given>,
}

impl Wanted {
    /// From the first byte to the one behind the last.
    pub(super) fn range(&self) -> std::ops::Range<u64> {
        let end = self.offset_bytes.saturating_add(self.length_bytes.into());
        self.offset_bytes..end
    }
}

/// What is under a name.
pub(crate) enum Opened<B> {
    /// The blob.
    Blob(B),
    /// Nothing.
    Absent,
    /// The store keeps no such version of it.
    NoVersion,
}

/// A blob that is open for reading.
pub(crate) trait Blob {
    /// Length of the blob when it was opened, bytes.
    fn length_bytes(&self) -> u64;

    /// Takes up to `wanted` bytes from `offset_bytes` on into the piece, as many as it holds, and
    /// returns their number: at least one, unless the blob ends there. What does not fit will be
    /// asked for next, so it can be read ahead.
    fn fill(
        &self,
        piece: &mut Piece,
        offset_bytes: u64,
        wanted: usize,
    ) -> Result<usize, StoreError>;
}
