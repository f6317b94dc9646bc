// SPDX-License-Identifier: GPL-3.0-or-later
//! What matters on this machine, under `archives/ID/`: losing it loses no data, but it is what
//! tells old from new.
//!
//! Every file here is small, replaced atomically and fsynced, but for the journal, which is
//! appended.

mod acknowledged;
mod archives;
mod delta;
mod journal;
mod ledger;
mod notes;
mod origins;

pub use acknowledged::{Acknowledged, SessionKey};
pub(crate) use archives::to_hex;
pub use archives::{ArchiveFolder, ArchiveToml, CacheFolder, from_hex};
pub use delta::{DELTA_RANGES_MAX, SavedDelta};
pub use journal::{Journal, JournalKey, JournalPack, JournalVolume, Journaled};
pub use ledger::{KnownCommit, Ledger, PassedOver};
pub use notes::{Notes, PackNote};
pub use origins::{Origins, Said};
