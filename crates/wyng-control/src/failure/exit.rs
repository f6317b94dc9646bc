// SPDX-License-Identifier: GPL-3.0-or-later
//! The exit statuses of the command line.

use bincode::{Decode, Encode};

/// The exit status of a command. Scripts rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ExitStatus {
    /// The command did everything.
    Done,
    /// The command failed.
    Failed,
    /// The arguments are wrong.
    Usage,
    /// The command succeeded for some volumes only.
    Partial,
    /// An intact slot refuses the passphrase, or the archive is locked.
    Locked,
    /// Damage, tampering or rollback was found.
    Damage,
    /// The store or the transport cannot be reached.
    Unreachable,
    /// The user interrupted the command.
    Interrupted,
    /// The command was deferred and runs later.
    Deferred,
}

impl ExitStatus {
    /// The status with which the process ends.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Locked => 4,
            Self::Damage => 5,
            Self::Unreachable => 6,
            Self::Deferred => 7,
            Self::Interrupted => 130,
        }
    }
}
