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
        /// Which verb set.
        service: Service,
        /// How it is reached.
        via: Via,
        /// In dom0 the name of the disposable that was made for it.
        qube: Option<String>,
    },
    /// This far end ends soon, or is killed.
    End {
        /// Which verb set.
        service: Service,
    },
    /// The command is over: far ends whose pipes are closed end soon, or are killed.
    EndAll,
}

/// spawner → control.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SpawnerToControl {
    /// In its jail; what could not be enforced.
    Ready(Vec<NotEnforced>),
    /// It runs.
    Started {
        /// Which.
        service: Service,
    },
    /// It could not be started.
    NotStarted {
        /// Which.
        service: Service,
        /// Why.
        failure: Failure,
    },
    /// It ended.
    Ended {
        /// Which.
        service: Service,
        /// What that means if it was not done; none: its exit status was 0.
        failure: Option<Failure>,
        /// Peak of resident memory of the spawner and of its largest far end so far.
        peak_rss_bytes: u64,
    },
}
