// SPDX-License-Identifier: GPL-3.0-or-later
//! Input from the daemon: whole frames within their maxima, and bodies in pieces. It never reads
//! further than requested, and never waits longer than the watchdog allows.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use wyng_wire::{
    DecodeError, HEADER_BYTES, HELLO_BYTES, Hello, Service, TO_HELPER_MAX, ToHelper, ToHelperRules,
};
use zeroize::{Zeroize, Zeroizing};

use crate::exit::CallError;

/// Maximum length of a body that is read at once, bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// The daemon's end of the pipe.
pub(crate) struct Input {
    source: Source,
    /// The last frame. An OPEN may hold credentials.
    frame: Zeroizing<[u8; TO_HELPER_MAX]>,
    piece: Box<[u8]>,
}

impl Input {
    /// Reads standard input. A wait of more than `watchdog` for a byte ends the call.
    pub(crate) fn from_stdin(watchdog: Duration) -> Result<Self, CallError> {
        let file = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(CallError::Input)?;
        Ok(Self::new(File::from(file), watchdog))
    }

    fn new(file: File, watchdog: Duration) -> Self {
        let piece = vec![0; PIECE_BYTES].into_boxed_slice();
        Self {
            source: Source {
                file,
                stop: None,
                watchdog,
            },
            frame: Zeroizing::new([0; TO_HELPER_MAX]),
            piece,
        }
    }

    /// From now on a wait also ends when the other end of `stop` is closed, with
    /// [`CallError::Stopped`].
    pub(crate) fn stop_with(&mut self, stop: OwnedFd) {
        self.source.stop = Some(stop);
    }

    /// Reads the daemon's HELLO, which must name the service for which this process was started.
    pub(crate) fn expect_hello(&mut self, started: Service) -> Result<(), CallError> {
        let mut hello = [0; HELLO_BYTES];
        if !self.source.fill(&mut hello)? {
            return Err(CallError::EndedEarly);
        }
        let called = Hello::decode(&hello)?.service;
        if called == started {
            Ok(())
        } else {
            Err(CallError::OtherService { started, called })
        }
    }

    /// Reads the next frame and checks that it may come now; `None` at an end of file between two
    /// frames.
    pub(crate) fn frame(
        &mut self,
        rules: &mut ToHelperRules,
    ) -> Result<Option<ToHelper<'_>>, CallError> {
        let (header, behind) = self
            .frame
            .split_first_chunk_mut::<HEADER_BYTES>()
            .ok_or(DecodeError::Truncated)?;
        if !self.source.fill(header)? {
            return Ok(None);
        }
        let rest_bytes = ToHelper::rest_bytes(header)?;
        let rest = behind.get_mut(..rest_bytes).ok_or(DecodeError::Truncated)?;
        if rest_bytes > 0 && !self.source.fill(rest)? {
            return Err(CallError::EndedEarly);
        }
        let whole = self
            .frame
            .get(..HEADER_BYTES.saturating_add(rest_bytes))
            .ok_or(DecodeError::Truncated)?;
        let frame = ToHelper::decode(whole)?;
        rules.accept(&frame)?;
        Ok(Some(frame))
    }

    /// Has the kernel move up to `length_bytes` of a body to the end of `file`. Returns the number
    /// of bytes that it moved, which is smaller if the kernel cannot splice this input or file, and
    /// the error if the file takes no more.
    pub(crate) fn move_body(
        &mut self,
        length_bytes: u32,
        file: BorrowedFd<'_>,
    ) -> Result<(u32, Option<Errno>), CallError> {
        let mut moved_bytes = 0_u32;
        while moved_bytes < length_bytes {
            self.source.wait()?;
            let left = length_bytes.saturating_sub(moved_bytes) as usize;
            match splice(&self.source.file, None, file, None, left, SpliceFlags::MOVE) {
                Ok(0) => return Err(CallError::EndedEarly),
                Ok(count) => {
                    moved_bytes =
                        moved_bytes.saturating_add(u32::try_from(count).unwrap_or(u32::MAX))
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::INVAL | Errno::NOSYS) => return Ok((moved_bytes, None)),
                Err(errno) => return Ok((moved_bytes, Some(errno))),
            }
        }
        Ok((moved_bytes, None))
    }

    /// Reads `length_bytes` of a body and passes them to `take` piece by piece.
    pub(crate) fn body(
        &mut self,
        length_bytes: u32,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), CallError> {
        let mut left = length_bytes as usize;
        while left > 0 {
            let room = left.min(self.piece.len());
            let piece = self.piece.get_mut(..room).unwrap_or_default();
            let count = self.source.read(piece)?;
            if count == 0 {
                return Err(CallError::EndedEarly);
            }
            take(piece.get(..count).unwrap_or_default());
            left = left.saturating_sub(count);
        }
        Ok(())
    }

    /// Whether bytes, or the end of file, can be read without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        let mut source = [PollFd::new(&self.source.file, PollFlags::IN)];
        matches!(
            poll(
                &mut source,
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 0
                })
            ),
            Ok(1)
        )
    }

    /// Overwrites the last frame.
    pub(crate) fn wipe(&mut self) {
        self.frame.zeroize();
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.file.as_fd()
    }
}

