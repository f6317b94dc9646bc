// SPDX-License-Identifier: GPL-3.0-or-later
//! The output of results: standard output, or standard error while a volume is restored to standard
//! output. A failed write is remembered: a full disk is a failure of the command, a reader that
//! closed its pipe is not.

use std::io::{self, IsTerminal, Write};

/// The stream of results, and the first write to it that failed.
#[derive(Debug)]
pub(crate) struct Output {
    to_stderr: bool,
    failed: Option<io::Error>,
}

impl Output {
    /// `stdout_is_target`: standard output carries a volume, so that results go to standard error.
    pub(crate) fn new(stdout_is_target: bool) -> Self {
        Self {
            to_stderr: stdout_is_target,
            failed: None,
        }
    }

    /// Writes one or several lines.
    pub(crate) fn line(&mut self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Writes bytes unchanged.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let mut to: Box<dyn Write> = if self.to_stderr {
            Box::new(io::stderr().lock())
        } else {
            Box::new(io::stdout().lock())
        };
        self.note(to.write_all(bytes).and_then(|()| to.flush()));
    }

    /// The first write that failed. A closed pipe counts only if `all_counts`; otherwise the reader
    /// has seen what it wanted (`| head`).
    pub(crate) fn failure(&mut self, all_counts: bool) -> Option<io::Error> {
        self.failed
            .take()
            .filter(|error| all_counts || error.kind() != io::ErrorKind::BrokenPipe)
    }

    fn note(&mut self, written: io::Result<()>) {
        if let (Err(error), None) = (written, &self.failed) {
            self.failed = Some(error);
        }
    }
}

/// The width of the terminal at standard output; `None` if there is none. A terminal that does not
/// know its width has 80 columns.
pub(crate) fn terminal_columns() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    Some(usize::from(if columns == 0 { 80 } else { columns }))
}

/// Whether standard output may have colours: on a terminal that supports them, unless the user
/// disabled them (`NO_COLOR`, see no-color.org).
pub(crate) fn has_colours() -> bool {
    let says_no =
        |name: &str, no: fn(&str) -> bool| std::env::var(name).is_ok_and(|value| no(&value));
    io::stdout().is_terminal()
        && !says_no("NO_COLOR", |value| !value.is_empty())
        && !says_no("TERM", |value| value == "dumb")
}
