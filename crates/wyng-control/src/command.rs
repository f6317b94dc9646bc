// SPDX-License-Identifier: GPL-3.0-or-later
//! What a client asks of the daemon. A path stands here only to be remembered
//! and compared; the daemon never opens it.

use std::fmt;

use bincode::{Decode, Encode};

use crate::via::Via;

/// Longer than a day nobody means.
pub const UNLOCK_MAX_SECS: u64 = 86_400;

/// Which session of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SessionChoice {
    /// The newest.
    Latest,
    /// By its name, a day (the last session of it), or a unique beginning of the name.
    Prefix(String),
    /// By a tag.
    Tag(String),
}

impl fmt::Display for SessionChoice {
    /// As it is written on a command line.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => to.write_str("latest"),
            Self::Prefix(prefix) => to.write_str(prefix),
            Self::Tag(tag) => write!(to, "^{tag}"),
        }
    }
}

/// Whose base a snapshot is. There is at most one for each volume and archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct BaseOf {
    /// The archive's id.
    pub archive: [u8; 16],
    /// The volume's id in it.
    pub volume: [u8; 16],
}

/// Which session a base snapshot is the state of. What changed since it applies to the tree with
/// this root, and to no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BaseLabel {
    /// Archive and volume.
    pub of: BaseOf,
    /// The generation that brought the session.
    pub generation: u64,
    /// The session's name, seconds since 1970 UTC.
    pub session: i64,
    /// The root of the content tree that was made from it.
    pub root: [u8; 32],
}

/// What a session is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CompareWith {
    /// Another session of the volume.
    Session(SessionChoice),
    /// The volume as it is on this machine.
    Local,
}

/// A source of a backup, as the caller named it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BackupSource {
    /// The volume's name.
    pub volume: String,
    /// NAME=PATH was written, so a volume may move to another path.
    pub named: bool,
    /// The name of a volume in the configuration: the daemon opens the path that its own copy
    /// gives.
    pub configured: bool,
}

/// How new chunks are compressed; the format has one algorithm, so only its level is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Compression {
    /// zstd's level, -7 to 19.
    pub zstd_level: i8,
}

/// How long what was given up stays in the store: both must have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HoldOff {
    /// Committed runs.
    pub runs: u32,
    /// Seconds of the admin domain's clock.
    pub secs: u64,
}

/// One command of the command line.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Makes an archive in an empty place. Asks for a new passphrase.
    ArchiveCreate {
        /// The local name.
        archive: String,
        /// Where the store is, for instance `dir:/mnt/backup/wyng`; opaque to the daemon.
        store_url: String,
        /// The far end.
        via: Via,
        /// Power of two, 64 KiB to 1 MiB.
        chunk_size_bytes: u32,
        /// Multiple of 4 KiB, 64 KiB to 64 MiB.
        pack_size_bytes: u32,
        /// See [`Compression`].
        compression: Compression,
        /// See [`HoldOff`].
        hold_off: HoldOff,
        /// One deduplication domain for all volumes instead of one each.
        shared_domain: bool,
        /// Memory of a guess at the passphrase, 64 MiB to 1 GiB.
        kdf_memory_kib: u32,
        /// Passes of a guess at the passphrase, 3 to 16.
        kdf_passes: u32,
    },
    /// Adopts an archive or catches up with it: rebuilds the local state. Asks for the passphrase
    /// where the credential is not here.
    ArchiveOpen {
        /// The local name.
        archive: String,
        /// Needed the first time.
        store_url: Option<String>,
        /// Needed the first time; `local` by default.
        via: Option<Via>,
        /// The code from the recovery sheet.
        expect: Option<String>,
        /// The newest sound generation below this one instead of the newest of all.
        before: Option<u64>,
    },
    /// Makes this machine the archive's writer.
    ArchiveTakeOver {
        /// Which.
        archive: String,
    },
    /// The archives that this state directory knows.
    ArchiveList,
    /// The names of these archives alone, whatever state each is in.
    ArchiveNames,
    /// What is known of one archive.
    ArchiveShow {
        /// Which.
        archive: String,
    },
    /// Removes the local state of an archive; the store is not touched.
    ArchiveForget {
        /// Which.
        archive: String,
    },
    /// The damage that is known of an archive was seen, and lasts: it is no failure any more.
    ArchiveAcknowledge {
        /// Which.
        archive: String,
    },
    /// One run. Asks for each source.
    Backup {
        /// Which archive.
        archive: String,
        /// What to back up, in order; a question's number is an index into this list.
        sources: Vec<BackupSource>,
        /// No session for a volume that did not change.
        skip_unchanged: bool,
        /// Reads and counts, sends nothing.
        dry_run: bool,
        /// The volumes may be in use; the sessions are marked as crash-consistent.
        live: bool,
        /// Also what a verify found damaged and did not believe, because it was so much, is sent
        /// again.
        heal: bool,
    },
    /// Collects what changed and moves base snapshots to now. Asks for each source.
    Monitor {
        /// Which archive.
        archive: String,
        /// The volumes, in order; a question's number is an index into this list.
        sources: Vec<BackupSource>,
    },
    /// What an archive holds, from the local state.
    List {
        /// Which archive.
        archive: String,
        /// One volume instead of all.
        volume: Option<String>,
        /// One session instead of all.
        session: Option<SessionChoice>,
    },
    /// Restores volumes. Asks for the passphrase and for each target.
    Restore {
        /// Which archive.
        archive: String,
        /// The volumes' names; empty: all that have the session.
        volumes: Vec<String>,
        /// Which session of each.
        session: SessionChoice,
        /// The targets are changed where they are.
        in_place: bool,
        /// What a base snapshot says is the same is not read.
        quick: bool,
        /// Reports what would be fetched and written, and where; changes nothing.
        dry_run: bool,
        /// Lost ranges become zeros, and are reported.
        around_damage: bool,
    },
    /// What differs between a session and another one, or the volume as it is. Asks for the volume.
    Diff {
        /// Which archive.
        archive: String,
        /// The volume's name.
        volume: String,
        /// Which session of it.
        session: SessionChoice,
        /// With what.
        with: CompareWith,
        /// The person names the path of the volume for this command.
        named: bool,
        /// The volume is one of the configuration: the daemon opens the path that its own copy
        /// gives.
        configured: bool,
    },
    /// Checks what the store has. Asks for the passphrase when `deep`.
    Verify {
        /// Which archive.
        archive: String,
        /// Only what these volumes need; empty: everything that the archive owns.
        volumes: Vec<String>,
        /// Only what this session needs.
        session: Option<SessionChoice>,
        /// Opens every chunk too.
        deep: bool,
        /// Reads at most so many bytes, those that were not read for longest first.
        budget_bytes: Option<u64>,
    },
    /// The state of one archive or of all.
    Status {
        /// Which; none: all.
        archive: Option<String>,
    },
    /// Keeps the key that opens chunks in the daemon's memory, so that the next commands do not ask
    /// for the passphrase.
    Unlock {
        /// Which archive.
        archive: String,
        /// For how long: 1 to [`UNLOCK_MAX_SECS`].
        secs: u64,
    },
    /// Wipes what [`Command::Unlock`] keeps.
    Lock {
        /// Which archive; none: all.
        archive: Option<String>,
    },
    /// The passphrases and recovery keys of an archive, without asking for any.
    KeyList {
        /// Which archive.
        archive: String,
    },
    /// Adds a passphrase or a recovery key. Asks for a passphrase that opens, then for the new one,
    /// or for where to show the key.
    KeyAdd {
        /// Which archive.
        archive: String,
        /// A recovery key instead of a passphrase.
        recovery_key: bool,
        /// What a person calls it.
        label: Option<String>,
        /// As with the slot that opens, if not given.
        kdf_memory_kib: Option<u32>,
        /// The same.
        kdf_passes: Option<u32>,
    },
    /// Puts a new passphrase into the place of the one that is given.
    KeyChange {
        /// Which archive.
        archive: String,
        /// What a person calls it; without it as before.
        label: Option<String>,
        /// As with the slot that opens, if not given.
        kdf_memory_kib: Option<u32>,
        /// The same.
        kdf_passes: Option<u32>,
    },
    /// Removes a slot. Asks for a passphrase that opens another one.
    KeyRemove {
        /// Which archive.
        archive: String,
        /// The slot's number.
        number: u8,
    },
    /// What to keep on paper.
    RecoverySheet {
        /// Which archive.
        archive: String,
    },
    /// Does a passphrase still open the archive? Asks for it.
    KeyCheck {
        /// Which archive.
        archive: String,
    },
    /// `snapshots list` and `snapshots clean`: what the archives use of base snapshots. Whoever
    /// asks looks for these with its own rights, and removes those that it means to remove.
    Snapshots {
        /// One archive instead of all, which must be known here.
        archive: Option<String>,
        /// Those that nothing uses are to be removed.
        clean: bool,
    },
    /// `qubes check`: is all there on the way to these far ends?
    QubesCheck {
        /// How each is reached; none for those of all archives that are known here.
        vias: Vec<Via>,
    },
}

