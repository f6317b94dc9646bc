// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes to the store and what comes back: packs, commits, records; and how damage is healed.
//! What a volume is, is for the other wings.

mod commit;
mod copies;
mod fetch;
mod head;
mod heal;
mod history;
mod load;
mod metadata;
mod newest;
mod outbox;
mod pack;
mod pack_changes;
mod pack_table;
mod packer;
mod put;
mod session_keys;
mod tables;
mod tools;
mod trees;
mod whole;

pub use commit::commit_change;
pub(crate) use commit::{Changes, begun_volumes, commit, commit_edit, new_volume, seal_commit};
pub(crate) use copies::{SoundCommit, read_commit, read_copies};
pub(crate) use fetch::{ChunkReader, Opened, Wanted};
pub(crate) use head::{confirm_head, settle_pending};
pub(crate) use heal::{
    is_damaged, is_in_cache, lacking_ids, plan_healing, push_missing, release_held,
    rewrite_metadata, what_it_lacks,
};
pub(crate) use history::History;
pub(crate) use load::{OldCache, read_pack, rebuild};
pub(crate) use newest::find_newest;
pub(crate) use pack::{CommitPoint, usize_of};
pub(crate) use pack_changes::PackChanges;
pub use pack_table::packs_of;
pub(crate) use pack_table::{pack_table_nodes, packs_below};
pub(crate) use packer::Packer;
pub(crate) use put::buffer_of;
pub use put::put_blob;
pub(crate) use session_keys::{Keys, keys_of};
pub(crate) use tables::{EditedVolume, FinishedVolume};
pub(crate) use tools::Tools;
pub(crate) use trees::ContentEdit;
pub(crate) use whole::{hash_pack, show_sound_version, sound_version};
