// SPDX-License-Identifier: GPL-3.0-or-later
//! The passphrase: from a terminal without echo or from a file, into a pipe; never an argument, never the environment.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{LocalModes, OptionalActions, Termios};
use zeroize::Zeroizing;

const MAX_BYTES: usize = 1024;

/// Why there is no passphrase.
#[derive(Debug)]
pub(crate) enum NoPassphrase {
    /// The two that were typed differ.
    Differ,
    /// Nothing was given.
    Empty,
    /// More than 1024 bytes.
    TooLong,
    /// There is no terminal to ask on, and no file was named.
    NoTerminal,
    /// The file or terminal cannot be read.
    Unreadable(io::Error),
}

impl std::fmt::Display for NoPassphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Differ => f.write_str("the two passphrases differ"),
            Self::Empty => f.write_str("the passphrase is empty"),
            Self::TooLong => write!(f, "the passphrase has more than {MAX_BYTES} bytes"),
            Self::NoTerminal => f.write_str("there is no terminal to ask for the passphrase; use --passphrase-file"),
            Self::Unreadable(error) => write!(f, "the passphrase cannot be read: {error}"),
        }
    }
}

/// The read end of a pipe that holds the passphrase, which is nowhere else any more.
pub(crate) fn as_pipe(file: Option<&Path>, archive: &str, new: bool) -> Result<OwnedFd, NoPassphrase> {
    let passphrase = match file {
        Some(file) => from_file(file)?,
        None => from_terminal(archive, new)?,
    };
    if passphrase.is_empty() {
        return Err(NoPassphrase::Empty);
    }
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| NoPassphrase::Unreadable(errno.into()))?;
    // At most 1024 bytes: a pipe takes them at once.
    File::from(write).write_all(&passphrase).map_err(NoPassphrase::Unreadable)?;
    Ok(read)
}

/// The one line of text in a pipe whose writer is done.
pub(crate) fn read_line(pipe: OwnedFd) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    File::from(pipe).take(MAX_BYTES as u64).read_to_string(&mut text)?;
    Ok(text)
}

fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, NoPassphrase> {
    let mut source: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(NoPassphrase::Unreadable)?) };
    // Room for all that is allowed, one final newline, and one byte that shows that there is more.
    let mut bytes = Zeroizing::new(vec![0; MAX_BYTES + 2]);
    let mut length = 0usize;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            Ok(read) => length = length.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(NoPassphrase::Unreadable(error)),
        }
    }
    bytes.truncate(length);
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.len() > MAX_BYTES { Err(NoPassphrase::TooLong) } else { Ok(bytes) }
}

fn from_terminal(archive: &str, new: bool) -> Result<Zeroizing<Vec<u8>>, NoPassphrase> {
    let terminal = Terminal::open()?;
    if !new {
        return terminal.ask(&format!("Passphrase of {archive}: "));
    }
    let first = terminal.ask(&format!("New passphrase of {archive}: "))?;
    let second = terminal.ask("Once more: ")?;
    if *first == *second { Ok(first) } else { Err(NoPassphrase::Differ) }
}

/// The terminal with its echo off; it is on again when this is dropped.
struct Terminal {
    file: File,
    before: Termios,
}

impl Terminal {
    fn open() -> Result<Self, NoPassphrase> {
        let file = rustix::fs::open("/dev/tty", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
            .map(File::from)
            .map_err(|_| NoPassphrase::NoTerminal)?;
        let before = rustix::termios::tcgetattr(&file).map_err(|_| NoPassphrase::NoTerminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL);
        rustix::termios::tcsetattr(&file, OptionalActions::Flush, &quiet).map_err(|errno| NoPassphrase::Unreadable(errno.into()))?;
        Ok(Self { file, before })
    }

    fn ask(&self, prompt: &str) -> Result<Zeroizing<Vec<u8>>, NoPassphrase> {
        let mut terminal = &self.file;
        terminal.write_all(prompt.as_bytes()).map_err(NoPassphrase::Unreadable)?;
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
        let mut byte = Zeroizing::new([0]);
        while terminal.read(byte.as_mut_slice()).map_err(NoPassphrase::Unreadable)? == 1 && *byte != *b"\n" {
            if line.len() == MAX_BYTES {
                return Err(NoPassphrase::TooLong);
            }
            line.extend_from_slice(byte.as_slice());
        }
        Ok(line)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(self.file.as_fd(), OptionalActions::Flush, &self.before);
    }
}
