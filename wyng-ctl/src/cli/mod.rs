// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: its words (`args`), their names (`kind`), their values (`parse`), what they
//! leave out (`settle`), and the message that each command becomes (`request`).

mod args;
mod kind;
mod parse;
mod qubes;
mod qubes_back;
mod request;
mod settle;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::credentials::StoreCredentials;
use crate::passphrase::{NoPassphrase, Origin};
pub(crate) use args::{
    ArchiveVerb, BackupArgs, Cli, ConfigVerb, Options, ProgressStyle, RehearseArgs, RestoreArgs,
    SOCKET, Shell, SnapshotsVerb, Verb,
};
use args::{
    CompactArgs, DiffArgs, KeyVerb, ListArgs, MonitorArgs, PinArgs, PruneArgs, SessionVerb,
    StoreVerb, TagVerb, VerifyArgs, VolumeVerb,
};
pub(crate) use kind::Kind;

/// Whether invalid words would have written a volume to standard output, as in
/// [`Cli::stdout_is_target`]: another program may be reading it.
pub(crate) fn is_stdout_target(words: &[OsString]) -> bool {
    words.iter().any(|word| word == "--to=-")
        || words
            .windows(2)
            .any(|pair| matches!(pair, [option, value] if option == "--to" && value == "-"))
}

impl Options {
    /// The words that give another command the same daemon, configuration and passphrase.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut path = |option: &str, path: Option<&Path>| {
            let path = path.map(|path| path.to_string_lossy().into_owned());
            words.extend(path.into_iter().flat_map(|path| [option.to_owned(), path]));
        };
        let other_socket =
            (!self.standalone && self.socket != Path::new(SOCKET)).then_some(self.socket.as_path());
        path("--socket", other_socket);
        path("--state-dir", self.state_dir.as_deref());
        path("--config", self.config.as_deref());
        path("--passphrase-file", self.passphrase_file.as_deref());
        if self.standalone {
            words.push("--standalone".to_owned());
        }
        words
    }
}

impl Cli {
    /// The sources of `backup` or `monitor`, as the user wrote them.
    pub(crate) fn sources(&self) -> &[OsString] {
        match &self.verb {
            Verb::Backup(backup) => &backup.sources,
            Verb::Monitor(monitor) => &monitor.sources,
            _ => &[],
        }
    }

    /// The path of the volume of `diff`, as the user wrote it.
    pub(crate) fn compared_path(&self) -> Option<&Path> {
        if let Verb::Diff(diff) = &self.verb {
            diff.to.as_deref()
        } else {
            None
        }
    }

    /// Whether a volume is restored to standard output, where nothing else may then be written.
    pub(crate) fn stdout_is_target(&self) -> bool {
        matches!(&self.verb, Verb::Restore(RestoreArgs { to: Some(to), .. }) if to.as_os_str() == "-")
    }

    /// The source of a passphrase. A `new` one for an existing archive never comes from the source
    /// of the known one.
    pub(crate) fn passphrase_origin(&self, new: bool) -> Result<Origin, NoPassphrase> {
        let file = |path: &Option<PathBuf>| path.clone().map(Origin::File);
        match &self.verb {
            Verb::Key(KeyVerb::Add { new: given, .. } | KeyVerb::Change { new: given, .. })
                if new =>
            {
                Ok(file(&given.new_passphrase_file).unwrap_or(Origin::Terminal))
            }
            _ => file(&self.options.passphrase_file).map_or_else(Origin::of_environment, Ok),
        }
    }

    /// Where the store's credentials are, if the command has any.
    pub(crate) fn store_credentials(&self) -> Option<&StoreCredentials> {
        match &self.verb {
            Verb::Archive(ArchiveVerb::Create(create)) | Verb::ArchInit(create) => {
                create.place.reach.store_credentials.as_ref()
            }
            Verb::Archive(ArchiveVerb::Open(open)) => open.place.reach.store_credentials.as_ref(),
            Verb::Store(StoreVerb::Check(check)) => check.reach.store_credentials.as_ref(),
            Verb::Archive(ArchiveVerb::Copy(copy)) => copy.reach.store_credentials.as_ref(),
            _ => None,
        }
    }

