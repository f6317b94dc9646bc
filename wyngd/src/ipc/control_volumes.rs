// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between control and volumes: sources and targets that the client opens, and qubes. A
//! descriptor travels beside a message only where its line says so.

use bincode::{Decode, Encode};
use wyng_control::{
    BaseLabel, Failure, Given, ThinPage, ThinRemoval, ThinUnlisted, ThinWaste, Via, Wanted,
};

use super::jail::NotEnforced;
use super::service::Service;

/// control → volumes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToVolumes {
    /// The wanted source is a volume of the configuration, to be opened by its name.
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
    /// In dom0: start the qube behind a far end. Until the answer, only
    /// [`GiveUpQube`](Self::GiveUpQube) may follow.
    PrepareQube {
        /// Which of the far end's services.
        service: Service,
        /// How it is reached.
        via: Via,
    },
    /// The far end has ended: its disposable is to be killed.
    EndQube {
        /// Which of the far end's services.
        service: Service,
    },
    /// No command waits for the qube any more.
    GiveUpQube,
    /// The daemon's volumes in thin pools are to be listed. [`VolumesToControl::ThinListed`]
    /// answers.
    ThinList {
        /// The number of volumes that were listed before.
        from: u32,
    },
    /// Something is to be removed from a thin pool. [`VolumesToControl::ThinRemoved`] answers.
    ThinRemove(ThinWaste),
}

/// volumes → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum VolumesToControl {
    /// Volumes is in its jail, and so is pool where there is one.
    Ready {
        /// Protections of volumes that could not be enforced.
        volumes: Vec<NotEnforced>,
        /// Protections of pool that could not be enforced.
        pool: Vec<NotEnforced>,
    },
    /// A question for the client.
    Want {
        /// The question's number.
        item: u32,
        /// What is wanted.
        wanted: Wanted,
    },
    /// The client is to give a snapshot its name.
    Keep {
        /// The source's number.
        item: u32,
        /// The session that the snapshot holds.
        label: BaseLabel,
    },
    /// The client is to remove the base snapshot that it gave.
    DropBase {
        /// The number of the source or target.
        item: u32,
    },
    /// The client is to close a snapshot that is not needed.
    Forget {
        /// The source's number.
        item: u32,
    },
    /// The far end can be called.
    QubeReady {
        /// Which of the far end's services.
        service: Service,
        /// The name of the disposable that was made.
        qube: Option<String>,
    },
    /// The far end cannot be called, and no disposable is left for it.
    QubeNotReady {
        /// Which of the far end's services.
        service: Service,
        /// Why it cannot be called.
        failure: Failure,
    },
    /// The daemon's volumes in thin pools, or why they are not listed.
    ThinListed(Result<ThinPage, ThinUnlisted>),
    /// What became of what was to be removed.
    ThinRemoved(ThinRemoval),
}
