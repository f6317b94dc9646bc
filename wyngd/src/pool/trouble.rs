// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a thin volume gets no snapshot, or no ranges: it is read whole then.

use std::io;

use wyng_control::WholeCause;

/// Why a pool cannot be used for a source now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The device is no thin volume.
    #[error("it is no thin volume")]
    NotThin,
    /// A program failed.
    #[error("{what:?} failed: {reason}")]
    Program {
        /// The program and its arguments.
        what: String,
        /// What it said.
        reason: String,
    },
    /// An answer that is not understood.
    #[error("{0}")]
    Answer(&'static str),
    /// The pool must not be touched, or not now; and the cause of which it is a case.
    #[error("{1}")]
    Unfit(WholeCause, String),
    /// The metadata could not be read, or did not stand still.
    #[error("the pool's metadata: {0}")]
    Metadata(String),
    /// The system refused.
    #[error("the system refused: {0}")]
    Io(#[from] io::Error),
}

impl Trouble {
    /// What a person is told; `None` for what is no thin volume.
    pub(super) fn cause(&self) -> Option<WholeCause> {
        match self {
            Self::NotThin => None,
            Self::Unfit(cause, _) => Some(*cause),
            Self::Metadata(_) => Some(WholeCause::MetadataUnread),
            Self::Program { .. } | Self::Answer(_) | Self::Io(_) => Some(WholeCause::LvmFailed),
        }
    }
}

impl From<rustix::io::Errno> for Trouble {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}
