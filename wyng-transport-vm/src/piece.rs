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
    /// The reading and the writing end of a pipe.
    pages: (OwnedFd, OwnedFd),
    /// Used from the first file system on that cannot splice.
    buffer: Option<Vec<u8>>,
    count: usize,
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
        let pages =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| CallError::Piece(errno.into()))?;
        let _ = fcntl_setpipe_size(&pages.1, PIECE_MAX as usize);
        Ok(Self {
            pages,
            buffer: None,
            count: 0,
        })
    }

    /// A piece that uses the buffer.
    #[cfg(test)]
    pub(crate) fn copying() -> Self {
        Self {
            buffer: Some(vec![0; PIECE_MAX as usize]),
            ..Self::new().unwrap()
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
        self.count = match &mut self.buffer {
            None => match retry_on_intr(|| {
                splice(
                    file,
                    Some(&mut { offset_bytes }),
                    &self.pages.1,
                    None,
                    wanted,
                    SpliceFlags::MOVE,
                )
            }) {
                Err(Errno::INVAL | Errno::NOSYS) => {
                    self.buffer = Some(vec![0; PIECE_MAX as usize]);
                    return self.fill_from(file, offset_bytes, wanted);
                }
                count => count?,
            },
            Some(buffer) => retry_on_intr(|| {
                pread(
                    file,
                    buffer.get_mut(..wanted).unwrap_or_default(),
                    offset_bytes,
                )
            })?,
        };
        Ok(self.count)
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
        let buffer = self
            .buffer
            .get_or_insert_with(|| vec![0; PIECE_MAX as usize]);
        self.count = fill(buffer.get_mut(..wanted).unwrap_or_default())?.min(wanted);
        Ok(self.count)
    }

    /// Takes out the contents.
    pub(crate) fn take(&mut self) -> Contents<'_> {
        let count = std::mem::take(&mut self.count);
        match &self.buffer {
            None => Contents::Pages(&self.pages.0, count),
            Some(buffer) => Contents::Bytes(buffer.get(..count).unwrap_or_default()),
        }
    }
}
