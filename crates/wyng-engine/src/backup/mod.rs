// SPDX-License-Identifier: GPL-3.0-or-later
//! From a source to a session: what is read, named, packed and committed.

mod base;
mod monitor;
mod run;
mod sample;
mod source;
mod stop;

pub(crate) use base::{KnownBase, find_base};
pub use monitor::{MonitorRequest, monitor};
pub use run::{BackupRequest, COMMIT_AFTER_BYTES, back_up};
pub(crate) use sample::Samples;
pub(crate) use source::{BaseWalk, ChunkRanges};
