// SPDX-License-Identifier: GPL-3.0-or-later
//! What is next in a plan that is carried out.

use std::os::fd::OwnedFd;

use wyng_control::{Failure, RestoredQube, TargetKind, There};

/// What is next in a plan.
pub(in crate::volumes) enum Next {
    /// This target is to be written.
    Import {
        item: u32,
        file: OwnedFd,
        kind: TargetKind,
        /// What is in it already.
        there: Option<There>,
    },
    /// This one cannot be.
    NoImport { item: u32 },
    /// This is what became of a qube.
    Made(RestoredQube, Option<Failure>),
    /// Nothing more.
    Done,
}
