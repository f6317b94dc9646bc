// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between control and spawner: far ends to be started and ended. No descriptor travels
//! here.

use bincode::{Decode, Encode};
use wyng_control::{Failure, Via};

use super::jail::NotEnforced;
use super::service::Service;

/// control → spawner.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ControlToSpawner {
    /// Start the far end.
    Start {
        /// Which of the far end's services.
        service: Service,
        /// How it is reached.
        via: Via,
        /// In dom0, the name of the disposable that was made for this far end.
        qube: Option<String>,
    },
    /// The far end is not needed any more: it ends soon, or is killed.
    End {
        /// Which of the far end's services.
        service: Service,
    },
    /// The command is over: far ends whose pipes are closed end soon, or are killed.
    EndAll,
}

/// spawner → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SpawnerToControl {
    /// The spawner is in its jail; the protections that could not be enforced.
    Ready(Vec<NotEnforced>),
    /// The far end runs.
    Started {
        /// Which of the far end's services.
        service: Service,
    },
    /// The far end could not be started.
    NotStarted {
        /// Which of the far end's services.
        service: Service,
        /// Why it could not be started.
        failure: Failure,
    },
    /// The far end ended.
    Ended {
        /// Which of the far end's services.
        service: Service,
        /// What the end means if its work was not done; none after exit status 0.
        failure: Option<Failure>,
        /// Peak of resident memory of the spawner and of its largest far end so far, bytes.
        peak_rss_bytes: u64,
    },
}
