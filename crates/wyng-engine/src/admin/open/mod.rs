// SPDX-License-Identifier: GPL-3.0-or-later
//! Adopting an archive, or catching up with it: the one command that rebuilds the state directory's
//! view of an archive, and the only one that looks for the newest commit.
//!
//! An archive is its id, whatever it is called here. What this machine knows of that id must be an
//! ancestor of what the store shows, proven by hashes; all else is rollback or fork, and refused.
//! The new cache is built beside the one that is in use, and what only this machine still has goes
//! over into it; one write of the ledger then makes the new state count. Until that write a crash
//! leaves the old state as it was.

mod adopt;
mod head;
mod here;
mod passphrase;
mod run;
mod view;

pub use adopt::Opened;
pub use run::{OpenRequest, open};
