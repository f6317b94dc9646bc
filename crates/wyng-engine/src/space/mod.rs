// SPDX-License-Identifier: GPL-3.0-or-later
//! What happens to packs that the archive no longer needs, and which records it still needs. What a
//! person removed, and why, is for other wings.

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

pub use alive::{Alive, AliveIn, Roots, mark_alive};
pub use compact::{CompactRequest, compact};
pub use copy_times::CopyTimes;
pub(crate) use tidy::is_run_due;
pub use tidy::{Tidied, tidy};
pub use undelete::{UndeleteRequest, undelete};
pub(crate) use waits::{look_for_waits, tell_waits};
