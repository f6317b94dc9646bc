// SPDX-License-Identifier: GPL-3.0-or-later
//! What a client says to the daemon: its command, and its answers to questions. The role that asked
//! gets an answer unchanged, so [`Given`] stands once: on the client's socket and on the two wires
//! behind it.

use bincode::{Decode, Encode};

use crate::base::BaseLabel;
use crate::command::Command;
use crate::origin::{FoundSource, NoSource, Remembered, is_path_bounded};
use crate::target::{TargetFault, TargetForm, TargetLook};
use crate::thin::ThinPlace;

/// From `wyng-ctl` to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToDaemon {
    /// First of all: the version that the client speaks
    /// ([`CONTROL_VERSION`](crate::CONTROL_VERSION)).
    Hello {
        /// Any other version than the daemon's own ends the conversation.
        version: u32,
    },
    /// The one command of this connection.
    Start(Command),
    /// The answer to [`ToClient::Want`](crate::ToClient::Want), [`ToClient::Place`],
    /// [`ToClient::Keep`] or [`ToClient::DropBase`], with the descriptors that it names.
    ///
    /// [`ToClient::DropBase`]: crate::ToClient::DropBase
    /// [`ToClient::Place`]: crate::ToClient::Place
    /// [`ToClient::Keep`]: crate::ToClient::Keep
    Given {
        /// The number from the question.
        item: u32,
        /// The answer.
        given: Given,
    },
    /// Stop after what is under way; what was sent stays and is not sent again by the next run.
    Cancel,
    /// Instead of a command, before anything else but the greeting: tell me how far others'
    /// commands are, and how they end.
    Watch {
        /// The daemon also tells of commands that come later, until the client is gone. Otherwise
        /// it ends the conversation once no command is left.
        stays: bool,
    },
}

/// What a client gives when it is asked. [`descriptors`](Self::descriptors) is how many descriptors
/// travel beside it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Given {
    /// A pipe travels: the read end, with a passphrase in it; or the write end, where a secret is
    /// to be shown.
    Pipe,
    /// There is no passphrase, or no place to show a secret.
    NoPipe,
    /// The source travels. Where it can be cloned, two more descriptors follow: a new file in the
    /// folder of base snapshots, and the same file opened for reading only. The base snapshot of
    /// that volume follows if there is one, opened for reading.
    Source {
        /// Where the source lies.
        found: FoundSource,
        /// It can be cloned.
        clones: bool,
        /// What the base snapshot is of.
        base: Option<BaseLabel>,
    },
    /// The source could not be opened.
    NoSource {
        /// The path that was tried; empty if no client is left to open it.
        path: Vec<u8>,
        /// Why it could not be opened.
        why: NoSource,
    },
    /// The target travels, then what its form names. The base snapshot of that volume follows if
    /// there is one, opened for reading.
    Target {
        /// What the target is, and what else travels.
        form: TargetForm,
        /// What the base snapshot is of.
        base: Option<BaseLabel>,
        /// Where it lies, if it is changed in place and the person did not name this place for this
        /// very command.
        remembered: Option<Remembered>,
    },
    /// The target is a new volume of a thin pool, which the daemon makes.
    NewThin {
        /// Where it will lie.
        place: ThinPlace,
    },
    /// The target is not available.
    NoTarget {
        /// Why it is not available.
        fault: TargetFault,
    },
    /// What lies where a target goes.
    Look(TargetLook),
    /// The request is done, durably: a target or snapshot has its name, or a base snapshot is gone.
    /// Otherwise it could not be done.
    Done {
        /// 0, or the system's error number.
        errno: i32,
    },
}

impl Given {
    /// How many descriptors travel beside it.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Pipe => 1,
            Self::Source { clones, base, .. } => {
                let without_base = if *clones { 3 } else { 1 };
                usize::from(base.is_some()).saturating_add(without_base)
            }
            Self::Target { form, base, .. } => {
                usize::from(base.is_some()).saturating_add(form.descriptors())
            }
            Self::NoPipe
            | Self::NoSource { .. }
            | Self::NewThin { .. }
            | Self::NoTarget { .. }
            | Self::Look(_)
            | Self::Done { .. } => 0,
        }
    }

    /// Whether each path, and each part of a sentence, keeps to its maximum length.
    pub fn is_bounded(&self) -> bool {
        match self {
            Self::Source { found, .. } => found.is_bounded(),
            Self::NoSource { path, .. } => is_path_bounded(path),
            Self::Target { remembered, .. } => {
                remembered.iter().all(|target| target.origin.is_bounded())
            }
            Self::NewThin { place } => place.is_checked(),
            Self::NoTarget { fault } => fault.is_bounded(),
            Self::Look(look) => look.is_bounded(),
            Self::Pipe | Self::NoPipe | Self::Done { .. } => true,
        }
    }
}
