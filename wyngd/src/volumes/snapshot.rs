// SPDX-License-Identifier: GPL-3.0-or-later
//! What each kind of pool does for one source of a run: it holds a snapshot still, tells what
//! changed since the base, and rotates. A source without one is read as it is, and whole.

use std::io;

use rustix::io::Errno;
use wyng_control::{BaseLabel, Method};

/// A source that stands still until the run has committed it.
pub(super) trait Snapshot {
    /// What the base is of, and how large it is; `None` when there is none.
    fn base(&self) -> Option<(BaseLabel, u64)>;

    /// The next ranges that may differ from the base, ascending and apart, and how they were found;
    /// none: that was all. An error means that nothing can be told of what follows.
    fn next_changes(&mut self) -> io::Result<(Method, Vec<(u64, u64)>)>;

    /// Did the client make it? Then it must hear what becomes of it.
    fn is_of_client(&self) -> bool;

    /// The base is not what its label says: it goes.
    fn drop_base(&self) -> Rotation;

    /// The session is committed: the snapshot becomes the base, durably, and what was the base
    /// before goes.
    fn rotate(&self, label: &BaseLabel) -> Rotation;
}

/// Who changes the names in the folder of base snapshots.
pub(super) enum Rotation {
    /// It is done, or not.
    Done(Result<(), Errno>),
    /// The client, who made the snapshot's file with its own rights.
    ByClient,
}
