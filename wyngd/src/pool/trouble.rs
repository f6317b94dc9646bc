// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a thin volume gets no snapshot, or no ranges: it is read whole then.

use std::io;

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
    /// The pool must not be touched, or not now.
    #[error("{0}")]
    Unfit(String),
    /// The metadata could not be read, or did not stand still.
    #[error("the pool's metadata: {0}")]
    Metadata(String),
    /// The system refused.
    #[error("the system refused: {0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for Trouble {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}
