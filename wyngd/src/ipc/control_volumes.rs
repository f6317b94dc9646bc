// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between control and volumes: sources and targets that the client opens, and qubes. A
//! descriptor travels beside a message only where its line says so.

use bincode::{Decode, Encode};
use wyng_control::{
    BaseLabel, Failure, FoundSource, NoSource, Remembered, TargetFault, TargetForm, Wanted,
};

use super::jail::NotEnforced;
use super::service::Service;

/// control → volumes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToVolumes {
    /// What was wanted is a volume of the configuration: open it.
    Configured {
        /// The question's number.
        item: u32,
    },
    /// The source that was wanted; where it can be cloned, a new file to clone it into, and the
    /// same for reading; and the base snapshot if there is one; with these descriptors.
    HereSource {
        /// The question's number.
        item: u32,
        /// Where it lies.
        found: FoundSource,
        /// It can be cloned.
        clones: bool,
        /// What the base snapshot is of.
        base: Option<BaseLabel>,
    },
    /// The source that was wanted could not be opened.
    NoSource {
        /// The question's number.
        item: u32,
        /// The path that was tried; empty if nobody is left to open it.
        path: Vec<u8>,
        /// Why.
        why: NoSource,
    },
    /// The target that was wanted; with it, what its form names, and the base snapshot if there is
    /// one.
    HereTarget {
        /// The question's number.
        item: u32,
        /// What the target is, and what else travels.
        form: TargetForm,
        /// What the base snapshot is of.
        base: Option<BaseLabel>,
        /// Where it lies, unless the person named this place for this very command.
        remembered: Option<Remembered>,
    },
    /// The snapshot has its name, or `errno` says why not.
    Kept {
        /// The source's number.
        item: u32,
        /// 0, or what the system said.
        errno: i32,
    },
    /// The target that was wanted cannot be had.
    NoTarget {
        /// The question's number.
        item: u32,
        /// Why.
        fault: TargetFault,
    },
    /// In dom0: have the qube run that is behind a far end. Until the answer only the next but one
    /// may come.
    PrepareQube {
        /// For which verb set.
        service: Service,
        /// What `wyng_config::Via` understands.
        via: String,
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
