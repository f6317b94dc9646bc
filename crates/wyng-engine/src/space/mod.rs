// SPDX-License-Identifier: GPL-3.0-or-later
//! What happens to packs that the archive no longer needs, and which records it still needs. What a
//! person removed, and why, is for other wings.

mod alive;
mod guard;
mod proof;
mod tidy;
mod waste;

pub use alive::{Alive, AliveIn, Roots, mark_alive};
pub(crate) use tidy::is_run_due;
pub use tidy::{Tidied, tidy};
pub(crate) use waste::{Waste, nothing_read};
