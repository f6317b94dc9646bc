// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon reports of pools of volumes, those of LVM and of ZFS: their use, what it made in
//! them, and why a volume was read whole. Only the daemon may ask LVM, and only root's daemon does.

use bincode::{Decode, Encode};

use crate::base::BaseLabel;
use crate::zvol::OwnZfsName;

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

/// The name of something that the daemon made in a pool of volumes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum OwnName {
    /// A volume in a thin pool of LVM's.
    Logical(LogicalName),
    /// A snapshot or a volume in a pool of ZFS.
    Zfs(OwnZfsName),
}

impl OwnName {
    /// Whether its characters may become an argument of a program.
    pub fn is_checked(&self) -> bool {
        match self {
            Self::Logical(name) => name.is_checked(),
            Self::Zfs(name) => name.is_checked(),
        }
    }
}

impl std::fmt::Display for OwnName {
    /// `GROUP/VOLUME`, `POOL/DATASET@SNAPSHOT` or `POOL/DATASET`.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Logical(name) => name.fmt(to),
            Self::Zfs(name) => name.fmt(to),
        }
    }
}

/// A volume that the daemon made in a thin pool, or a snapshot or volume that it made in a pool of
/// ZFS.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ThinVolume {
    /// Its name.
    pub volume: OwnName,
    /// Name of its pool; a thin pool is in the same group.
    pub pool: String,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Bytes that the pool holds for it, shared ones included; `None` while it is not active,
    /// because LVM does not say it then.
    pub mapped_bytes: Option<u64>,
    /// Bytes that the pool gets back when it is removed; `None` where the tools do not say it: LVM
    /// never does.
    pub exclusive_bytes: Option<u64>,
    /// The session of which it is the state. `None`: it is unfinished, or kept.
    pub label: Option<BaseLabel>,
    /// It keeps what a qube's volume was before a restore in place.
    pub kept: bool,
}

/// A thin pool with at least one such volume, with a metadata snapshot that may be the daemon's, or
/// from which bases were removed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ThinPool {
    /// Its group and name.
    pub pool: LogicalName,
    /// Shares of data and of metadata that are used, per cent, rounded up; `None` while it is not
    /// active.
    pub used_percent: Option<(u8, u8)>,
    /// It holds a metadata snapshot, and it is not certain whether a killed run took it.
    pub metadata_left: bool,
    /// Number of bases that were removed because it was nearly full, since one was made in it.
    pub bases_dropped: u32,
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
    /// LVM or ZFS failed, or was not understood. The daemon's log has the reason.
    Failed,
}

/// What a person wants to have removed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ThinWaste {
    /// A volume or snapshot that the daemon made.
    Volume(OwnName),
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
    /// LVM or ZFS refused. The daemon's log has the reason.
    Failed,
}

/// Beginnings of names that volumes of another owner have: those of Qubes OS, and those that the
/// daemon removes as left over.
const NAMES_OF_OTHERS: [&str; 2] = ["vm-", "wyng-"];
/// Beginnings and parts of names that LVM keeps for itself.
const NAMES_OF_LVM: ([&str; 2], [&str; 17]) = (
    ["snapshot", "pvmove"],
    [
        "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog",
        "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
    ],
);

/// Where a restore makes a new volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ThinPlace {
    /// The pool, with its group.
    pub pool: LogicalName,
    /// The name that the volume will have in the same group.
    pub name: String,
}

impl ThinPlace {
    /// The place that `GROUP/POOL/NAME` names; `None` for any other text, and for names that
    /// belong to Qubes OS, to the daemon or to LVM.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split('/');
        let (group, pool, name) = (words.next()?, words.next()?, words.next()?);
        let place = Self {
            pool: LogicalName::new(group, pool)?,
            name: name.to_owned(),
        };
        (words.next().is_none() && place.is_checked()).then_some(place)
    }

    /// Whether [`parse`](Self::parse) would make it.
    pub fn is_checked(&self) -> bool {
        let (beginnings, parts) = NAMES_OF_LVM;
        let begins = |beginning: &&str| self.name.starts_with(*beginning);
        self.pool.is_checked()
            && LogicalName::new(&self.pool.group, &self.name).is_some()
            && !NAMES_OF_OTHERS.iter().chain(&beginnings).any(begins)
            && !parts.iter().any(|part| self.name.contains(part))
    }

    /// The volume.
    pub fn volume(&self) -> LogicalName {
        LogicalName {
            group: self.pool.group.clone(),
            name: self.name.clone(),
        }
    }
}

/// Why no volume can be made in a thin pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PoolRefusal {
    /// Root did not start the daemon, or the client is not root.
    NotRoot,
    /// There is no such pool.
    NoPool,
    /// There is no such volume of a qube in it, or it is in use.
    NoVolume,
    /// The pool must not be used now.
    Unfit(WholeCause),
}

impl PoolRefusal {
    /// The end of the sentence "no volume can be made in the pool: …".
    pub fn phrase(self) -> &'static str {
        match self {
            Self::NotRoot => "only root may, through a daemon that root started",
            Self::NoPool => "no active thin pool of this name exists",
            Self::NoVolume => "the qube's volume is not in it, or is in use",
            Self::Unfit(cause) => cause.what(),
        }
    }
}

