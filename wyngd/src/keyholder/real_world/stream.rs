// SPDX-License-Identifier: GPL-3.0-or-later
//! A target that is a stream, written onwards to whoever reads it.
//!
//! The reader is a process of the client, which may stop reading. So no write to it waits: what it
//! does not take is tried again when it has room, and control is heard meanwhile.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use rustix::pipe::{PipeFlags, SpliceFlags, splice};

use super::control::SharedControl;

/// Length of the pieces in which a stream is written.
const PIECE_BYTES: usize = 64 * 1024;

/// A stream that is written without waiting, and how far it is.
pub(super) struct Stream {
    way: Way,
    position_bytes: u64,
    /// Maximum time for which the reader may take nothing.
    patience: Duration,
}

enum Way {
    /// A pipe: the bytes go into a pipe of our own first, and the kernel moves them on as far as
    /// there is room.
    Pipe { ours: OwnedFd, moved_on: OwnedFd },
    /// A socket: each message is sent without waiting.
    Socket,
    /// A file, or a device such as /dev/null: it takes everything at once.
    Ready,
}

impl Stream {
    /// The way that a file of this kind is written.
    pub(super) fn to(file: &OwnedFd, patience: Duration) -> Result<Self, Errno> {
        let way = match FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) {
            FileType::Fifo => {
                let (moved_on, ours) =
                    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                Way::Pipe { ours, moved_on }
            }
            FileType::Socket => Way::Socket,
            _ => Way::Ready,
        };
        Ok(Self {
            way,
            position_bytes: 0,
            patience,
        })
    }

    /// Writes onwards: zeros up to `offset`, then the bytes. `ECANCELED` after a cancel,
    /// `ETIMEDOUT` when the reader takes nothing for too long.
    pub(super) fn write(
        &mut self,
        control: &SharedControl,
        file: &OwnedFd,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        let zeros = [0; PIECE_BYTES];
        while self.position_bytes < offset {
            let left = offset.saturating_sub(self.position_bytes);
            let length = usize::try_from(left)
                .unwrap_or(PIECE_BYTES)
                .min(PIECE_BYTES);
            self.write_piece(control, file, zeros.get(..length).unwrap_or_default())?;
        }
        bytes
            .chunks(PIECE_BYTES)
            .try_for_each(|piece| self.write_piece(control, file, piece))
    }

    fn write_piece(
        &mut self,
        control: &SharedControl,
        file: &OwnedFd,
        piece: &[u8],
    ) -> Result<(), Errno> {
        let patience = self.patience;
        match &self.way {
            Way::Ready => write_all(file, piece)?,
            Way::Socket => send_all(control, file, piece, patience)?,
            Way::Pipe { ours, moved_on } => {
                let (mut rest, mut inside) = (piece, 0usize);
                while !rest.is_empty() || inside > 0 {
                    // The capacity of a pipe depends on how many pipes its user has.
                    match rustix::io::write(ours, rest) {
                        Ok(written) => {
                            inside = inside.saturating_add(written);
                            rest = rest.get(written..).unwrap_or_default();
                        }
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        Err(errno) => return Err(errno),
                    }
                    match splice(moved_on, None, file, None, inside, SpliceFlags::NONBLOCK) {
                        Ok(moved) => inside = inside.saturating_sub(moved),
                        Err(Errno::AGAIN) => control.with(|control| {
                            control.wait_for_client(file, PollFlags::OUT, patience)
                        })?,
                        Err(Errno::INTR) => {}
                        Err(errno) => return Err(errno),
                    }
                }
            }
        }
        self.position_bytes = self.position_bytes.saturating_add(piece.len() as u64);
        Ok(())
    }
}

fn send_all(
    control: &SharedControl,
    socket: &OwnedFd,
    mut bytes: &[u8],
    patience: Duration,
) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::sendmsg(
            socket,
            &[IoSlice::new(bytes)],
            &mut SendAncillaryBuffer::default(),
            flags,
        ) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(Errno::AGAIN) => {
                control.with(|control| control.wait_for_client(socket, PollFlags::OUT, patience))?
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}
