// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions on the terminal, whatever the standard streams are. Hidden input stays hidden when the
//! program is stopped and continued, and the terminal's modes are restored however the question
//! ends.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios};
use zeroize::Zeroizing;

use crate::signals::{Said, Signals};

/// Maximum length of an answer, bytes.
pub(crate) const ANSWER_MAX_BYTES: usize = 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The process has no terminal.
    NoTerminal,
    /// The user interrupted, or the daemon that asked is gone.
    Interrupted,
    /// The user ended the input (Ctrl-D), or the terminal is gone.
    Ended,
    /// The answer exceeds [`ANSWER_MAX_BYTES`].
    TooLong,
    /// The terminal cannot be used.
    Unreadable(io::Error),
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<Errno> for NoAnswer {
    fn from(errno: Errno) -> Self {
        Self::Unreadable(errno.into())
    }
}

/// Whether typed characters are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// They are shown.
    Shown,
    /// They are hidden, as those of a passphrase.
    Hidden,
}

/// A terminal, and its modes before the question.
pub(crate) struct Terminal<'a> {
    file: File,
    before: Termios,
    echo: Echo,
    signals: &'a Signals,
}

/// What ended the reading of a line.
enum Line {
    /// The line is complete.
    Whole(Zeroizing<Vec<u8>>),
    /// The program was stopped meanwhile: the modes may have changed, and the question has scrolled
    /// away.
    Stopped,
}

impl<'a> Terminal<'a> {
    /// The terminal of the process.
    pub(crate) fn open(echo: Echo, signals: &'a Signals) -> Result<Self, NoAnswer> {
        let file = open().map_err(|_| NoAnswer::NoTerminal)?;
        let before = rustix::termios::tcgetattr(&file).map_err(|_| NoAnswer::NoTerminal)?;
        Ok(Self {
            file,
            before,
            echo,
            signals,
        })
    }

    /// Asks, and waits for a line. Input typed before the question is discarded.
    pub(crate) fn ask(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
        loop {
            self.set_modes()?;
            self.say(question)?;
            match self.read_line()? {
                Line::Whole(line) => return Ok(line),
                Line::Stopped => {}
            }
        }
    }

    /// Prints a text on the terminal.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match (&self.file).write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                // Ctrl-S holds the output.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    rustix::io::retry_on_intr(|| {
                        rustix::event::poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None)
                    })?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Discards typed input, and sets whether further input is shown.
    fn set_modes(&self) -> Result<(), Errno> {
        let mut modes = self.before.clone();
        if self.echo == Echo::Hidden {
            modes.local_modes.remove(LocalModes::ECHO);
            modes.local_modes.insert(LocalModes::ECHONL);
        }
        modes
            .local_modes
            .insert(LocalModes::ICANON | LocalModes::ISIG);
        rustix::termios::tcsetattr(&self.file, OptionalActions::Flush, &modes)
    }

    fn restore_modes(&self) {
        // A terminal that is gone needs no modes.
        let _ = rustix::termios::tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }

    fn read_line(&self) -> Result<Line, NoAnswer> {
        let mut line = Zeroizing::new(Vec::with_capacity(ANSWER_MAX_BYTES));
        let mut byte = Zeroizing::new([0]);
        loop {
            match self.signals.wait_for_answer(&self.file)? {
                Some(Said::Interrupt | Said::DaemonGone) => {
                    let _ = self.say("\n"); // what comes next begins on a line of its own
                    return Err(NoAnswer::Interrupted);
                }
                Some(Said::Stop) => {
                    self.restore_modes();
                    self.signals.stop()?;
                    return Ok(Line::Stopped);
                }
                Some(Said::Continue) => return Ok(Line::Stopped),
                None => {}
            }
            match (&self.file).read(byte.as_mut_slice()) {
                Ok(0) => return Err(NoAnswer::Ended),
                Ok(_) if *byte == *b"\n" => return Ok(Line::Whole(line)),
                Ok(_) if line.len() == ANSWER_MAX_BYTES => return Err(NoAnswer::TooLong),
                Ok(_) => line.extend_from_slice(byte.as_slice()),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(NoAnswer::Unreadable(error)),
            }
        }
    }
}

/// Whether there is a terminal.
pub(crate) fn is_there() -> bool {
    open().is_ok_and(|file| rustix::termios::isatty(&file))
}

/// Opens the terminal of the process. Reads and writes do not wait.
pub(crate) fn open() -> Result<File, Errno> {
    // Non-blocking: a waiting read would continue after a stop, with the input in sight.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::fs::open("/dev/tty", flags, Mode::empty()).map(File::from)
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.restore_modes();
    }
}
