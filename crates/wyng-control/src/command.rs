// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands: the first message of a client. The daemon remembers and compares the paths in them,
//! and never opens one.

use std::fmt;

use bincode::{Decode, Encode};

use crate::qube::QubeChoice;
use crate::restoring::{InPlaceEnd, QubesWish};
use crate::thin::ThinWaste;
use crate::via::Via;

/// Maximum time for which `unlock` keeps a key, seconds: a longer one is surely a mistake.
pub const UNLOCK_MAX_SECS: u64 = 86_400;

/// Which session of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SessionChoice {
    /// The newest.
    Latest,
    /// By its name, by a day (the last session of that day), or by a unique beginning of its name.
    Prefix(String),
    /// By its tag.
    Tag(String),
}

impl fmt::Display for SessionChoice {
    /// As on the command line.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => to.write_str("latest"),
            Self::Prefix(prefix) => to.write_str(prefix),
            Self::Tag(tag) => write!(to, "^{tag}"),
        }
    }
}

/// The other side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CompareWith {
    /// Another session of the volume.
    Session(SessionChoice),
    /// The volume as it is on this machine.
    Local,
}

/// A source of a backup, as the user named it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BackupSource {
    /// The volume's name.
    pub volume: String,
    /// The user wrote NAME=PATH, so that the volume may move to another path.
    pub named: bool,
    /// The name is a volume of the configuration: the daemon opens the path in its own copy.
    pub configured: bool,
}

/// The compression of new chunks. The format has one algorithm, so only its level can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Compression {
    /// Level of zstd, -7 to 19.
    pub zstd_level: i8,
}

/// The time for which unreferenced objects stay in the store: both conditions must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HoldOff {
    /// Number of committed runs.
    pub runs: u32,
    /// Seconds of the admin domain's clock.
    pub secs: u64,
}

/// A run of a profile that a timer started.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Unattended {
    /// The profile's name.
    pub profile: String,
    /// Time between two runs of the profile, seconds. A run is skipped if the run before it began
    /// less than half of this time ago.
    pub interval_secs: u64,
}

/// Which sessions of a volume a prune keeps: each count is a number of sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct KeepRules {
    /// The newest.
    pub last: u32,
    /// The newest of each of the newest hours that have a session.
    pub hourly: u32,
    /// The newest of each of the newest days that have a session.
    pub daily: u32,
    /// The newest of each of the newest weeks that have a session.
    pub weekly: u32,
    /// The newest of each of the newest months that have a session.
    pub monthly: u32,
    /// The newest of each of the newest years that have a session.
    pub yearly: u32,
    /// Every session that is at most this much older than the newest sound one, seconds.
    pub within_secs: u64,
    /// Every session with one of these tags.
    pub tags: Vec<String>,
}

