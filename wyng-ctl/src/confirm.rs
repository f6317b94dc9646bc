// SPDX-License-Identifier: GPL-3.0-or-later
//! A yes-or-no question on the user's terminal, before something is overwritten or removed for
//! good.

use crate::signals::Signals;
use crate::terminal::{self, Echo, NoAnswer, Terminal};

/// The user's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `y` or `yes`.
    Yes,
    /// Anything else.
    No,
    /// Ctrl-C, or a signal that ends the command.
    Interrupted,
    /// There is no terminal: the command requires `--yes`.
    NoTerminal,
}

/// Whether there is a terminal for [`ask`].
pub(crate) fn can_ask() -> bool {
    terminal::is_there()
}

/// Asks `question` on the controlling terminal and waits for a line.
pub(crate) fn ask(question: &str, signals: &Signals) -> Answer {
    let answer = Terminal::open(Echo::Shown, signals)
        .and_then(|terminal| terminal.ask(&format!("{question} [y/N] ")));
    match answer {
        Ok(line)
            if matches!(
                line.trim_ascii().to_ascii_lowercase().as_slice(),
                b"y" | b"yes"
            ) =>
        {
            Answer::Yes
        }
        Ok(_) | Err(NoAnswer::Ended | NoAnswer::TooLong | NoAnswer::Unreadable(_)) => Answer::No,
        Err(NoAnswer::Interrupted) => Answer::Interrupted,
        Err(NoAnswer::NoTerminal) => Answer::NoTerminal,
    }
}
