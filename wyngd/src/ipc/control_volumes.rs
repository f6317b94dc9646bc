// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between control and volumes: sources and targets that the client opens, and qubes. A
//! descriptor travels beside a message only where its line says so.

use bincode::{Decode, Encode};
use wyng_control::{BaseLabel, Failure, Given, Via, Wanted};

use super::jail::NotEnforced;
use super::service::Service;

/// control → volumes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one message at a time, and it is taken apart at once"
)]
pub enum ControlToVolumes {
    /// What was wanted is a volume of the configuration: open it.
    Configured {
        /// The question's number.
        item: u32,
    },
    /// The client's answer, unchanged; with its descriptors. Control answers in the place of a
    /// client that is gone.
    Given {
        /// The question's number.
        item: u32,
        /// The answer.
        given: Given,
    },
    /// In dom0: have the qube run that is behind a far end. Until the answer only the next but one
    /// may come.
    PrepareQube {
        /// For which verb set.
        service: Service,
        /// How it is reached.
        via: Via,
    },
    /// The far end has ended: its disposable is killed.
    EndQube {
        /// Of which verb set.
        service: Service,
    },
    /// Nobody waits for the qube any more.
    GiveUpQube,
}

/// volumes → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum VolumesToControl {
    /// In its jail; what could not be enforced.
    Ready(Vec<NotEnforced>),
    /// Ask the client.
    Want {
        /// The question's number.
        item: u32,
        /// What.
        wanted: Wanted,
    },
    /// Have the client give a snapshot its name.
    Keep {
        /// The source's number.
        item: u32,
        /// What it is of.
        label: BaseLabel,
    },
    /// Have the client remove the base snapshot that it gave.
    DropBase {
        /// The number of the source or target.
        item: u32,
    },
    /// A base snapshot that is not what its label says cannot be removed.
    BaseKept {
        /// What the system said.
        errno: i32,
    },
    /// Have the client close a snapshot that is not needed.
    Forget {
        /// The source's number.
        item: u32,
    },
    /// The far end can be called.
    QubeReady {
        /// Which verb set.
        service: Service,
        /// The name of the disposable that was made.
        qube: Option<String>,
    },
    /// There is no qube, and nothing is left of one.
    QubeNotReady {
        /// Which verb set.
        service: Service,
        /// Why.
        failure: Failure,
    },
}