impl KeepRules {
    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The rules of a prune. A volume without a rule keeps all of its sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct PruneRules {
    /// For volumes without rules of their own.
    pub keep: KeepRules,
    /// Volumes with rules of their own.
    pub of_volumes: Vec<(String, KeepRules)>,
    /// Minimum age of a session that is removed, seconds. The archive's own counts if it is larger.
    pub minimum_age_secs: u64,
}

impl PruneRules {
    /// Whether there is no rule for any volume.
    pub fn is_empty(&self) -> bool {
        self.keep.is_empty() && self.of_volumes.iter().all(|(_, keep)| keep.is_empty())
    }
}

/// One command of the command line.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Creates an archive in an empty folder. Asks for a new passphrase.
    ArchiveCreate {
        /// The local name.
        archive: String,
        /// Address of the store, for instance `dir:/mnt/backup/wyng`; opaque to the daemon.
        store_url: String,
        /// The far end: `local`, `ssh:HOST`, `qrexec:VM`, `qrexec:@dispvm:TEMPLATE`.
        via: Via,
        /// The far end through which `verify`, `rehearse` and deletions read back what was pushed,
        /// if it is another one.
        verify_via: Option<Via>,
        /// The client has credentials for the store: the daemon asks for them as it asks for a
        /// passphrase.
        credentials: bool,
        /// A power of two, 64 KiB to 1 MiB.
        chunk_size_bytes: u32,
        /// A multiple of 4 KiB, 64 KiB to 64 MiB.
        pack_size_bytes: u32,
        /// See [`Compression`].
        compression: Compression,
        /// See [`HoldOff`].
        hold_off: HoldOff,
        /// Minimum age of a session that a prune removes, seconds.
        minimum_age_secs: u64,
        /// One deduplication domain for all volumes instead of one each.
        shared_domain: bool,
        /// Memory cost of one guess at the passphrase, 64 MiB to 1 GiB.
        kdf_memory_kib: u32,
        /// Passes of one guess at the passphrase, 3 to 16.
        kdf_passes: u32,
    },
    /// Adopts an archive or catches up with it by rebuilding the local state. Asks for the
    /// passphrase if this machine has no credential.
    ArchiveOpen {
        /// The local name.
        archive: String,
        /// Address of the store; required the first time.
        store_url: Option<String>,
        /// The far end; `local` by default the first time.
        via: Option<Via>,
        /// The far end that checks; by default as before, the first time `via`.
        verify_via: Option<Via>,
        /// The client has credentials for the store: the daemon asks for them as it asks for a
        /// passphrase. Without them, those of the same address are used again.
        credentials: bool,
        /// The code from the recovery sheet.
        expect: Option<String>,
        /// Opens the newest intact generation below this one instead of the newest of all.
        before: Option<u64>,
    },
    /// Makes this machine the archive's writer.
    ArchiveTakeOver {
        /// The archive's name.
        archive: String,
        /// The store is a copy, and becomes the archive's own store.
        promote: bool,
        /// The machine that wrote until now does not write any more. Needed unless the store takes
        /// only one of two commits that come at one moment.
        other_writer_is_gone: bool,
    },
    /// Brings a copy of the archive in a further store up to date, without a passphrase.
    ArchiveCopy {
        /// The archive's name.
        archive: String,
        /// Address of the copy's store.
        store_url: String,
        /// Its far end; `None`: as the last time, or else `local`.
        via: Option<Via>,
        /// The client has credentials for the copy's store: the daemon asks for them as it asks
        /// for a passphrase. Without them, those of the last time are used.
        credentials: bool,
        /// The copy that was there is lost for good: an empty place may be filled.
        anew: bool,
    },
    /// Lists the archives in this state folder.
    ArchiveList,
    /// Lists only the names of these archives, whatever state each is in.
    ArchiveNames,
    /// Shows one archive as this machine knows it.
    ArchiveShow {
        /// The archive's name.
        archive: String,
    },
    /// Removes the local state of an archive; the store is not touched.
    ArchiveForget {
        /// The archive's name.
        archive: String,
    },
    /// Acknowledges the known damage of an archive: it no longer counts as a failure.
    ArchiveAcknowledge {
        /// The archive's name.
        archive: String,
    },
    /// Backs up volumes in one run. Asks for each source.
    Backup {
        /// The archive's name.
        archive: String,
        /// The sources in order; the number of a question is an index into this list.
        sources: Vec<BackupSource>,
        /// In dom0: the qubes, whose volumes and settings are backed up after the sources.
        qubes: QubeChoice,
        /// Makes no session for an unchanged volume.
        skip_unchanged: bool,
        /// Reads and counts, and sends nothing.
        dry_run: bool,
        /// The volumes may be in use; the sessions are marked as crash-consistent.
        live: bool,
        /// Also sends again what `verify` reported as damaged in so large a part of the store that
        /// it does not count as lost.
        heal: bool,
        /// A timer started it; `None`: a person did.
        unattended: Option<Unattended>,
        /// A far end that is started anew reads back the packs and commits of the run.
        verify: bool,
        /// Maximum bytes of new records that each volume may send in a day of the kept clock.
        max_new_bytes: Option<u64>,
        /// Prunes the archive by these rules once the backup is committed.
        prune_after: Option<PruneRules>,
    },
    /// Removes the sessions that no rule keeps, and gives up the packs that nothing needs then.
    Prune {
        /// The archive's name.
        archive: String,
        /// The volumes; empty: all volumes for which there is a rule.
        volumes: Vec<String>,
        /// Rules by which sessions are kept.
        rules: PruneRules,
        /// Reports what would be removed, and changes nothing.
        dry_run: bool,
        /// A timer started it: nothing is removed after a jump of the clock until a person has
        /// accepted it.
        unattended: bool,
        /// The person has checked the clock, and accepts its present time.
        trust_clock: bool,
    },
    /// Removes sessions that a person named, whatever their age.
    SessionRemove {
        /// The archive's name.
        archive: String,
        /// The volume's name.
        volume: String,
        /// The sessions.
        sessions: Vec<SessionChoice>,
        /// Reports what would be removed, and changes nothing.
        dry_run: bool,
    },
    /// Removes a volume with all of its sessions.
    VolumeRemove {
        /// The archive's name.
        archive: String,
        /// The volume's name.
        volume: String,
        /// Reports what would be removed, and changes nothing.
        dry_run: bool,
    },
    /// Rewrites thin and small packs, and deletes what was given up and proven.
    Compact {
        /// The archive's name.
        archive: String,
        /// Maximum number of bytes of packs to rewrite.
        budget_bytes: Option<u64>,
        /// Also deletes blobs that this machine pushed and that no commit has.
        orphans: bool,
    },
    /// Brings back a session that was removed.
    Undelete {
        /// The archive's name.
        archive: String,
        /// The volume's name when the session was removed.
        volume: String,
        /// The session.
        session: SessionChoice,
    },
    /// Pins a session, so that no prune removes it, or unpins it.
    Pin {
        /// The archive's name.
        archive: String,
        /// The volume's name.
        volume: String,
        /// The session.
        session: SessionChoice,
        /// Whether the session is pinned from now on.
        pinned: bool,
    },
    /// Collects the changes and renews the base snapshots. Asks for each source.
    Monitor {
        /// The archive's name.
        archive: String,
        /// The volumes in order; the number of a question is an index into this list.
        sources: Vec<BackupSource>,
    },
    /// Lists the volumes and sessions of an archive from the local state.
    List {
        /// The archive's name.
        archive: String,
        /// One volume instead of all.
        volume: Option<String>,
        /// One session instead of all.
        session: Option<SessionChoice>,
        /// Also reports what each session needs in the store.
        sizes: bool,
    },
    /// Reports what fills the store, from the local state.
    Why {
        /// The archive's name.
        archive: String,
    },
    /// Reports how the archive grew, day by day, from the local state.
    History {
        /// The archive's name.
        archive: String,
    },
    /// Gives a volume another name.
    VolumeRename {
        /// The archive's name.
        archive: String,
        /// The volume's name.
        volume: String,
        /// Its new name, which no other volume has.
        new: String,
    },
    /// Gives a volume another description.
    VolumeDescribe {
        /// The archive's name.
        archive: String,
        /// The volume's name.
        volume: String,
        /// The description, at most 1000 bytes; an empty one removes it.
        text: String,
    },
    /// Gives tags to a session, or removes them.
    Tag {
        /// The archive's name.
        archive: String,
        /// The volume's name.
        volume: String,
        /// The session.
        session: SessionChoice,
        /// The tags are removed instead.
        remove: bool,
        /// The tags, each of 1 to 64 bytes.
        tags: Vec<String>,
    },
    /// Restores volumes. Asks for the passphrase and for each target.
    Restore {
        /// The archive's name.
        archive: String,
        /// The names of the volumes; empty: all volumes with the session.
        volumes: Vec<String>,
        /// The session of each volume.
        session: SessionChoice,
        /// Changes the targets in place.
        in_place: bool,
        /// Does not read what a base snapshot reports as equal.
        quick: bool,
        /// Reports what would be fetched and written, and where; changes nothing.
        dry_run: bool,
        /// Fills lost ranges with zeros, and reports them.
        around_damage: bool,
    },
    /// In dom0: restores qubes, with volumes and settings. Asks for the passphrase, and for the
    /// confirmation of the plan.
    RestoreQubes {
        /// The archive's name.
        archive: String,
        /// Which qubes, and how.
        wish: QubesWish,
        /// The session of each volume.
        session: SessionChoice,
        /// Reports the plan; changes nothing.
        dry_run: bool,
    },
    /// In dom0: gives up what qubes were before their restores in place, or puts it back.
    SettleQubes {
        /// The archive's name.
        archive: String,
        /// The qubes, by the names that they have here.
        qubes: Vec<String>,
        /// Which of the two.
        end: InPlaceEnd,
    },
    /// Restores a random session to a target that gets no name, to see that it can be restored.
    /// Asks for the passphrase and for the target.
    Rehearse {
        /// The archive's name.
        archive: String,
        /// The volume; `None`: one at random.
        volume: Option<String>,
    },
    /// Compares a session with another one, or with the volume as it is. Asks for the volume.
    Diff {
        /// The archive's name.
        archive: String,
        /// The volume's name.
        volume: String,
        /// The session.
        session: SessionChoice,
        /// The other side of the comparison.
        with: CompareWith,
        /// The user named the path of the volume for this command.
        named: bool,
        /// The configuration names the volume: the daemon opens the path in its own copy.
        configured: bool,
    },
    /// Checks the objects in the store. Asks for the passphrase if `deep`.
    Verify {
        /// The archive's name.
        archive: String,
        /// Checks only what these volumes need; empty: everything that the archive owns.
        volumes: Vec<String>,
        /// Checks only what this session needs.
        session: Option<SessionChoice>,
        /// Also opens every chunk.
        deep: bool,
        /// Maximum number of bytes of packs to read: half for packs with the oldest proof, half for
        /// packs without a proof.
        budget_bytes: Option<u64>,
        /// A timer started it; `None`: a person did.
        unattended: Option<Unattended>,
    },
    /// Shows the state of one archive or of all.
    Status {
        /// The archive's name; `None`: all archives.
        archive: Option<String>,
        /// A person has checked the clock of this machine, and accepts its present time.
        trust_clock: bool,
    },
    /// Keeps the key that opens chunks in the daemon's memory, so that the next commands do not
    /// require the passphrase.
    Unlock {
        /// The archive's name.
        archive: String,
        /// Time for which the key is kept, seconds: 1 to [`UNLOCK_MAX_SECS`].
        secs: u64,
    },
    /// Wipes what [`Command::Unlock`] keeps.
    Lock {
        /// The archive's name; `None`: all archives.
        archive: Option<String>,
    },
    /// The passphrases and recovery keys of an archive, without asking for any.
    KeyList {
        /// The archive's name.
        archive: String,
    },
    /// Adds a passphrase or a recovery key. Asks for a passphrase that opens the archive, then for
    /// the new one, or for a pipe for the key.
    KeyAdd {
        /// The archive's name.
        archive: String,
        /// Adds a recovery key instead of a passphrase.
        recovery_key: bool,
        /// The user's label for the slot.
        label: Option<String>,
        /// Memory cost of one guess; `None`: as in the slot that opens.
        kdf_memory_kib: Option<u32>,
        /// Passes of one guess; `None`: as in the slot that opens.
        kdf_passes: Option<u32>,
    },
    /// Replaces the passphrase that opens the archive. Asks for both.
    KeyChange {
        /// The archive's name.
        archive: String,
        /// The user's label for the slot; `None`: as before.
        label: Option<String>,
        /// Memory cost of one guess; `None`: as in the slot that opens.
        kdf_memory_kib: Option<u32>,
        /// Passes of one guess; `None`: as in the slot that opens.
        kdf_passes: Option<u32>,
    },
    /// Removes a slot. Asks for a passphrase that opens another slot.
    KeyRemove {
        /// The archive's name.
        archive: String,
        /// The slot's number.
        number: u8,
    },
    /// Shows the recovery sheet.
    RecoverySheet {
        /// The archive's name.
        archive: String,
    },
    /// Checks that a passphrase opens the archive. Asks for it.
    KeyCheck {
        /// The archive's name.
        archive: String,
    },
    /// `snapshots list` and `snapshots clean`: reports which base snapshots the archives use. The
    /// client looks for the snapshots with the caller's rights, and removes them itself.
    Snapshots {
        /// The name of an archive that this machine knows; `None`: all archives.
        archive: Option<String>,
        /// The client removes snapshots.
        clean: bool,
    },
    /// Reports thin pools and the daemon's volumes in them. It comes beside `snapshots`, `status`,
    /// `monitor` and `archive forget`, on a connection of its own.
    ThinList {
        /// The ids of archives. Whoever may not use LVM is told of their volumes alone.
        archives: Vec<[u8; 16]>,
    },
    /// Removes volumes that the daemon made in thin pools, and metadata snapshots. It comes beside
    /// `snapshots clean` and `archive forget`, on a connection of its own.
    ThinRemove {
        /// What is to be removed.
        waste: Vec<ThinWaste>,
    },
    /// `store check`: tries what an archive asks of a store.
    StoreCheck {
        /// Address of the store.
        store_url: String,
        /// The far end.
        via: Via,
        /// The client has credentials for the store: the daemon asks for them as it asks for a
        /// passphrase.
        credentials: bool,
    },
    /// `qubes check`: calls these far ends.
    QubesCheck {
        /// The far ends; empty: those of all archives that this machine knows.
        vias: Vec<Via>,
    },
}

