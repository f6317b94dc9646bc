// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands without their arguments.

use super::args::{
    ArchiveVerb, Cli, ConfigVerb, KeyVerb, QubesVerb, SessionVerb, SnapshotsVerb, StoreVerb,
    TagVerb, Verb, VolumeVerb,
};

/// A command without its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `archive create`, and `arch-init`.
    ArchiveCreate,
    /// `archive open`.
    ArchiveOpen,
    /// `archive copy`.
    ArchiveCopy,
    /// `archive take-over`.
    ArchiveTakeOver,
    /// `archive list`.
    ArchiveList,
    /// `archive show`.
    ArchiveShow,
    /// `archive acknowledge`.
    ArchiveAcknowledge,
    /// `archive forget`.
    ArchiveForget,
    /// `key list`.
    KeyList,
    /// `key add`.
    KeyAdd,
    /// `key change`.
    KeyChange,
    /// `key remove`.
    KeyRemove,
    /// `key check`.
    KeyCheck,
    /// `recovery-sheet`.
    RecoverySheet,
    /// `backup`.
    Backup,
    /// `monitor`.
    Monitor,
    /// `list`.
    List,
    /// `why`.
    Why,
    /// `history`.
    History,
    /// `volume rename`.
    VolumeRename,
    /// `volume describe`.
    VolumeDescribe,
    /// `tag add`.
    TagAdd,
    /// `tag remove`.
    TagRemove,
    /// `restore`.
    Restore,
    /// `rehearse`.
    Rehearse,
    /// `diff`.
    Diff,
    /// `verify`.
    Verify,
    /// `prune`.
    Prune,
    /// `session remove`.
    SessionRemove,
    /// `volume remove`.
    VolumeRemove,
    /// `pin`.
    Pin,
    /// `compact`.
    Compact,
    /// `undelete`.
    Undelete,
    /// `unpin`.
    Unpin,
    /// `status`.
    Status,
    /// `watch`.
    Watch,
    /// `tui`.
    Tui,
    /// `unlock`.
    Unlock,
    /// `lock`.
    Lock,
    /// `snapshots list`.
    SnapshotsList,
    /// `snapshots clean`.
    SnapshotsClean,
    /// `config check`.
    ConfigCheck,
    /// `qubes check`.
    QubesCheck,
    /// `store check`.
    StoreCheck,
    /// `completions`.
    Completions,
    /// `man`.
    Man,
}

impl Kind {
    /// The command's words on the command line and in JSON.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::ArchiveCreate => "archive create",
            Self::ArchiveOpen => "archive open",
            Self::ArchiveCopy => "archive copy",
            Self::ArchiveTakeOver => "archive take-over",
            Self::ArchiveList => "archive list",
            Self::ArchiveShow => "archive show",
            Self::ArchiveAcknowledge => "archive acknowledge",
            Self::ArchiveForget => "archive forget",
            Self::KeyList => "key list",
            Self::KeyAdd => "key add",
            Self::KeyChange => "key change",
            Self::KeyRemove => "key remove",
            Self::KeyCheck => "key check",
            Self::RecoverySheet => "recovery-sheet",
            Self::Backup => "backup",
            Self::Monitor => "monitor",
            Self::List => "list",
            Self::Why => "why",
            Self::History => "history",
            Self::VolumeRename => "volume rename",
            Self::VolumeDescribe => "volume describe",
            Self::TagAdd => "tag add",
            Self::TagRemove => "tag remove",
            Self::Restore => "restore",
            Self::Rehearse => "rehearse",
            Self::Diff => "diff",
            Self::Verify => "verify",
            Self::Prune => "prune",
            Self::SessionRemove => "session remove",
            Self::VolumeRemove => "volume remove",
            Self::Pin => "pin",
            Self::Compact => "compact",
            Self::Undelete => "undelete",
            Self::Unpin => "unpin",
            Self::Status => "status",
            Self::Watch => "watch",
            Self::Tui => "tui",
            Self::Unlock => "unlock",
            Self::Lock => "lock",
            Self::SnapshotsList => "snapshots list",
            Self::SnapshotsClean => "snapshots clean",
            Self::ConfigCheck => "config check",
            Self::QubesCheck => "qubes check",
            Self::StoreCheck => "store check",
            Self::Completions => "completions",
            Self::Man => "man",
        }
    }

    /// Whether the command is about one archive, which may be left out where only one is known. Its
    /// JSON then always has `archive`, which is null if none was found.
    pub(crate) const fn is_of_one_archive(self) -> bool {
        !matches!(
            self,
            Self::ArchiveList
                | Self::Status
                | Self::Lock
                | Self::Watch
                | Self::Tui
                | Self::ConfigCheck
                | Self::QubesCheck
                | Self::StoreCheck
                | Self::SnapshotsList
                | Self::SnapshotsClean
                | Self::Completions
                | Self::Man
        )
    }
}

