// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes of a blob on their way to the daemon: where the kernel can, as pages that it hands from
//! file to pipe without a copy, else in a buffer. They are read before they are announced, so that
//! a disk that fails is still an answer.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, pread, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use wyng_wire::PIECE_MAX;

use crate::exit::CallError;

/// At most [`PIECE_MAX`] bytes of one blob.
pub(crate) struct Piece {
    /// Both ends of a pipe: where pages are read, and where they are written.
    pages: (OwnedFd, OwnedFd),
    /// Used once a file system was met that cannot hand over pages.
    buffer: Option<Vec<u8>>,
    count: usize,
}

/// What a piece holds.
pub(crate) enum Contents<'p> {
    /// So many bytes in a pipe.
    Pages(&'p OwnedFd, usize),
    /// The bytes themselves.
    Bytes(&'p [u8]),
}

impl Piece {
    /// An empty piece. The kernel may give it less room than asked for; pieces are shorter then.
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

    /// A piece that met a file system which cannot hand over pages.
    #[cfg(test)]
    pub(crate) fn copying() -> Self {
        Self {
            buffer: Some(vec![0; PIECE_MAX as usize]),
            ..Self::new().unwrap()
        }
    }

    /// Takes up to `wanted` bytes of a file from `offset_bytes`, and says how many; none mean that
    /// it ends there.
    ///
    /// What the piece held must have been sent.
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

    /// What it holds; once.
    pub(crate) fn take(&mut self) -> Contents<'_> {
        let count = std::mem::take(&mut self.count);
        match &self.buffer {
            None => Contents::Pages(&self.pages.0, count),
            Some(buffer) => Contents::Bytes(buffer.get(..count).unwrap_or_default()),
        }
    }
}
