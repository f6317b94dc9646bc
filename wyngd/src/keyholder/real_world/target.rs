// SPDX-License-Identifier: GPL-3.0-or-later
//! A target that is open: a file, written where each chunk belongs, or a stream, written onwards to whoever reads it.
//!
//! A stream is the client's, who may stop reading. So no write to it waits: what it does not take is tried again when it has room, and
//! control is heard meanwhile.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use rustix::pipe::{PipeFlags, SpliceFlags, splice};
use wyng_control::TargetKind;

use super::RealWorld;
use crate::keyholder::page_cache::Behind;
use crate::keyholder::world::There;

/// A stream takes pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

/// See the module's first line.
pub(super) struct Target {
    pub(super) file: OwnedFd,
    pub(super) kind: TargetKind,
    /// What stood there.
    pub(super) there: Option<There>,
    stream: Stream,
    /// How far a stream is written.
    position: u64,
    behind: Behind,
}

/// How a stream is written without waiting.
enum Stream {
    /// Its bytes are put into a pipe of our own first; the kernel moves them on as far as there is room.
    Pipe { ours: OwnedFd, moved_on: OwnedFd },
    /// Each message says that it does not wait.
    Socket,
    /// A file, or a device of memory: they take everything at once.
    Ready,
}

impl Target {
    /// Takes over what volumes has looked at.
    pub(super) fn new(file: OwnedFd, kind: TargetKind, there: Option<There>) -> Result<Self, Errno> {
        let stream = match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::Fifo => {
                let (moved_on, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                Stream::Pipe { ours, moved_on }
            }
            FileType::Socket => Stream::Socket,
            _ => Stream::Ready,
        };
        Ok(Self { file, kind, there, stream, position: 0, behind: Behind::default() })
    }

    /// Writes to a file.
    pub(super) fn write_at(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
        self.behind.note(&self.file, offset, bytes.len() as u64);
        while !bytes.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, offset))?;
            bytes = bytes.get(written..).unwrap_or_default();
            offset = offset.saturating_add(written as u64);
        }
        Ok(())
    }

    /// Gives a file its size, durably.
    pub(super) fn finish_file(&mut self, size_bytes: u64) -> Result<(), Errno> {
        match rustix::fs::ftruncate(&self.file, size_bytes) {
            // A device has the size that it has.
            Err(Errno::INVAL) if self.there.is_some_and(|there| there.in_place && there.size_bytes >= size_bytes) => {}
            cut => cut?,
        }
        rustix::fs::fsync(&self.file)?;
        self.behind.drop_all(&self.file);
        Ok(())
    }
}

impl RealWorld {
    /// Writes a stream onwards: zeros up to `offset`, then the bytes. `ECANCELED` after a cancel, `ETIMEDOUT` when the reader takes nothing for
    /// as long as a far end may stand still.
    pub(super) fn write_stream(&mut self, target: &mut Target, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let zeros = [0; PIECE_BYTES];
        while target.position < offset {
            let length = usize::try_from(offset.saturating_sub(target.position)).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            self.write_piece(target, zeros.get(..length).unwrap_or_default())?;
        }
        bytes.chunks(PIECE_BYTES).try_for_each(|piece| self.write_piece(target, piece))
    }

    fn write_piece(&mut self, target: &mut Target, piece: &[u8]) -> Result<(), Errno> {
        let patience = self.client_patience;
        match &target.stream {
            Stream::Ready => write_all(&target.file, piece)?,
            Stream::Socket => self.send_all(&target.file, piece, patience)?,
            Stream::Pipe { ours, moved_on } => {
                let (mut rest, mut inside) = (piece, 0usize);
                while !rest.is_empty() || inside > 0 {
                    // How much room a pipe has depends on how many others its user has.
                    match rustix::io::write(ours, rest) {
                        Ok(written) => {
                            inside = inside.saturating_add(written);
                            rest = rest.get(written..).unwrap_or_default();
                        }
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        Err(errno) => return Err(errno),
                    }
                    match splice(moved_on, None, &target.file, None, inside, SpliceFlags::NONBLOCK) {
                        Ok(moved) => inside = inside.saturating_sub(moved),
                        Err(Errno::AGAIN) => self.wait_for_client(&target.file, PollFlags::OUT, patience)?,
                        Err(Errno::INTR) => {}
                        Err(errno) => return Err(errno),
                    }
                }
            }
        }
        target.position = target.position.saturating_add(piece.len() as u64);
        Ok(())
    }

    fn send_all(&mut self, socket: &OwnedFd, mut bytes: &[u8], patience: Duration) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut SendAncillaryBuffer::default(), flags) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait_for_client(socket, PollFlags::OUT, patience)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}
