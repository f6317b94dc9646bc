// SPDX-License-Identifier: GPL-3.0-or-later
//! From a source to a session: what is read, named, packed and committed.
//!
//! One backup, as a straight line: source → ranges (`source`) → chunks → ids → known? → sealed
//! records (`pipeline`, with the pure part in `stage`) → packs → receipts ([`crate::store`]) → tree
//! → commit → base snapshot (`run`). `back_up` is the command over one volume after another.

mod back_up;
mod base;
mod budget;
mod job;
mod keys;
mod known_volumes;
mod monitor;
mod pipeline;
mod plan;
mod qubes;
mod request;
mod run;
mod sample;
mod source;
mod stage;
mod stop;

pub use back_up::back_up;
pub(crate) use base::{KnownBase, find_base};
pub use monitor::{MonitorRequest, monitor};
pub use request::{BackupRequest, COMMIT_AFTER_BYTES};
pub(crate) use sample::Samples;
pub(crate) use source::{BaseWalk, ChunkRanges};
