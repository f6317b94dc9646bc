// SPDX-License-Identifier: GPL-3.0-or-later
//! A snapshot of one source of a run, by each kind of pool: it stays unchanged, shows what changed
//! since the base, and becomes the next base. A source without a snapshot is read as it is, and
//! whole.

use std::io;

use rustix::io::Errno;
use wyng_control::{BaseLabel, Method, WholeCause};

/// A source that stays unchanged until the run has committed it.
pub(super) trait Snapshot {
    /// The base's label, and its size in bytes; `None` where there is no base.
    fn base(&self) -> Option<(BaseLabel, u64)>;

    /// The next ranges of bytes that may differ from the base, ascending and apart, and how they
    /// were found; an empty list ends them. After an error nothing is known of the bytes that
    /// follow.
    fn next_changes(&mut self) -> io::Result<(Method, Vec<(u64, u64)>)>;

    /// The next ranges of bytes that read as zeros and need not be read, ascending and apart; an
    /// empty list ends them. The keyholder finds holes of a file itself.
    fn next_holes(&mut self) -> io::Result<Vec<(u64, u64)>> {
        Ok(Vec::new())
    }

    /// Why there is no base, or no changes, in a thin pool.
    fn whole_cause(&self) -> Option<WholeCause> {
        None
    }

    /// Whether the client made it, and so must learn what becomes of it.
    fn is_of_client(&self) -> bool;

    /// Removes the base, which is not what its label says.
    fn drop_base(&self) -> Rotation;

    /// Makes the snapshot the base, durably, after its session is committed; the base before it is
    /// removed.
    fn rotate(&self, label: &BaseLabel) -> Rotation;

    /// Gives a new volume of a thin pool its name. Nothing else gets one here.
    fn give_name(&self) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }
}

/// Who changes the names in the folder of base snapshots.
pub(super) enum Rotation {
    /// This role has changed them, or the system refused.
    Done(Result<(), Errno>),
    /// The client, who made the snapshot's file with its own rights.
    ByClient,
}