struct Source {
    file: File,
    /// A pipe that hangs up when another thread of this process has failed.
    stop: Option<OwnedFd>,
    watchdog: Duration,
}

impl Source {
    /// Fills `place`. False: the end of file came before the first byte. An end in the middle is an
    /// error.
    fn fill(&mut self, place: &mut [u8]) -> Result<bool, CallError> {
        let mut filled = 0;
        while let Some(room @ [_, ..]) = place.get_mut(filled..) {
            match self.read(room)? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(CallError::EndedEarly),
                count => filled = filled.saturating_add(count),
            }
        }
        Ok(true)
    }

    /// Reads at least one byte, or none at the end of file.
    fn read(&mut self, room: &mut [u8]) -> Result<usize, CallError> {
        loop {
            self.wait()?;
            match self.file.read(room) {
                Ok(count) => return Ok(count),
                Err(problem)
                    if matches!(
                        problem.kind(),
                        ErrorKind::Interrupted | ErrorKind::WouldBlock
                    ) => {}
                Err(problem) => return Err(CallError::Input(problem)),
            }
        }
    }

    fn wait(&self) -> Result<(), CallError> {
        let limit = Timespec::try_from(self.watchdog).map_err(|_| CallError::Silent)?;
        let stop = self.stop.as_ref().map_or(self.file.as_fd(), AsFd::as_fd);
        let mut waits = [
            PollFd::new(&self.file, PollFlags::IN),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
        ];
        match poll(&mut waits, Some(&limit)) {
            Ok(0) => Err(CallError::Silent),
            Err(Errno::INTR) => Ok(()),
            Err(problem) => Err(CallError::Input(problem.into())),
            Ok(_) => {
                let [_, stopped] = &waits;
                let stopped = self.stop.is_some() && !stopped.revents().is_empty();
                if stopped {
                    Err(CallError::Stopped)
                } else {
                    Ok(())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};
    use std::os::fd::OwnedFd;

    use super::*;

    fn input_of(watchdog: Duration) -> (Input, io::PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        (
            Input::new(File::from(OwnedFd::from(reader)), watchdog),
            writer,
        )
    }

    #[test]
    fn silence_ends_the_call() {
        let (mut input, _writer) = input_of(Duration::from_millis(20));
        let ended = input.frame(&mut ToHelperRules::new(Service::Push));
        assert!(matches!(ended, Err(CallError::Silent)), "{ended:?}");
    }

    #[test]
    fn a_thread_that_fails_ends_the_wait() {
        let (mut input, _writer) = input_of(Duration::from_secs(60));
        let (stop, stopper) = pipe().unwrap();
        input.stop_with(stop.into());
        drop(stopper);
        let ended = input.frame(&mut ToHelperRules::new(Service::Push));
        assert!(matches!(ended, Err(CallError::Stopped)), "{ended:?}");
    }

    #[test]
    fn an_end_between_frames_is_no_error_and_one_within_a_frame_is() {
        let (mut input, mut writer) = input_of(Duration::from_secs(60));
        let mut rules = ToHelperRules::new(Service::Push);
        writer
            .write_all(&[0x7f, 0, 0, 0, 0, 0, 0, 0, 0x7f])
            .unwrap();
        drop(writer);
        assert!(matches!(
            input.frame(&mut rules),
            Ok(Some(ToHelper::KeepAlive))
        ));
        assert!(matches!(
            input.frame(&mut rules),
            Err(CallError::EndedEarly)
        ));
        assert!(matches!(input.frame(&mut rules), Ok(None)));
    }

    #[test]
    fn a_wiped_frame_leaves_nothing_of_the_address() {
        let (mut input, mut writer) = input_of(Duration::from_secs(60));
        writer
            .write_all(b"\x01\0\0\0\x0e\0\0\0\0\0\0\0\0\0\0\0secret")
            .unwrap();
        input.frame(&mut ToHelperRules::new(Service::Push)).unwrap();
        assert!(input.frame.windows(6).any(|bytes| bytes == b"secret"));
        input.wipe();
        assert!(input.frame.iter().all(|byte| *byte == 0));
    }
}
