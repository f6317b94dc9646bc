// SPDX-License-Identifier: GPL-3.0-or-later
//! What a service needs of a store, one small trait each, so that the push path cannot even name a
//! read. What the blobs mean is not known here.

mod destination;
pub(crate) mod directory;

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use thiserror::Error;
use wyng_wire::{BlobName, OpenStatus, Opened, Service};

use crate::piece::Piece;
use directory::Directory;

/// Opens the store that a destination names, for the needs of one service.
pub(crate) fn open(
    service: Service,
    create: bool,
    destination: &[u8],
) -> Result<Directory, Opened> {
    let bad = Opened {
        status: OpenStatus::BadDestination,
        free_mib: None,
    };
    Directory::open(
        service,
        create,
        destination::folder(destination).ok_or(bad)?,
    )
}

/// Why a store did not do what it was asked to.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// Nothing was stored, and something smaller or later might be.
    #[error("the store is full")]
    Full { free_mib: Option<u32> },
    /// The store does not allow it; nothing was changed.
    #[error("the store does not allow to {step}: {errno}")]
    Refused { step: &'static str, errno: Errno },
    /// Something that is no blob lies under the name, or in the place of the folder that it belongs
    /// in; it was left alone.
    #[error("cannot {step}: something else lies there")]
    Foreign { step: &'static str },
    /// This one blob, or its place, cannot be used. Others may be sound.
    #[error("cannot {step}: {errno}")]
    Unusable { step: &'static str, errno: Errno },
    /// The store failed; what it holds of this blob is not known.
    #[error("the store failed to {step}: {errno}")]
    Failed { step: &'static str, errno: Errno },
}

impl StoreError {
    /// For a step that writes a blob's bytes, and leaves nothing behind when it fails.
    pub(crate) fn in_writing(step: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full { free_mib: None },
            // FBIG: a limit of this process, or of the file system.
            Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY | Errno::FBIG => {
                Self::Refused { step, errno }
            }
            _ => Self::Failed { step, errno },
        }
    }

    /// For a step that looks for a name, takes it, or reads what lies under it. A fault there is
    /// that blob's alone, unless it is one that every other blob would meet as well: a process
    /// without memory, or a file system that is gone.
    pub(crate) fn at_name(step: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full { free_mib: None },
            Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY => {
                Self::Refused { step, errno }
            }
            // What this file system cannot do at all.
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Self::Refused { step, errno },
            Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => Self::Foreign { step },
            Errno::NOMEM | Errno::MFILE | Errno::NFILE => Self::Failed { step, errno },
            Errno::STALE | Errno::NOTCONN | Errno::NODEV | Errno::SHUTDOWN | Errno::TIMEDOUT => {
                Self::Failed { step, errno }
            }
            Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::CONNRESET => {
                Self::Failed { step, errno }
            }
            _ => Self::Unusable { step, errno },
        }
    }
}

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
        may_use_reserve: bool,
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
