// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds the records that the archive still needs, and moves, deletes or brings back packs
//! accordingly. The reasons for which sessions are removed belong to other wings.

mod alive;
mod compact;
mod copy_times;
mod guard;
mod history;
mod moving;
mod notes;
mod orphans;
mod proof;
mod tidy;
mod undelete;
mod waits;
mod waste;

pub use alive::{Alive, AliveIn, AlivePacks, Roots, alive_packs, mark_alive};
pub use compact::{CompactRequest, compact};
pub use copy_times::CopyTimes;
pub(crate) use guard::{Candidate, Guard};
pub(crate) use tidy::is_run_due;
pub use tidy::{Tidied, tidy};
pub use undelete::{UndeleteRequest, undelete};
pub(crate) use waits::{look_for_waits, tell_waits};
pub(crate) use waste::is_recent;
