// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between control and keyholder: commands, what they ask and report, and far ends to be
//! started. A descriptor travels beside a message only where its line says so.

use bincode::{Decode, Encode};
use wyng_control::{Asked, BaseOf, Command, ExitStatus, Failure, Given, ToClient, Via};

use super::jail::NotEnforced;
use super::service::Service;

/// control → keyholder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToKeyholder {
    /// A command. The command before it has ended, or has given its turn back. The read end of a
    /// passphrase's pipe travels along if `typed`.
    Start {
        /// The command.
        command: Command,
        /// User of the client's process; `u32::MAX` if it is not known.
        uid: u32,
        /// Number of the command, the same each time that it begins anew.
        turn: u64,
        /// The command gave its turn back while it waited for a passphrase, which has been typed
        /// meanwhile.
        typed: bool,
    },
    /// Other commands wait while this one waits for a person: it is to give its turn back.
    GiveBack,
    /// A command that gave its turn back does not begin anew: what was typed for it is wiped.
    Abandon {
        /// The command's number.
        turn: u64,
    },
    /// Kept keys are to be wiped at once, whatever runs. The answer is
    /// [`KeyholderToControl::Locked`].
    Lock {
        /// The archive whose keys are wiped; none for the keys of all archives.
        archive: Option<String>,
    },
    /// The client's answer, unchanged; with its descriptors. Control answers in the place of a
    /// client that is gone.
    Given {
        /// The question's number.
        item: u32,
        /// The answer.
        given: Given,
    },
    /// The far end runs, and the transport has its pipes.
    FarEndStarted {
        /// Which of the far end's services.
        service: Service,
    },
    /// The far end could not be started.
    FarEndNotStarted {
        /// Which of the far end's services.
        service: Service,
        /// Why it could not be started.
        failure: Failure,
    },
    /// The far end's process ended.
    FarEndEnded {
        /// Which of the far end's services.
        service: Service,
        /// What the end means if its work was not done; none after exit status 0.
        failure: Option<Failure>,
    },
    /// A person interrupted the command.
    Cancel,
}

/// keyholder → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyholderToControl {
    /// Keyholder and transport, which has no wire to control, are in their jails; the protections
    /// that could not be enforced.
    Ready {
        /// Protections that the keyholder did not get.
        keyholder: Vec<NotEnforced>,
        /// Protections that the transport did not get.
        transport: Vec<NotEnforced>,
    },
    /// An event for the client, passed on unchanged.
    Tell(ToClient),
    /// The client is asked for a passphrase.
    WantPassphrase {
        /// The question's number.
        item: u32,
        /// Which passphrase.
        asked: Asked,
    },
    /// The client is asked for a pipe to write a secret to; the answer is [`Given::Pipe`]. No
    /// person is asked.
    WantSecretPipe {
        /// The question's number.
        item: u32,
    },
    /// The client is to look at where a target goes.
    WantTargetLook {
        /// The target's number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// The session's name, seconds since 1970 UTC.
        session: i64,
        /// Size that the target will have, bytes.
        size_bytes: u64,
        /// Volume whose base snapshot is looked for.
        base_of: BaseOf,
        /// Path that the volume was backed up from.
        origin: Option<Vec<u8>>,
    },
    /// The client is asked for a person's confirmation of what it was shown.
    WantConfirmation {
        /// The question's number.
        item: u32,
    },
    /// A far end is to be started.
    WantFarEnd {
        /// Which of the far end's services.
        service: Service,
        /// How it is reached.
        via: Via,
    },
    /// The far end's pipes are closed, or it is of no more use: it is to end soon, or is killed.
    EndFarEnd {
        /// Which of the far end's services.
        service: Service,
    },
    /// The command has ended.
    Done(ExitStatus),
    /// The command has ended without effect, and begins anew when a person has answered.
    GivenBack,
    /// The keys are wiped, or there is no such archive. Answers come in the order of
    /// [`ControlToKeyholder::Lock`].
    Locked(Option<Failure>),
}