impl Command {
    /// The command's words, as on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ArchiveCreate { .. } => "archive create",
            Self::ArchiveOpen { .. } => "archive open",
            Self::ArchiveTakeOver { .. } => "archive take-over",
            Self::ArchiveCopy { .. } => "archive copy",
            Self::ArchiveList => "archive list",
            Self::ArchiveNames => "archive names",
            Self::ArchiveShow { .. } => "archive show",
            Self::ArchiveForget { .. } => "archive forget",
            Self::ArchiveAcknowledge { .. } => "archive acknowledge",
            Self::Backup { .. } => "backup",
            Self::Prune { .. } => "prune",
            Self::SessionRemove { .. } => "session remove",
            Self::VolumeRemove { .. } => "volume remove",
            Self::Compact { .. } => "compact",
            Self::Undelete { .. } => "undelete",
            Self::Pin { pinned: true, .. } => "pin",
            Self::Pin { pinned: false, .. } => "unpin",
            Self::Monitor { .. } => "monitor",
            Self::List { .. } => "list",
            Self::Why { .. } => "why",
            Self::History { .. } => "history",
            Self::VolumeRename { .. } => "volume rename",
            Self::VolumeDescribe { .. } => "volume describe",
            Self::Tag { remove: false, .. } => "tag add",
            Self::Tag { remove: true, .. } => "tag remove",
            Self::Restore { .. } | Self::RestoreQubes { .. } | Self::SettleQubes { .. } => {
                "restore"
            }
            Self::Rehearse { .. } => "rehearse",
            Self::Diff { .. } => "diff",
            Self::Verify { .. } => "verify",
            Self::Status { .. } => "status",
            Self::Unlock { .. } => "unlock",
            Self::Lock { .. } => "lock",
            Self::KeyList { .. } => "key list",
            Self::KeyAdd { .. } => "key add",
            Self::KeyChange { .. } => "key change",
            Self::KeyRemove { .. } => "key remove",
            Self::KeyCheck { .. } => "key check",
            Self::RecoverySheet { .. } => "recovery-sheet",
            Self::Snapshots { clean: false, .. } => "snapshots list",
            Self::Snapshots { clean: true, .. } => "snapshots clean",
            Self::ThinList { .. } => "thin list",
            Self::ThinRemove { .. } => "thin remove",
            Self::StoreCheck { .. } => "store check",
            Self::QubesCheck { .. } => "qubes check",
        }
    }

    /// Whether the command only reads the local state. Such a command changes nothing, waits for no
    /// other command, and requires no passphrase.
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::ArchiveList
                | Self::ArchiveNames
                | Self::ArchiveShow { .. }
                | Self::List { .. }
                | Self::Status {
                    trust_clock: false,
                    ..
                }
                | Self::Why { .. }
                | Self::History { .. }
                | Self::KeyList { .. }
                | Self::RecoverySheet { .. }
                | Self::Snapshots { clean: false, .. }
                | Self::ThinList { .. }
        )
    }

    /// The archive that the command names.
    pub fn archive(&self) -> Option<&str> {
        match self {
            Self::ArchiveList
            | Self::ArchiveNames
            | Self::ThinList { .. }
            | Self::ThinRemove { .. }
            | Self::StoreCheck { .. }
            | Self::QubesCheck { .. } => None,
            Self::Status { archive, .. }
            | Self::Lock { archive }
            | Self::Snapshots { archive, .. } => archive.as_deref(),
            Self::ArchiveCreate { archive, .. }
            | Self::ArchiveOpen { archive, .. }
            | Self::ArchiveTakeOver { archive, .. }
            | Self::ArchiveCopy { archive, .. }
            | Self::ArchiveShow { archive }
            | Self::ArchiveForget { archive }
            | Self::ArchiveAcknowledge { archive }
            | Self::Backup { archive, .. }
            | Self::Prune { archive, .. }
            | Self::SessionRemove { archive, .. }
            | Self::VolumeRemove { archive, .. }
            | Self::Compact { archive, .. }
            | Self::Undelete { archive, .. }
            | Self::Pin { archive, .. }
            | Self::Monitor { archive, .. }
            | Self::List { archive, .. }
            | Self::VolumeRename { archive, .. }
            | Self::VolumeDescribe { archive, .. }
            | Self::Tag { archive, .. }
            | Self::Restore { archive, .. }
            | Self::RestoreQubes { archive, .. }
            | Self::SettleQubes { archive, .. }
            | Self::Rehearse { archive, .. }
            | Self::Diff { archive, .. }
            | Self::Verify { archive, .. }
            | Self::Unlock { archive, .. }
            | Self::KeyList { archive }
            | Self::KeyAdd { archive, .. }
            | Self::KeyChange { archive, .. }
            | Self::KeyRemove { archive, .. }
            | Self::KeyCheck { archive }
            | Self::Why { archive }
            | Self::History { archive }
            | Self::RecoverySheet { archive } => Some(archive),
        }
    }
}
