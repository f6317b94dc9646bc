// SPDX-License-Identifier: GPL-3.0-or-later
//! The exit statuses of the command line.

use bincode::{Decode, Encode};

/// The exit status of a command, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ExitStatus {
    /// Everything asked was done.
    Done,
    /// Failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// Done for some volumes only.
    Partial,
    /// A sound slot refuses the passphrase, or the archive is locked.
    Locked,
    /// Damage, tampering or rollback was found.
    Damage,
    /// The store or the transport cannot be reached.
    Unreachable,
    /// Interrupted.
    Interrupted,
    /// Put off: not now, but soon.
    Deferred,
}

impl ExitStatus {
    /// The number that the process ends with.
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
