// SPDX-License-Identifier: GPL-3.0-or-later
//! How a call ends: its error enum, and the exit status of each variant. No variant carries
//! anything from OPEN, because every variant is printed.

use std::io;

use thiserror::Error;
use wyng_wire::{DecodeError, EncodeError, HelloError, OpenStatus, OutOfPhase, Service};

use crate::store::StoreError;

/// The exit statuses of the helper. Status 1, and every status from 125 on, belong to qrexec, the
/// shell and signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// FINAL was sent, or the daemon ended a fetch.
    Finished = 0,
    /// The argument is not push, prune or fetch.
    Usage = 10,
    /// The daemon sent a frame that this service does not have, or not in that phase.
    Protocol = 11,
    /// The pipe ended or broke before END. Blobs with a receipt stay.
    Aborted = 12,
    /// The store could not be opened; OPENED said why.
    NotOpened = 13,
    /// The store failed; the receipt FAILED was sent.
    StoreFailed = 14,
    /// The daemon sent nothing for too long.
    Silent = 15,
    /// The jail could not be entered; nothing was done.
    Unjailed = 16,
    /// The connection to the store was lost. Blobs with a receipt stay.
    StoreLost = 17,
}

impl Exit {
    /// The status for the parent process.
    pub const fn status(self) -> u8 {
        self as u8
    }
}

#[derive(Debug, Error)]
pub(crate) enum CallError {
    #[error("usage: wyng-transport-vm push|prune|fetch (it is started by the daemon, not by hand)")]
    Usage,
    #[error("cannot enter the jail: {0}")]
    Jail(#[source] rustix::io::Errno),
    #[error("{0}")]
    Hello(#[from] HelloError),
    #[error("started for {}, but called for {}", .started.verb(), .called.verb())]
    OtherService { started: Service, called: Service },
    #[error("the daemon sent a frame that cannot be decoded: {0}")]
    Frame(#[from] DecodeError),
    #[error("the daemon broke the order of the protocol: {0}")]
    OutOfPhase(#[from] OutOfPhase),
    #[error("a frame cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    #[error("the daemon ended the call before END")]
    EndedEarly,
    #[error("cannot read from the daemon: {0}")]
    Input(#[source] io::Error),
    #[error("cannot write to the daemon: {0}")]
    Output(#[source] io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    #[error("cannot make a pipe for a blob: {0}")]
    Piece(#[source] io::Error),
    #[error("the daemon sent nothing for too long")]
    Silent,
    #[error("the store could not be opened: {0:?}")]
    NotOpened(OpenStatus),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("ended by another part of the helper")]
    Stopped,
}

impl CallError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage => Exit::Usage,
            Self::Jail(_) => Exit::Unjailed,
            Self::Hello(_)
            | Self::OtherService { .. }
            | Self::Frame(_)
            | Self::OutOfPhase(_)
            | Self::Encode(_) => Exit::Protocol,
            Self::EndedEarly
            | Self::Input(_)
            | Self::Output(_)
            | Self::Thread(_)
            | Self::Piece(_)
            | Self::Stopped => Exit::Aborted,
            Self::Silent => Exit::Silent,
            Self::NotOpened(_) => Exit::NotOpened,
            Self::Store(StoreError::Lost { .. }) => Exit::StoreLost,
            Self::Store(_) => Exit::StoreFailed,
        }
    }
}
