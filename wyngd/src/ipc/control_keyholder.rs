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
    /// A job. The one before has ended, or has given its turn back. With the read end of a
    /// passphrase's pipe if `typed`.
    Start {
        /// What to do.
        command: Command,
        /// Whose process asked; nobody's number if that is not known.
        uid: u32,
        /// The number of the command, the same each time that it begins anew.
        turn: u64,
        /// It gave its turn back while it waited for a passphrase, which has been typed meanwhile.
        typed: bool,
    },
    /// Others wait while this job waits for a passphrase: it is to give its turn back.
    GiveBack,
    /// A command that gave its turn back does not begin anew: what was typed for it is wiped.
    Abandon {
        /// Its number.
        turn: u64,
    },
    /// Wipes keys that are kept, now, whatever runs. The answer is [`KeyholderToControl::Locked`].
    Lock {
        /// Of which archive; none: of all.
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
        /// Which.
        service: Service,
    },
    /// The far end could not be started.
    FarEndNotStarted {
        /// Which.
        service: Service,
        /// Why.
        failure: Failure,
    },
    /// The far end's process ended.
    FarEndEnded {
        /// Which.
        service: Service,
        /// What that means if it was not done; none: its exit status was 0.
        failure: Option<Failure>,
    },
    /// The person interrupted.
    Cancel,
}

/// keyholder → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KeyholderToControl {
    /// It and the transport, which has no wire to control, are in their jails; what could not be
    /// enforced.
    Ready {
        /// Of the keyholder.
        keyholder: Vec<NotEnforced>,
        /// Of the transport.
        transport: Vec<NotEnforced>,
    },
    /// For the client, as it is.
    Tell(ToClient),
    /// Ask the client for a passphrase.
    WantPassphrase {
        /// The question's number.
        item: u32,
        /// Which one.
        asked: Asked,
    },
    /// Ask the client for a pipe to write a secret to; the answer is
    /// [`Given::Pipe`]. No person is asked.
    WantSecretPipe {
        /// The question's number.
        item: u32,
    },
    /// Have the client look at where a target goes.
    WantTargetLook {
        /// The target's number.
        item: u32,
        /// The volume's name.
        volume: String,
        /// The session's name, seconds since 1970 UTC.
        session: i64,
        /// How many bytes the target will have.
        size_bytes: u64,
        /// Whose base snapshot to look for.
        base_of: BaseOf,
        /// Where the volume was backed up from.
        origin: Option<Vec<u8>>,
    },
    /// Start the far end.
    WantFarEnd {
        /// Which verb set.
        service: Service,
        /// How it is reached.
        via: Via,
    },
    /// The far end's pipes are closed, or it is of no more use: it ends soon, or is killed.
    EndFarEnd {
        /// Which.
        service: Service,
    },
    /// The job has ended.
    Done(ExitStatus),
    /// The job has ended without effect, and begins anew when its passphrase has been typed.
    GivenBack,
    /// The keys are wiped, or there is no such archive. In the order of
    /// [`ControlToKeyholder::Lock`].
    Locked(Option<Failure>),
}
