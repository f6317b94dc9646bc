// SPDX-License-Identifier: GPL-3.0-or-later
//! Where results go: standard output, or standard error while a volume is written to standard
//! output. A write that fails is remembered: a full disk is a failure of the command, a reader that
//! went away is none.

use std::io::{self, IsTerminal, Write};

/// See the module's first line.
#[derive(Debug)]
pub(crate) struct Output {
    to_stderr: bool,
    failed: Option<io::Error>,
}

impl Output {
    /// With `stdout_is_target`, standard output carries a volume, and nothing else may be written
    /// to it.
    pub(crate) fn new(stdout_is_target: bool) -> Self {
        Self {
            to_stderr: stdout_is_target,
            failed: None,
        }
    }

    /// Writes one line, or several.
    pub(crate) fn line(&mut self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let mut to: Box<dyn Write> = if self.to_stderr {
            Box::new(io::stderr().lock())
        } else {
            Box::new(io::stdout().lock())
        };
        self.note(to.write_all(bytes).and_then(|()| to.flush()));
    }

    /// Why something is missing from it. Where `all_counts`, a reader that went away is a reason
    /// too; else it has seen what it wanted (`| head`).
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

/// May standard output have colours? Only a terminal that knows them, and a person who wants them
/// (`NO_COLOR`, see no-color.org).
pub(crate) fn has_colours() -> bool {
    let says_no =
        |name: &str, no: fn(&str) -> bool| std::env::var(name).is_ok_and(|value| no(&value));
    io::stdout().is_terminal()
        && !says_no("NO_COLOR", |value| !value.is_empty())
        && !says_no("TERM", |value| value == "dumb")
}
