// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes of a blob on their way to the daemon: pages that the kernel moves from the file to the
//! pipe without a copy where it can, a buffer elsewhere. They are read before they are announced,
//! so that a disk that fails can still be reported.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, pread, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use wyng_wire::PIECE_MAX;

use crate::exit::CallError;

/// At most [`PIECE_MAX`] bytes of one blob.
pub(crate) struct Piece {
    medium: Medium,
    count: usize,
}

enum Medium {
    /// The reading and the writing end of a pipe.
    Pages(OwnedFd, OwnedFd),
    /// From the first file system on that cannot splice, and for stores behind a network.
    Buffer(Vec<u8>),
}

/// The contents of a piece.
pub(crate) enum Contents<'p> {
    /// A pipe, and the number of bytes in it.
    Pages(&'p OwnedFd, usize),
    /// The bytes themselves.
    Bytes(&'p [u8]),
}

impl Piece {
    /// An empty piece. The kernel may give its pipe less room than requested; pieces are shorter
    /// then.
    pub(crate) fn new() -> Result<Self, CallError> {
        let (reader, writer) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| CallError::Piece(errno.into()))?;
        let _ = fcntl_setpipe_size(&writer, PIECE_MAX as usize);
        Ok(Self {
            medium: Medium::Pages(reader, writer),
            count: 0,
        })
    }

    /// An empty piece whose bytes are always in memory.
    pub(crate) fn in_memory() -> Self {
        Self {
            medium: Medium::Buffer(Vec::new()),
            count: 0,
        }
    }

    /// Takes up to `wanted` bytes of a file from `offset_bytes` on, and returns their number; 0 at
    /// the end of the file.
    ///
    /// The previous contents must have been sent.
    pub(crate) fn fill_from(
        &mut self,
        file: &OwnedFd,
        offset_bytes: u64,
        wanted: usize,
    ) -> Result<usize, Errno> {
        let wanted = wanted.min(PIECE_MAX as usize);
        if let Medium::Pages(_, pages) = &self.medium {
            let flags = SpliceFlags::MOVE;
            let mut offset = offset_bytes;
            match retry_on_intr(|| splice(file, Some(&mut offset), pages, None, wanted, flags)) {
                Err(Errno::INVAL | Errno::NOSYS) => {}
                count => {
                    self.count = count?;
                    return Ok(self.count);
                }
            }
        }
        self.fill_by(wanted, |room| {
            retry_on_intr(|| pread(file, &mut *room, offset_bytes))
        })
    }

    /// Takes up to `wanted` bytes that `fill` writes into the buffer, and returns their number.
    ///
    /// The previous contents must have been sent.
    pub(crate) fn fill_by<E>(
        &mut self,
        wanted: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let wanted = wanted.min(PIECE_MAX as usize);
        let mut buffer = match &mut self.medium {
            Medium::Pages(..) => Vec::new(),
            Medium::Buffer(buffer) => std::mem::take(buffer),
        };
        buffer.resize(wanted.max(buffer.len()), 0);
        let filled = fill(buffer.get_mut(..wanted).unwrap_or_default());
        self.medium = Medium::Buffer(buffer);
        self.count = filled?.min(wanted);
        Ok(self.count)
    }

    /// The contents, which are taken out.
    pub(crate) fn take(&mut self) -> Contents<'_> {
        let count = std::mem::take(&mut self.count);
        match &self.medium {
            Medium::Pages(pages, _) => Contents::Pages(pages, count),
            Medium::Buffer(buffer) => Contents::Bytes(buffer.get(..count).unwrap_or_default()),
        }
    }

    /// The bytes of a piece in memory, which are taken out with their buffer.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        let count = std::mem::take(&mut self.count);
        let mut bytes = match &mut self.medium {
            Medium::Pages(..) => Vec::new(),
            Medium::Buffer(buffer) => std::mem::take(buffer),
        };
        bytes.truncate(count);
        bytes
    }
}