    /// The archive that the command names.
    pub(crate) fn archive(&self) -> Option<&str> {
        match &self.verb {
            Verb::Archive(ArchiveVerb::List) => None,
            Verb::Archive(ArchiveVerb::Create(create)) | Verb::ArchInit(create) => {
                Some(&create.name)
            }
            Verb::Archive(ArchiveVerb::Open(open)) => Some(&open.name),
            Verb::Archive(ArchiveVerb::Copy(copy)) => copy.name.as_deref(),
            Verb::Session(SessionVerb::Remove { archive, .. })
            | Verb::Volume(VolumeVerb::Remove { archive, .. })
            | Verb::Pin(PinArgs { archive, .. })
            | Verb::Unpin(PinArgs { archive, .. })
            | Verb::Undelete(PinArgs { archive, .. }) => Some(archive),
            Verb::Archive(ArchiveVerb::TakeOver { name, .. } | ArchiveVerb::Forget { name }) => {
                Some(name)
            }
            Verb::Volume(
                VolumeVerb::Rename { archive, .. } | VolumeVerb::Describe { archive, .. },
            ) => Some(archive),
            Verb::Tag(TagVerb::Add(given) | TagVerb::Remove(given)) => Some(&given.archive),
            Verb::Archive(
                ArchiveVerb::Show { name: archive } | ArchiveVerb::Acknowledge { name: archive },
            )
            | Verb::Key(
                KeyVerb::List { archive }
                | KeyVerb::Add { archive, .. }
                | KeyVerb::Change { archive, .. }
                | KeyVerb::Remove { archive, .. }
                | KeyVerb::Check { archive },
            )
            | Verb::Unlock { archive, .. }
            | Verb::RecoverySheet { archive, .. }
            | Verb::List(ListArgs { archive, .. })
            | Verb::Monitor(MonitorArgs { archive, .. })
            | Verb::Restore(RestoreArgs { archive, .. })
            | Verb::Rehearse(RehearseArgs { archive, .. })
            | Verb::Diff(DiffArgs { archive, .. })
            | Verb::Backup(BackupArgs { archive, .. })
            | Verb::Prune(PruneArgs { archive, .. })
            | Verb::Compact(CompactArgs { archive, .. })
            | Verb::Verify(VerifyArgs { archive, .. })
            | Verb::Why { archive }
            | Verb::History { archive, .. }
            | Verb::Status { archive, .. }
            | Verb::Lock { archive }
            | Verb::Snapshots(
                SnapshotsVerb::List { archive, .. } | SnapshotsVerb::Clean { archive, .. },
            ) => archive.as_deref(),
            Verb::Config(_)
            | Verb::Qubes(_)
            | Verb::Store(_)
            | Verb::Completions { .. }
            | Verb::Man { .. }
            | Verb::Watch { .. }
            | Verb::Tui => None,
        }
    }

    /// The place of an archive's name that may be left out, and that `defaults.rs` then fills.
    pub(crate) fn archive_place(&mut self) -> Option<&mut Option<String>> {
        match &mut self.verb {
            Verb::Archive(
                ArchiveVerb::Show { name: archive } | ArchiveVerb::Acknowledge { name: archive },
            )
            | Verb::Key(
                KeyVerb::List { archive }
                | KeyVerb::Add { archive, .. }
                | KeyVerb::Change { archive, .. }
                | KeyVerb::Remove { archive, .. }
                | KeyVerb::Check { archive },
            )
            | Verb::Unlock { archive, .. }
            | Verb::RecoverySheet { archive, .. }
            | Verb::Why { archive }
            | Verb::History { archive, .. }
            | Verb::List(ListArgs { archive, .. })
            | Verb::Monitor(MonitorArgs { archive, .. })
            | Verb::Restore(RestoreArgs { archive, .. })
            | Verb::Rehearse(RehearseArgs { archive, .. })
            | Verb::Diff(DiffArgs { archive, .. })
            | Verb::Backup(BackupArgs { archive, .. })
            | Verb::Prune(PruneArgs { archive, .. })
            | Verb::Compact(CompactArgs { archive, .. })
            | Verb::Verify(VerifyArgs { archive, .. }) => Some(archive),
            _ => None,
        }
    }

