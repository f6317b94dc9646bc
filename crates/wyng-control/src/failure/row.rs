// SPDX-License-Identifier: GPL-3.0-or-later
//! What is the same for every failure of one kind, and the sentences that several kinds share.

use super::exit::ExitStatus;

/// What the catalogue says of a variant, whatever its fields hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) code: &'static str,
    pub(super) exit: ExitStatus,
    pub(super) safe: Safe,
    pub(super) next: &'static str,
}

/// What is safe when a command ends with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safe {
    /// The same for every command. Between back quotes, `ARCHIVE` stands for the archive's name.
    Always(&'static str),
    /// Depends on which command stopped halfway: whoever shows it knows that command.
    OfCommand,
}

pub(super) const NOTHING_CHANGED: Safe = Safe::Always("Nothing was changed.");
pub(super) const STORED_STAYS: Safe = Safe::Always("What is stored stays as it is.");
pub(super) const NO_WRONG_BYTE: Safe =
    Safe::Always("No wrong byte reached a target, and nothing was changed.");
pub(super) const EARLIER_SESSIONS: Safe =
    Safe::Always("No session was made for this volume; its earlier ones are whole.");
pub(super) const NOT_THE_SESSION: Safe =
    Safe::Always("The archive is untouched. The target is not the session.");
