// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes to the store and comes back: packs, commits, records, and what heals them.

mod commit;
mod fetch;
mod heal;
mod history;
mod load;
mod pack_changes;
mod packer;
mod put;

pub use commit::commit_change;
pub(crate) use commit::{
    Changes, ContentEdit, FinishedVolume, begun_volumes, commit, confirm_head, new_volume,
    seal_commit, settle_pending,
};
pub(crate) use fetch::{
    ChunkReader, Keys, Opened, Packs, Wanted, keys_of, packs_below, packs_of, usize_of,
};
pub(crate) use heal::{
    is_damaged, is_in_cache, plan_healing, push_missing, release_held, rewrite_metadata,
    what_it_lacks,
};
pub(crate) use history::{History, SoundCommit, find_newest, read_commit, read_copies};
pub(crate) use load::{OldCache, read_pack, rebuild};
pub(crate) use pack_changes::PackChanges;
pub(crate) use packer::{CommitPoint, Packer, Tools};
pub use put::put_blob;
