// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon reports of thin pools: their use, its volumes in them, and why a volume of one
//! was read whole. Only the daemon may ask LVM, and only root's daemon does.

use bincode::{Decode, Encode};

use crate::base::BaseLabel;

/// Maximum number of volumes in one message or command. Each takes less than 500 bytes.
pub const THIN_VOLUMES_MAX: usize = 100;
/// Share of a pool's data or metadata above which no snapshot is made, per cent.
pub const POOL_FILLING_PERCENT: u8 = 80;
/// Share of a pool's data or metadata above which bases are removed, per cent.
pub const POOL_FULL_PERCENT: u8 = 90;
/// Maximum length of a volume group's or a logical volume's name, bytes.
const NAME_MAX_BYTES: usize = 127;

/// A volume group and a logical volume in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LogicalName {
    /// Name of the volume group.
    pub group: String,
    /// Name of the volume.
    pub name: String,
}

impl LogicalName {
    /// `None` unless both have only characters that LVM allows, and neither could be an option.
    pub fn new(group: &str, name: &str) -> Option<Self> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= NAME_MAX_BYTES
                && !name.starts_with('-')
                && ![".", ".."].contains(&name)
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte))
        };
        (is_name(group) && is_name(name)).then(|| Self {
            group: group.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Whether [`new`](Self::new) would make it.
    pub fn is_checked(&self) -> bool {
        Self::new(&self.group, &self.name).is_some()
    }
}

impl std::fmt::Display for LogicalName {
    /// `GROUP/VOLUME`.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}/{}", self.group, self.name)
    }
}

/// A volume that the daemon made in a thin pool.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ThinVolume {
    /// Its group and name.
    pub volume: LogicalName,
    /// Name of its pool, in the same group.
    pub pool: String,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Bytes that the pool holds for it, shared ones included; `None` while it is not active,
    /// because LVM does not say it then.
    pub mapped_bytes: Option<u64>,
    /// The session of which it is the state. `None`: it is unfinished.
    pub label: Option<BaseLabel>,
}

/// A thin pool with at least one such volume, or with a metadata snapshot that may be the daemon's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ThinPool {
    /// Its group and name.
    pub pool: LogicalName,
    /// Shares of data and of metadata that are used, per cent, rounded up; `None` while it is not
    /// active.
    pub used_percent: Option<(u8, u8)>,
    /// It holds a metadata snapshot, and it is not certain whether a killed run took it.
    pub metadata_left: bool,
}

impl ThinPool {
    /// The larger of both shares, per cent; 0 while it is not known.
    pub fn fullest_percent(&self) -> u8 {
        self.used_percent
            .map_or(0, |(data, metadata)| data.max(metadata))
    }
}

/// A part of what LVM lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct ThinPage {
    /// Pools; all of them are on the first page.
    pub pools: Vec<ThinPool>,
    /// Volumes, at most [`THIN_VOLUMES_MAX`].
    pub volumes: Vec<ThinVolume>,
    /// More volumes follow.
    pub more: bool,
}

/// Why LVM is not asked, or what it said cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ThinUnlisted {
    /// Root did not start the daemon.
    NotRoot,
    /// LVM failed, or was not understood. The daemon's log has the reason.
    Failed,
}

/// What a person wants to have removed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ThinWaste {
    /// A volume that the daemon made.
    Volume(LogicalName),
    /// The metadata snapshot of a pool, of which it is not certain whether a killed run took it.
    MetadataOf(LogicalName),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum ThinRemoval {
    /// It is gone.
    Removed,
    /// A run uses it.
    InUse,
    /// LVM refused. The daemon's log has the reason.
    Failed,
}
