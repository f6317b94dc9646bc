// SPDX-License-Identifier: GPL-3.0-or-later
//! The state of this machine, under `archives/ID/`, and the kept clock. Losing it loses no data,
//! but without it an old state of the store cannot be distinguished from the newest.
//!
//! Every file here is small, replaced atomically and fsynced, except for the journal, which is
//! appended to.

mod acknowledged;
mod archives;
mod clock;
mod copies;
mod daily;
mod delta;
mod journal;
mod kept_qubes;
mod ledger;
mod locks;
mod notes;
mod origins;
mod proofs;
mod space;
mod spending;
mod starts;
mod store_room;

pub use acknowledged::{Acknowledged, SessionKey};
pub(crate) use archives::to_hex;
pub use archives::{ArchiveFolder, ArchiveToml, CacheFolder, LockBase, from_hex};
pub use clock::StoredClock;
pub use copies::CopyNote;
pub use daily::{Daily, Day};
pub use delta::{DELTA_RANGES_MAX, SavedDelta};
pub use journal::{Journal, JournalKey, JournalPack, JournalSending, JournalVolume, Journaled};
pub use kept_qubes::{KeptQubes, KeptUntil};
pub use ledger::{KnownCommit, Ledger, PassedOver};
pub use locks::{Lockable, Locks, PushLock, SetLock};
pub use notes::{Notes, PackNote};
pub use origins::{Origins, Said};
pub use proofs::{PackProof, Proofs, StayingVm};
pub use space::{RemovedSlot, SpaceNotes};
pub use spending::Spending;
pub use starts::Starts;
pub use store_room::StoreRoom;
