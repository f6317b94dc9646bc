// SPDX-License-Identifier: GPL-3.0-or-later
//! Copying an archive to a further store, without a passphrase. A copy follows the archive's own
//! store: nothing else writes to it, and it never becomes newer than a state that was committed.
//!
//! The order of writes is what keeps a copy whole at every moment: packs, read back; then slots;
//! then the newest commit; then the commits before it, downwards. An earlier commit may need packs
//! that are gone by now, so none of them may ever be the newest of the copy.

mod distinct;
mod history;
mod leaving;
mod needed;
mod packs;
mod read_back;
mod run;
mod target;

pub use run::{CopyRequest, copy};
