// SPDX-License-Identifier: GPL-3.0-or-later
//! What is next in a plan that is carried out.

use std::os::fd::OwnedFd;

use wyng_control::{Failure, RestoredQube, TargetKind, There};

use crate::ipc::FreshVolume;

/// What is next in a plan.
pub(in crate::volumes) enum Next {
    /// This target is to be written.
    Import { item: u32, opened: Opened },
    /// This one cannot be.
    NoImport { item: u32 },
    /// This is what became of a qube.
    Made(RestoredQube, Option<Failure>),
    /// Nothing more.
    Done,
}

/// A target, opened.
pub(in crate::volumes) struct Opened {
    pub(in crate::volumes) file: OwnedFd,
    pub(in crate::volumes) kind: TargetKind,
    /// What is in it already.
    pub(in crate::volumes) there: Option<There>,
    /// It was made in a thin pool.
    pub(in crate::volumes) of_pool: Option<OfPool>,
}

/// What is special about a target in a thin pool.
#[derive(Clone, Copy)]
pub(in crate::volumes) struct OfPool {
    /// Length of the blocks that it gives back when they are discarded, bytes; 0 if it gives none.
    pub(in crate::volumes) discards_bytes: u32,
    /// What of the pool it may take.
    pub(in crate::volumes) fresh: FreshVolume,
}