    /// The profile of a command that was given no archive: a profile may have several.
    pub(crate) fn profile_alone(&self) -> Option<&str> {
        match &self.verb {
            Verb::Backup(BackupArgs {
                archive: None,
                profile,
                ..
            })
            | Verb::Verify(VerifyArgs {
                archive: None,
                profile,
                ..
            })
            | Verb::Prune(PruneArgs {
                archive: None,
                profile,
                ..
            })
            | Verb::Rehearse(RehearseArgs {
                archive: None,
                profile,
                ..
            }) => profile.as_deref(),
            _ => None,
        }
    }

    /// The machine's power was looked at, and the backup may run.
    pub(crate) fn power_suffices(&mut self) {
        if let Verb::Backup(backup) = &mut self.verb {
            backup.unattended = false;
        }
    }

    /// Whether the command only reports what it would do.
    pub(crate) fn is_dry_run(&self) -> bool {
        matches!(
            &self.verb,
            Verb::Backup(BackupArgs { dry_run: true, .. })
                | Verb::Restore(RestoreArgs { dry_run: true, .. })
                | Verb::Prune(PruneArgs { dry_run: true, .. })
        )
    }

    /// Whether the command makes a volume in a thin pool.
    pub(crate) fn restores_to_pool(&self) -> bool {
        matches!(&self.verb, Verb::Restore(restore) if restore.is_to_pool())
    }

    /// Whether the command lists the sessions of one named volume.
    pub(crate) fn is_of_one_volume(&self) -> bool {
        matches!(
            &self.verb,
            Verb::List(ListArgs {
                volume: Some(_),
                ..
            })
        )
    }

    /// Whether only a part of the archive is verified.
    pub(crate) fn checks_part(&self) -> bool {
        let Verb::Verify(verify) = &self.verb else {
            return false;
        };
        !verify.volumes.is_empty() || verify.session.is_some() || verify.budget.is_some()
    }

    /// Whether the command may create the state folder.
    pub(crate) fn may_make_state(&self) -> bool {
        matches!(
            &self.verb,
            Verb::Archive(ArchiveVerb::Create(_) | ArchiveVerb::Open(_))
                | Verb::ArchInit(_)
                | Verb::Qubes(_)
                | Verb::Store(_)
        )
    }

    /// Whether the command is about all known archives in the default state folder.
    pub(crate) fn asks_about_all(&self) -> bool {
        let of_all = matches!(
            &self.verb,
            Verb::Archive(ArchiveVerb::List) | Verb::Status { archive: None, .. }
        );
        of_all && self.options.state_dir.is_none()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn options_stand_before_or_after_the_command() {
        let before =
            Cli::try_parse_from(["wyng-ctl", "--json", "--standalone", "list", "a"]).unwrap();
        let after =
            Cli::try_parse_from(["wyng-ctl", "list", "a", "--standalone", "--json"]).unwrap();
        assert!(before.options.json && after.options.json && after.options.standalone);
    }

    #[test]
    fn bounds_are_checked_before_anything_is_done() {
        for words in [
            "--chunk-size 3K",
            "--chunk-size 2M",
            "--compression lz4:1",
            "--compression zstd:99",
            "--hold-off 3",
            "--minimum-age 7",
        ] {
            let line = format!("wyng-ctl archive create a --store dir:/x {words}");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{words}");
        }
    }
}
