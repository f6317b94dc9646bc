// SPDX-License-Identifier: GPL-3.0-or-later
//! Output to the daemon: whole frames from any thread, and a keep-alive when no thread has sent
//! anything. This is the only module that writes to standard output.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use wyng_wire::{Hello, TO_DAEMON_MAX, ToDaemon};

use crate::exit::CallError;
use crate::piece::Contents;

/// The pipe to the daemon, shared by the threads.
pub(crate) struct Output(Mutex<Sink>);

struct Sink {
    file: File,
    last_sent: Instant,
}

impl Output {
    /// Writes to standard output.
    pub(crate) fn to_stdout() -> Result<Self, CallError> {
        let file = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(CallError::Output)?;
        Ok(Self::new(File::from(file)))
    }

    fn new(file: File) -> Self {
        Self(Mutex::new(Sink {
            file,
            last_sent: Instant::now(),
        }))
    }

    pub(crate) fn with_fd<T>(&self, use_fd: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        use_fd(self.sink().file.as_fd())
    }

    pub(crate) fn send_hello(&self, hello: Hello) -> Result<(), CallError> {
        self.sink().write(&hello.encode())
    }

    pub(crate) fn send(&self, frame: &ToDaemon) -> Result<(), CallError> {
        self.send_encoded(frame.encode(&mut [0; TO_DAEMON_MAX])?)
    }

    /// Sends a frame, and the contents of a piece as its body. They must have the length that the
    /// frame states.
    pub(crate) fn send_with_body(
        &self,
        frame: &ToDaemon,
        body: Contents<'_>,
    ) -> Result<(), CallError> {
        let mut sink = self.sink();
        sink.write(frame.encode(&mut [0; TO_DAEMON_MAX])?)?;
        match body {
            Contents::Pages(pages, count) => sink.write_pages(pages, count),
            Contents::Bytes(bytes) => sink.write(bytes),
        }
    }

    /// Sends encoded frames without gaps.
    pub(crate) fn send_encoded(&self, frames: &[u8]) -> Result<(), CallError> {
        self.sink().write(frames)
    }

    /// A thread writes a frame completely, or the call ends with its error; so a poisoned lock
    /// protects nothing.
    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.file.write(left) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
                Err(problem) if problem.kind() == ErrorKind::WouldBlock => self.wait()?,
                Err(problem) => return Err(CallError::Output(problem)),
            }
        }
        self.last_sent = Instant::now();
        Ok(())
    }

    fn write_pages(&mut self, pages: &OwnedFd, count: usize) -> Result<(), CallError> {
        let mut left = count;
        while left > 0 {
            match splice(pages, None, &self.file, None, left, SpliceFlags::MOVE) {
                Ok(count) => left = left.saturating_sub(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait()?,
                Err(errno) => return Err(CallError::Output(errno.into())),
            }
        }
        self.last_sent = Instant::now();
        Ok(())
    }

    /// The far end may have made the pipe non-blocking.
    fn wait(&self) -> Result<(), CallError> {
        poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None)
            .map(drop)
            .map_err(|problem| CallError::Output(problem.into()))
    }
}

/// Starts the thread that sends KEEP_ALIVE when nothing else was sent for `interval`. It ends with
/// the process or with the pipe.
pub(crate) fn keep_alive(output: &Arc<Output>, interval: Duration) -> Result<(), CallError> {
    let output = Arc::clone(output);
    let beat = move || {
        let mut quiet = Duration::ZERO;
        loop {
            thread::sleep(interval.saturating_sub(quiet));
            let mut sink = output.sink();
            quiet = sink.last_sent.elapsed();
            if quiet < interval {
                continue;
            }
            let mut frame = [0; TO_DAEMON_MAX];
            let sent = ToDaemon::KeepAlive
                .encode(&mut frame)
                .map_err(CallError::from)
                .and_then(|frame| sink.write(frame));
            if sent.is_err() {
                return;
            }
            quiet = Duration::ZERO;
        }
    };
    thread::Builder::new()
        .name("keep-alive".into())
        .spawn(beat)
        .map(drop)
        .map_err(CallError::Thread)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::piece::Piece;

    #[test]
    fn silence_is_filled_with_keep_alives() {
        let (mut reader, writer) = pipe().unwrap();
        keep_alive(
            &Arc::new(Output::new(File::from(OwnedFd::from(writer)))),
            Duration::from_millis(5),
        )
        .unwrap();
        let mut frames = [0; 16];
        reader.read_exact(&mut frames).unwrap();
        assert_eq!(
            frames,
            [0x7f, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_piece_follows_its_frame_by_reference_and_by_copy() {
        let mut blob = tempfile::tempfile().unwrap();
        blob.write_all(&[5; 10_000]).unwrap();
        let blob = OwnedFd::from(blob);
        for mut piece in [Piece::new().unwrap(), Piece::in_memory()] {
            let (mut reader, writer) = pipe().unwrap();
            let output = Output::new(File::from(OwnedFd::from(writer)));
            assert_eq!(piece.fill_from(&blob, 4000, 5000), Ok(5000));
            output
                .send_with_body(&ToDaemon::KeepAlive, piece.take())
                .unwrap();
            assert_eq!(
                piece.fill_from(&blob, 9000, 5000),
                Ok(1000),
                "the blob ends"
            );
            output
                .send_with_body(&ToDaemon::KeepAlive, piece.take())
                .unwrap();
            assert_eq!(piece.fill_from(&blob, 10_000, 5000), Ok(0));
            drop(output);
            let mut sent = Vec::new();
            reader.read_to_end(&mut sent).unwrap();
            assert_eq!(
                (sent.len(), sent[8], sent[5008], sent[5016]),
                (6016, 5, 0x7f, 5)
            );
        }
    }
}