/// Why a volume of a pool was read whole, or without a snapshot. Each has one thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum WholeCause {
    /// The volume has no base snapshot for this archive, or one that its label does not fit.
    NoBase,
    /// The base snapshot was removed because the pool is nearly full.
    BaseDropped,
    /// So much of the pool is used that no snapshot is made.
    PoolFilling,
    /// Another program holds the pool's metadata snapshot.
    MetadataHeld,
    /// A killed run may have left the pool's metadata snapshot.
    MetadataLeft,
    /// The pool's metadata could not be read, or did not stand still.
    MetadataUnread,
    /// LVM and the kernel disagree about the pool, or it is suspended or failed.
    PoolUnsound,
    /// udev or LVM would look into snapshots.
    Probed,
    /// Another daemon removes what killed runs left.
    DaemonTidies,
    /// The volume is renamed again and again.
    Renamed,
    /// lvm or dmsetup failed, or was not understood.
    LvmFailed,
    /// A ZFS volume changed since its base, and ZFS does not say where.
    RangesUntold,
    /// zfs failed, was not understood, or a device did not appear.
    ZfsFailed,
}

impl WholeCause {
    /// Every cause.
    pub const ALL: [Self; 13] = [
        Self::NoBase,
        Self::BaseDropped,
        Self::PoolFilling,
        Self::MetadataHeld,
        Self::MetadataLeft,
        Self::MetadataUnread,
        Self::PoolUnsound,
        Self::Probed,
        Self::DaemonTidies,
        Self::Renamed,
        Self::LvmFailed,
        Self::RangesUntold,
        Self::ZfsFailed,
    ];

    /// A short word for scripts, stable over versions.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoBase => "no-base",
            Self::BaseDropped => "base-dropped",
            Self::PoolFilling => "pool-filling",
            Self::MetadataHeld => "metadata-held",
            Self::MetadataLeft => "metadata-left",
            Self::MetadataUnread => "metadata-unread",
            Self::PoolUnsound => "pool-unsound",
            Self::Probed => "snapshots-probed",
            Self::DaemonTidies => "daemon-tidies",
            Self::Renamed => "volume-renamed",
            Self::LvmFailed => "lvm-failed",
            Self::RangesUntold => "ranges-untold",
            Self::ZfsFailed => "zfs-failed",
        }
    }

    /// What happened: the end of the sentence "It was read whole, because …".
    pub fn what(self) -> &'static str {
        match self {
            Self::NoBase => "it has no base snapshot for this archive",
            Self::BaseDropped => {
                "more than 90 % of its pool is used, and its base snapshot was removed"
            }
            Self::PoolFilling => "more than 80 % of its pool is used, and no snapshot was made",
            Self::MetadataHeld => "another program holds the metadata snapshot of its pool",
            Self::MetadataLeft => "a killed run may have left the metadata snapshot of its pool",
            Self::MetadataUnread => {
                "the metadata of its pool could not be read, or did not stand still"
            }
            Self::PoolUnsound => {
                "its pool is suspended or failed, or LVM and the kernel disagree about it"
            }
            Self::Probed => "udev or LVM would look into snapshots",
            Self::DaemonTidies => "another daemon was removing what killed runs left",
            Self::Renamed => "another program renamed it again and again",
            Self::LvmFailed => "lvm or dmsetup failed",
            Self::RangesUntold => "it changed since its base snapshot, and ZFS does not say where",
            Self::ZfsFailed => "zfs failed, or a device of it did not appear",
        }
    }

    /// What to do next.
    pub fn next(self) -> &'static str {
        match self {
            Self::NoBase => "Nothing: this backup made one, and the next reads only what changes.",
            Self::BaseDropped | Self::PoolFilling => {
                "Extend the pool: with `lvextend`, its metadata with `lvextend --poolmetadatasize`, \
                 a pool of ZFS with `zpool add`."
            }
            Self::MetadataHeld => {
                "End that program, or let it finish: `dmsetup status` of the pool shows what is held."
            }
            Self::MetadataLeft => {
                "If no other program uses it, run `wyng-ctl snapshots clean --metadata` as root."
            }
            Self::MetadataUnread => {
                "Run the same command again. If it stays, check the pool with thin_check(8)."
            }
            Self::PoolUnsound => "See lvmthin(7) on repair. Nothing in the pool was changed.",
            Self::Probed => {
                "Install 12-wyng-ignore-lvm-devices.rules and 12-wyng-ignore-zvols.rules, and set \
                 devices/scan_lvs to 0 in lvm.conf."
            }
            Self::DaemonTidies | Self::Renamed => "Run the same command again.",
            Self::LvmFailed | Self::ZfsFailed => "The daemon's log has the program's own words.",
            Self::RangesUntold => {
                "Nothing: what was read and is in the archive is not stored again."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_cause_has_its_own_word_and_something_to_do() {
        let codes: BTreeSet<&str> = WholeCause::ALL.iter().map(|cause| cause.code()).collect();
        assert_eq!(codes.len(), WholeCause::ALL.len());
        assert!(WholeCause::ALL.iter().all(|cause| !cause.next().is_empty()));
    }

    #[test]
    fn a_new_volume_gets_no_name_of_another_owner() {
        let place = ThinPlace::parse("vg/pool/home").unwrap();
        assert_eq!(place.volume().to_string(), "vg/home");
        for text in [
            "vg/pool",
            "vg/pool/",
            "vg/pool/a/b",
            "vg/pool/-f",
            "vg/pool/vm-work-private",
            "vg/pool/wyng-0123456789abcdef",
            "vg/pool/snapshot1",
            "vg/pool/a_tdata",
            "vg//home",
        ] {
            assert_eq!(ThinPlace::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_that_could_be_an_option_or_a_path_is_refused() {
        for name in ["", "-f", "a/b", "a b", ".", "..", "a|b", &"x".repeat(128)] {
            assert_eq!(LogicalName::new("vg", name), None, "{name:?}");
            assert_eq!(LogicalName::new(name, "lv"), None, "{name:?}");
        }
        let name = LogicalName::new("qubes_dom0", "a.b+c_d-1").unwrap();
        assert_eq!(name.to_string(), "qubes_dom0/a.b+c_d-1");
    }
}
