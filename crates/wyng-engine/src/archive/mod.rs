// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive as this machine knows it: its state, the catalog, its key slots.

mod care;
mod catalog;
mod chain_time;
mod known;
mod nodes;
mod packs;
mod slots;

pub(crate) use catalog::{session_name, volume_and_session};
pub(crate) use chain_time::check_follows;
pub use known::Archive;
pub(crate) use known::{Uncommitted, Unlocked, listed, open_commit};
pub(crate) use nodes::{
    CachedNodes, CachedPackNodes, EveryNode, NodesAtHand, collect, content_root, decode_node,
    keys_root, sessions_root, volumes_root,
};
pub(crate) use packs::{Packs, read_packs_of};
pub use slots::{SlotPlan, new_slot, slot_ref};
pub(crate) use slots::{
    SlotTrial, StoredSlot, damaged_slot, read_slot, read_slots, slot_hash, slot_params,
    with_passphrase,
};