impl Cli {
    /// The command without its arguments.
    pub(crate) fn kind(&self) -> Kind {
        match &self.verb {
            Verb::Archive(verb) => match verb {
                ArchiveVerb::Create(_) => Kind::ArchiveCreate,
                ArchiveVerb::Open(_) => Kind::ArchiveOpen,
                ArchiveVerb::Copy(_) => Kind::ArchiveCopy,
                ArchiveVerb::TakeOver { .. } => Kind::ArchiveTakeOver,
                ArchiveVerb::List => Kind::ArchiveList,
                ArchiveVerb::Show { .. } => Kind::ArchiveShow,
                ArchiveVerb::Acknowledge { .. } => Kind::ArchiveAcknowledge,
                ArchiveVerb::Forget { .. } => Kind::ArchiveForget,
            },
            Verb::ArchInit(_) => Kind::ArchiveCreate,
            Verb::Key(verb) => match verb {
                KeyVerb::List { .. } => Kind::KeyList,
                KeyVerb::Add { .. } => Kind::KeyAdd,
                KeyVerb::Change { .. } => Kind::KeyChange,
                KeyVerb::Remove { .. } => Kind::KeyRemove,
                KeyVerb::Check { .. } => Kind::KeyCheck,
            },
            Verb::RecoverySheet { .. } => Kind::RecoverySheet,
            Verb::Backup(_) => Kind::Backup,
            Verb::Monitor(_) => Kind::Monitor,
            Verb::List(_) => Kind::List,
            Verb::Why { .. } => Kind::Why,
            Verb::History { .. } => Kind::History,
            Verb::Volume(VolumeVerb::Rename { .. }) => Kind::VolumeRename,
            Verb::Volume(VolumeVerb::Describe { .. }) => Kind::VolumeDescribe,
            Verb::Tag(TagVerb::Add(_)) => Kind::TagAdd,
            Verb::Tag(TagVerb::Remove(_)) => Kind::TagRemove,
            Verb::Restore(_) => Kind::Restore,
            Verb::Rehearse(_) => Kind::Rehearse,
            Verb::Diff(_) => Kind::Diff,
            Verb::Verify(_) => Kind::Verify,
            Verb::Prune(_) => Kind::Prune,
            Verb::Session(SessionVerb::Remove { .. }) => Kind::SessionRemove,
            Verb::Volume(VolumeVerb::Remove { .. }) => Kind::VolumeRemove,
            Verb::Pin(_) => Kind::Pin,
            Verb::Compact(_) => Kind::Compact,
            Verb::Undelete(_) => Kind::Undelete,
            Verb::Unpin(_) => Kind::Unpin,
            Verb::Status { .. } => Kind::Status,
            Verb::Watch { .. } => Kind::Watch,
            Verb::Tui => Kind::Tui,
            Verb::Unlock { .. } => Kind::Unlock,
            Verb::Lock { .. } => Kind::Lock,
            Verb::Snapshots(SnapshotsVerb::List { .. }) => Kind::SnapshotsList,
            Verb::Snapshots(SnapshotsVerb::Clean { .. }) => Kind::SnapshotsClean,
            Verb::Config(ConfigVerb::Check) => Kind::ConfigCheck,
            Verb::Qubes(QubesVerb::Check { .. }) => Kind::QubesCheck,
            Verb::Store(StoreVerb::Check(_)) => Kind::StoreCheck,
            Verb::Completions { .. } => Kind::Completions,
            Verb::Man { .. } => Kind::Man,
        }
    }
}
