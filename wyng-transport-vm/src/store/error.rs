// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a store failed, and whether other blobs would meet the same fault.

use rustix::io::Errno;
use thiserror::Error;

use super::sftp::Lost;

/// Why a store did not do what was requested.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// The store is full. Nothing was stored; a smaller blob, or a later attempt, may succeed.
    #[error("the store is full")]
    Full { free_mib: Option<u32> },
    /// The store denies permission. Nothing was changed.
    #[error("the store denies permission to {step}: {errno}")]
    Refused { step: &'static str, errno: Errno },
    /// The name, or the place of the blob's folder, holds something other than a blob. It was left
    /// alone.
    #[error("cannot {step}: its place holds something else")]
    Foreign { step: &'static str },
    /// This blob, or its place, cannot be used. Other blobs may be intact.
    #[error("cannot {step}: {errno}")]
    Unusable { step: &'static str, errno: Errno },
    /// The store rejects the time of the daemon's signature. An earlier try, whose answer
    /// was lost, may have had its effect.
    #[error("cannot {step}: the store rejects the signature's time")]
    Expired { step: &'static str },
    /// The store also does what the daemon did not sign.
    #[error("the store does not keep to what was signed: {accepted}")]
    Lax { accepted: &'static str },
    /// The store failed; the state of this blob is not known.
    #[error("the store failed to {step}: {errno}")]
    Failed { step: &'static str, errno: Errno },
    /// The connection to the store is lost; the state of every blob without a receipt is not known.
    #[error("cannot {step}: {lost}")]
    Lost { step: &'static str, lost: Lost },
}

impl StoreError {
    /// The error of a step that writes a blob's bytes, and leaves nothing behind when it fails.
    pub(crate) fn in_writing(step: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full { free_mib: None },
            // FBIG: a limit of this process or of the file system.
            Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY | Errno::FBIG => {
                Self::Refused { step, errno }
            }
            _ => Self::Failed { step, errno },
        }
    }

    /// The error of a step that looks up a name, takes it, or reads its file. The fault is that of
    /// the one blob, unless every other blob would meet it too: exhausted memory, or a file system
    /// that is gone.
    pub(crate) fn at_name(step: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full { free_mib: None },
            Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY => {
                Self::Refused { step, errno }
            }
            // This file system lacks the operation.
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
