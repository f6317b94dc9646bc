// SPDX-License-Identifier: GPL-3.0-or-later
//! Removes sessions by rules or on a person's order, and gives up the packs that nothing needs
//! then. Packs that were given up are the business of `space`.
//!
//! A prune as a straight line: notes of damage into the pack table (`begin`) → sessions judged
//! (`judge`) → what is alive without them, and which packs go (`freed`) → one plan (`plan`), which
//! a dry run reports and a run commits (`run`). `by_hand` makes a plan of the sessions that a
//! person named.

mod begin;
mod by_hand;
mod freed;
mod judge;
mod jump;
mod pin;
mod plan;
mod report;
mod request;
mod run;

pub use by_hand::{remove_sessions, remove_volume};
pub use pin::pin;
pub use request::PruneRequest;
pub use run::prune;
pub(crate) use run::prune_after_backup;
