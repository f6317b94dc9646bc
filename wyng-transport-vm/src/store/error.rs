// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a store did not do what it was asked to do, and whether other blobs would meet the same
//! fault.

use rustix::io::Errno;
use thiserror::Error;

/// Why a store did not do what it was asked to.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// Nothing was stored, and something smaller or later might be.
    #[error("the store is full")]
    Full { free_mib: Option<u32> },
    /// The store does not allow it; nothing was changed.
    #[error("the store does not allow to {step}: {errno}")]
    Refused { step: &'static str, errno: Errno },
    /// Something that is no blob lies under the name, or in the place of the folder that it belongs
    /// in; it was left alone.
    #[error("cannot {step}: something else lies there")]
    Foreign { step: &'static str },
    /// This one blob, or its place, cannot be used. Others may be sound.
    #[error("cannot {step}: {errno}")]
    Unusable { step: &'static str, errno: Errno },
    /// The store failed; what it holds of this blob is not known.
    #[error("the store failed to {step}: {errno}")]
    Failed { step: &'static str, errno: Errno },
}

impl StoreError {
    /// For a step that writes a blob's bytes, and leaves nothing behind when it fails.
    pub(crate) fn in_writing(step: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full { free_mib: None },
            // FBIG: a limit of this process, or of the file system.
            Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY | Errno::FBIG => {
                Self::Refused { step, errno }
            }
            _ => Self::Failed { step, errno },
        }
    }

    /// For a step that looks for a name, takes it, or reads what lies under it. A fault there is
    /// that blob's alone, unless it is one that every other blob would meet as well: a process
    /// without memory, or a file system that is gone.
    pub(crate) fn at_name(step: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full { free_mib: None },
            Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY => {
                Self::Refused { step, errno }
            }
            // What this file system cannot do at all.
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Self::Refused { step, errno },
            Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => Self::Foreign { step },
            Errno::NOMEM | Errno::MFILE | Errno::NFILE => Self::Failed { step, errno },
            Errno::STALE | Errno::NOTCONN | Errno::NODEV | Errno::SHUTDOWN | Errno::TIMEDOUT => {
                Self::Failed { step, errno }
            }
            Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::CONNRESET => {
                Self::Failed { step, errno }
            }
            _ => Self::Unusable { step, errno },
        }
    }
}