impl Command {
    /// Its words on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ArchiveCreate { .. } => "archive create",
            Self::ArchiveOpen { .. } => "archive open",
            Self::ArchiveTakeOver { .. } => "archive take-over",
            Self::ArchiveList => "archive list",
            Self::ArchiveNames => "archive names",
            Self::ArchiveShow { .. } => "archive show",
            Self::ArchiveForget { .. } => "archive forget",
            Self::ArchiveAcknowledge { .. } => "archive acknowledge",
            Self::Backup { .. } => "backup",
            Self::Monitor { .. } => "monitor",
            Self::List { .. } => "list",
            Self::Restore { .. } => "restore",
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
            Self::QubesCheck { .. } => "qubes check",
        }
    }

    /// Whether it only looks at the local state. A look changes nothing, waits for no other
    /// command, and needs no passphrase.
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::ArchiveList
                | Self::ArchiveNames
                | Self::ArchiveShow { .. }
                | Self::List { .. }
                | Self::Status { .. }
                | Self::KeyList { .. }
                | Self::RecoverySheet { .. }
                | Self::Snapshots { clean: false, .. }
        )
    }

    /// The archive that it is about.
    pub fn archive(&self) -> Option<&str> {
        match self {
            Self::ArchiveList | Self::ArchiveNames | Self::QubesCheck { .. } => None,
            Self::Status { archive } | Self::Lock { archive } | Self::Snapshots { archive, .. } => {
                archive.as_deref()
            }
            Self::ArchiveCreate { archive, .. }
            | Self::ArchiveOpen { archive, .. }
            | Self::ArchiveTakeOver { archive }
            | Self::ArchiveShow { archive }
            | Self::ArchiveForget { archive }
            | Self::ArchiveAcknowledge { archive }
            | Self::Backup { archive, .. }
            | Self::Monitor { archive, .. }
            | Self::List { archive, .. }
            | Self::Restore { archive, .. }
            | Self::Diff { archive, .. }
            | Self::Verify { archive, .. }
            | Self::Unlock { archive, .. }
            | Self::KeyList { archive }
            | Self::KeyAdd { archive, .. }
            | Self::KeyChange { archive, .. }
            | Self::KeyRemove { archive, .. }
            | Self::KeyCheck { archive }
            | Self::RecoverySheet { archive } => Some(archive),
        }
    }
}
