// SPDX-License-Identifier: GPL-3.0-or-later
//! The only `unsafe` code of the project: starting roles with exactly their descriptors, mapping
//! memory files, listing extents, installing filters. It deliberately decides nothing:
//! `wyngd/src/roles.rs` says who may hold what.
//!
//! Each function is named for its effect and is safe to call. A protection that the kernel lacks is
//! reported as [`Enforced::No`], so that `status` can show it; no protection is silently weaker
//! than requested.

mod descriptors;
mod discard;
mod extents;
mod landlock;
mod memfile;
mod privileges;
mod seccomp;
mod spawn;
mod usage;
mod users;

pub use descriptors::{PACKET_FDS_MAX, inherited, packet_pair, receive_packet, send_packet};
pub use discard::discard;
pub use extents::{BtrfsExtent, BtrfsExtentKind, FileExtent, btrfs_extents, file_extents};
pub use landlock::{PathAccess, landlock_is_there, restrict_paths, restrict_to_ports};
pub use memfile::{MappedFile, MemfileError, new_file, seal_file};
pub use privileges::{
    DiskTurn, allow_descriptors, die_with_parent, empty_network_namespace, lock_memory, no_core,
    no_new_privileges, not_dumpable, outlive_file_size_limit, outlive_memory_shortage,
    outlive_parent, yield_processor,
};
pub use rustix::thread::CapabilitySet;
pub use seccomp::{Profile, allow_only};
pub use spawn::{Started, ignore_stop, start, start_unkillable, unblock_signals};
pub use usage::{peak_resident_bytes, peak_resident_of_children_bytes};
pub use users::{User, become_user, find_group, find_user, is_root, keep_capabilities};

/// Whether a protection is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforced {
    /// The protection is in force.
    Yes,
    /// The protection is not in force, for this reason.
    No(String),
}

impl Enforced {
    /// The outcome of a call whose error is the reason.
    pub fn of<T, E: std::fmt::Display>(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Yes,
            Err(error) => Self::No(error.to_string()),
        }
    }
}
