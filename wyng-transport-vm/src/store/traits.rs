// SPDX-License-Identifier: GPL-3.0-or-later
//! What a service needs of a store, one small trait each, so that the push path cannot even name a
//! read. What the blobs mean is not known here.

use std::os::fd::BorrowedFd;

use wyng_wire::BlobName;

use super::error::StoreError;
use crate::piece::Piece;

/// What became of a blob that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is new, and durable.
    New,
    /// The name held the same bytes; they are durable.
    Same,
    /// The name is taken by something else.
    Different,
    /// The name is taken, and what lies there cannot or may not be read.
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

/// A store that takes blobs.
pub(crate) trait Push: Sync {
    /// A blob on its way in. Dropped before it is finished, it leaves nothing behind.
    type Upload: Upload;

    /// Makes room for a blob of `length_bytes`. Nothing is visible under its name until it is
    /// finished.
    fn begin(
        &self,
        name: &BlobName,
        length_bytes: u32,
        reserve: Reserve,
    ) -> Result<Self::Upload, StoreError>;
}

/// A blob on its way in.
pub(crate) trait Upload: Send {
    /// Appends to the blob.
    fn write(&mut self, piece: &[u8]) -> Result<(), StoreError>;

    /// The file to whose end the kernel may append bytes of the blob as they come; none where all
    /// must pass through [`Upload::write`].
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Puts the blob under its name if that is absent, and returns when the outcome is durable.
    fn finish(self) -> Result<Placed, StoreError>;
}

/// A store that deletes blobs.
pub(crate) trait Prune {
    /// Deletes one name, and says whether it was there. Durable only after [`Prune::settle`].
    fn delete(&mut self, name: &BlobName) -> Result<bool, StoreError>;

    /// Makes every deletion so far durable.
    fn settle(&mut self) -> Result<(), StoreError>;
}

/// A store that is read.
pub(crate) trait Fetch {
    /// A blob that is open for reading.
    type Blob: Blob;

    /// Shows every blob and its length to `visit`, in no order. `Ok(false)`: part of the store
    /// could not be read.
    fn list<E>(&self, visit: impl FnMut(&BlobName, u64) -> Result<(), E>) -> Result<bool, E>;

    /// The length of a blob, if it exists. It is not opened: whether it can be read is not known.
    fn stat(&self, name: &BlobName) -> Result<Option<u64>, StoreError>;

    /// Opens a blob, if it exists.
    fn open_blob(&self, name: &BlobName) -> Result<Option<Self::Blob>, StoreError>;
}

/// A blob that is open for reading.
pub(crate) trait Blob {
    /// Its length when it was opened.
    fn length_bytes(&self) -> u64;

    /// Takes up to `wanted` bytes from `offset_bytes` into the piece, and says how many: at least
    /// one, unless the blob ends there.
    fn fill(
        &self,
        piece: &mut Piece,
        offset_bytes: u64,
        wanted: usize,
    ) -> Result<usize, StoreError>;
}
