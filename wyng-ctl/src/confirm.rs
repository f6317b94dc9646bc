// SPDX-License-Identifier: GPL-3.0-or-later
//! A yes-or-no question on the person's terminal, before something is overwritten or removed that cannot be brought back.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::termios::QueueSelector;

/// A longer line is not "yes".
const LINE_MAX_BYTES: usize = 64;

/// What the person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `y` or `yes`.
    Yes,
    /// Anything else.
    No,
    /// Ctrl-C, or a signal that ends the command.
    Interrupted,
    /// There is nobody to ask: the question needs `--yes`.
    NoTerminal,
}

/// Is there a terminal on which [`ask`] can ask?
pub(crate) fn can_ask() -> bool {
    terminal().is_some()
}

/// Asks `question` on the controlling terminal and waits for a line. `interrupts` becomes readable when the person interrupts.
pub(crate) fn ask(question: &str, interrupts: BorrowedFd<'_>) -> Answer {
    let Some(mut terminal) = terminal() else { return Answer::NoTerminal };
    // What was typed before the question was seen is not its answer.
    let _ = rustix::termios::tcflush(terminal.as_fd(), QueueSelector::IFlush);
    if write!(terminal, "{question} [y/N] ").is_err() {
        return Answer::NoTerminal;
    }
    let mut line = Vec::new();
    loop {
        let mut polled = [PollFd::new(&terminal, PollFlags::IN), PollFd::from_borrowed_fd(interrupts, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None)).is_err() {
            return Answer::No;
        }
        let [_, interrupt] = polled.map(|descriptor| !descriptor.revents().is_empty());
        if interrupt {
            let _ = writeln!(terminal);
            return Answer::Interrupted;
        }
        let mut byte = [0];
        match terminal.read(&mut byte) {
            Ok(1) if byte != *b"\n" && line.len() < LINE_MAX_BYTES => line.extend(byte),
            _ => break,
        }
    }
    let said = String::from_utf8_lossy(&line).trim().to_ascii_lowercase();
    if matches!(said.as_str(), "y" | "yes") { Answer::Yes } else { Answer::No }
}

fn terminal() -> Option<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open("/dev/tty", flags, Mode::empty()).ok().map(File::from)
}
