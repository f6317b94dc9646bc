// SPDX-License-Identifier: GPL-3.0-or-later
//! The part of a failure that depends on its variant alone, and sentences that variants share.

use super::exit::ExitStatus;

/// One variant in the catalogue, without its fields.
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
    /// Depends on the command that stopped halfway, which `wyng-ctl` knows.
    OfCommand,
}

pub(super) const NOTHING_CHANGED: Safe = Safe::Always("Nothing was changed.");
pub(super) const STORED_STAYS: Safe = Safe::Always("Everything stored stays as it is.");
pub(super) const NO_WRONG_BYTE: Safe =
    Safe::Always("No wrong byte reached a target, and nothing was changed.");
pub(super) const EARLIER_SESSIONS: Safe =
    Safe::Always("No session was made for this volume; its earlier ones are intact.");
pub(super) const NOT_THE_SESSION: Safe =
    Safe::Always("The archive is untouched. The target is not the session.");
