// SPDX-License-Identifier: GPL-3.0-or-later
//! The message to the daemon that each command becomes.

use wyng_control::{BackupSource, Command, KeepRules, ToDaemon, Unattended, Via};

use super::args::{
    ArchiveVerb, BackupArgs, Cli, CreateArgs, KeepArgs, KeyVerb, NewPassphrase, PinArgs, PruneArgs,
    QubesVerb, RestoreArgs, SessionVerb, SnapshotsVerb, StoreVerb, TagVerb, Verb, VolumeVerb,
};
use crate::confirm;

impl Cli {
    /// The first message after the greeting; `None` if the command needs no daemon. `sources` are
    /// those of `backup` or `monitor`.
    pub(crate) fn request(&self, sources: Vec<BackupSource>) -> Option<ToDaemon> {
        let command = match &self.verb {
            Verb::Config(_) | Verb::Completions { .. } | Verb::Man { .. } | Verb::Tui => {
                return None;
            }
            Verb::Watch { notify } => return Some(ToDaemon::Watch { stays: *notify }),
            Verb::Archive(verb) => verb.command(),
            Verb::ArchInit(create) => create.command(),
            Verb::Key(verb) => verb.command(),
            Verb::Snapshots(verb) => verb.command(),
            Verb::Store(StoreVerb::Check(check)) => Command::StoreCheck {
                store_url: check.store.clone(),
                via: check.reach.far_end.clone().unwrap_or(Via::Local),
                credentials: check.reach.store_credentials.is_some(),
            },
            Verb::Qubes(QubesVerb::Check { far_ends, .. }) => Command::QubesCheck {
                vias: far_ends.clone(),
            },
            Verb::RecoverySheet { archive, .. } => Command::RecoverySheet {
                archive: named(archive),
            },
            Verb::Backup(backup) => backup.command(sources),
            Verb::Monitor(monitor) => Command::Monitor {
                archive: named(&monitor.archive),
                sources,
            },
            Verb::List(list) => Command::List {
                archive: named(&list.archive),
                volume: list.volume.clone(),
                session: list.session.clone(),
                sizes: list.sizes,
            },
            Verb::Why { archive } => Command::Why {
                archive: named(archive),
            },
            Verb::History { archive, .. } => Command::History {
                archive: named(archive),
            },
            Verb::Session(_) | Verb::Volume(VolumeVerb::Remove { .. }) => self.removal(false)?,
            Verb::Volume(verb) => verb.command()?,
            Verb::Tag(verb) => verb.command(),
            Verb::Restore(restore) => restore.command(self.options.yes),
            Verb::Rehearse(rehearse) => Command::Rehearse {
                archive: named(&rehearse.archive),
                volume: rehearse.volume.clone(),
            },
            Verb::Diff(diff) => Command::Diff {
                archive: named(&diff.archive),
                volume: diff.volume.clone().unwrap_or_default(),
                session: diff.session.clone(),
                with: diff.with.clone(),
                named: diff.to.is_some(),
                configured: diff.configured,
            },
            Verb::Verify(verify) => Command::Verify {
                archive: named(&verify.archive),
                volumes: verify.volumes.clone(),
                session: verify.session.clone(),
                deep: verify.deep,
                budget_bytes: verify.budget,
                unattended: timer(verify.profile.as_deref(), verify.interval),
            },
            Verb::Prune(prune) => prune.command(),
            Verb::Compact(compact) => Command::Compact {
                archive: named(&compact.archive),
                budget_bytes: compact.budget,
                orphans: compact.orphans,
            },
            Verb::Undelete(undelete) => Command::Undelete {
                archive: undelete.archive.clone(),
                volume: undelete.volume.clone(),
                session: undelete.session.clone(),
            },
            Verb::Pin(pin) => pin.command(true),
            Verb::Unpin(pin) => pin.command(false),
            Verb::Unlock { archive, secs } => Command::Unlock {
                archive: named(archive),
                secs: *secs,
            },
            Verb::Lock { archive } => Command::Lock {
                archive: archive.clone(),
            },
            Verb::Status {
                archive,
                trust_clock,
                ..
            } => Command::Status {
                archive: archive.clone(),
                trust_clock: *trust_clock,
            },
        };
        Some(ToDaemon::Start(command))
    }
}

/// The timer's profile and interval, for the daemon. Without an interval it skips no run.
fn timer(profile: Option<&str>, interval_secs: Option<u64>) -> Option<Unattended> {
    Some(Unattended {
        profile: profile?.to_owned(),
        interval_secs: interval_secs?,
    })
}

impl Cli {
    /// The command that removes the sessions or volume that a person named, or a dry run of it.
    pub(crate) fn removal(&self, dry_run: bool) -> Option<Command> {
        match &self.verb {
            Verb::Session(SessionVerb::Remove {
                archive,
                volume,
                sessions,
            }) => Some(Command::SessionRemove {
                archive: archive.clone(),
                volume: volume.clone(),
                sessions: sessions.clone(),
                dry_run,
            }),
            Verb::Volume(VolumeVerb::Remove { archive, volume }) => Some(Command::VolumeRemove {
                archive: archive.clone(),
                volume: volume.clone(),
                dry_run,
            }),
            _ => None,
        }
    }
}

impl BackupArgs {
    fn command(&self, sources: Vec<BackupSource>) -> Command {
        Command::Backup {
            archive: named(&self.archive),
            sources,
            qubes: self.qubes.choice(),
            skip_unchanged: self.skip_unchanged,
            dry_run: self.dry_run,
            live: self.live,
            heal: self.heal,
            unattended: timer(self.profile.as_deref(), self.interval),
            verify: self.verify,
            max_new_bytes: self.max_new_bytes,
            prune_after: self.prune_after.clone(),
        }
    }
}

impl PruneArgs {
    /// Rules of the command line replace those of the configuration.
    fn command(&self) -> Command {
        let archive = named(&self.archive);
        let mut rules = self.configured.get(&archive).cloned().unwrap_or_default();
        let keep = self.keep.rules();
        if !keep.is_empty() {
            rules.keep = keep;
            rules.of_volumes.clear();
        }
        Command::Prune {
            archive,
            volumes: self.volumes.clone(),
            rules,
            dry_run: self.dry_run,
            unattended: self.unattended,
            trust_clock: self.trust_clock,
        }
    }
}

impl KeepArgs {
    fn rules(&self) -> KeepRules {
        KeepRules {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within_secs: self.keep_within,
            tags: self.keep_tag.clone(),
        }
    }
}

impl PinArgs {
    fn command(&self, pinned: bool) -> Command {
        Command::Pin {
            archive: self.archive.clone(),
            volume: self.volume.clone(),
            session: self.session.clone(),
            pinned,
        }
    }
}

impl ArchiveVerb {
    fn command(&self) -> Command {
        match self {
            Self::Create(create) => create.command(),
            Self::Open(open) => Command::ArchiveOpen {
                archive: open.name.clone(),
                store_url: open.place.store.clone(),
                via: open.place.reach.far_end.clone(),
                verify_via: open.place.verify_far_end.clone(),
                credentials: open.place.reach.store_credentials.is_some(),
                expect: open.expect.clone(),
                before: open.before,
            },
            Self::Copy(copy) => Command::ArchiveCopy {
                archive: named(&copy.name),
                store_url: named(&copy.to),
                via: copy.reach.far_end.clone(),
                credentials: copy.reach.store_credentials.is_some(),
                anew: copy.anew,
            },
            Self::TakeOver {
                name,
                promote,
                other_writer_is_gone,
            } => Command::ArchiveTakeOver {
                archive: name.clone(),
                promote: *promote,
                other_writer_is_gone: *other_writer_is_gone,
            },
            Self::List => Command::ArchiveList,
            Self::Show { name } => Command::ArchiveShow {
                archive: named(name),
            },
            Self::Acknowledge { name } => Command::ArchiveAcknowledge {
                archive: named(name),
            },
            Self::Forget { name } => Command::ArchiveForget {
                archive: name.clone(),
            },
        }
    }
}

impl KeyVerb {
    fn command(&self) -> Command {
        match self {
            Self::List { archive } => Command::KeyList {
                archive: named(archive),
            },
            Self::Check { archive } => Command::KeyCheck {
                archive: named(archive),
            },
            Self::Add {
                archive,
                recovery_key,
                new,
            } => Command::KeyAdd {
                archive: named(archive),
                recovery_key: *recovery_key,
                label: new.label.clone(),
                kdf_memory_kib: new.memory_kib(),
                kdf_passes: new.kdf_passes,
            },
            Self::Change { archive, new } => Command::KeyChange {
                archive: named(archive),
                label: new.label.clone(),
                kdf_memory_kib: new.memory_kib(),
                kdf_passes: new.kdf_passes,
            },
            Self::Remove { archive, slot } => Command::KeyRemove {
                archive: named(archive),
                number: slot
                    .as_deref()
                    .and_then(|slot| slot.parse().ok())
                    .unwrap_or(u8::MAX),
            },
        }
    }
}

impl VolumeVerb {
    /// The command; `None` for a removal, which asks first.
    fn command(&self) -> Option<Command> {
        Some(match self {
            Self::Remove { .. } => return None,
            Self::Rename {
                archive,
                volume,
                new,
            } => Command::VolumeRename {
                archive: archive.clone(),
                volume: volume.clone(),
                new: new.clone(),
            },
            Self::Describe {
                archive,
                volume,
                text,
            } => Command::VolumeDescribe {
                archive: archive.clone(),
                volume: volume.clone(),
                text: text.clone(),
            },
        })
    }
}

impl TagVerb {
    fn command(&self) -> Command {
        let (given, remove) = match self {
            Self::Add(given) => (given, false),
            Self::Remove(given) => (given, true),
        };
        Command::Tag {
            archive: given.archive.clone(),
            volume: given.volume.clone(),
            session: given.session.clone(),
            remove,
            tags: given.tags.clone(),
        }
    }
}

impl SnapshotsVerb {
    fn command(&self) -> Command {
        let (archive, clean) = match self {
            Self::List { archive, .. } => (archive, false),
            Self::Clean { archive, .. } => (archive, true),
        };
        Command::Snapshots {
            archive: archive.clone(),
            clean,
        }
    }
}

/// The name of an archive, which has been filled in.
fn named(archive: &Option<String>) -> String {
    archive.clone().unwrap_or_default()
}

impl CreateArgs {
    fn command(&self) -> Command {
        Command::ArchiveCreate {
            archive: self.name.clone(),
            store_url: self.place.store.clone().unwrap_or_default(),
            via: self.place.reach.far_end.clone().unwrap_or(Via::Local),
            verify_via: self.place.verify_far_end.clone(),
            credentials: self.place.reach.store_credentials.is_some(),
            chunk_size_bytes: self.chunk_size,
            pack_size_bytes: self.pack_size,
            compression: self.compression,
            hold_off: self.hold_off,
            minimum_age_secs: self.minimum_age,
            shared_domain: self.shared_domain,
            kdf_memory_kib: u32::try_from(self.kdf_memory / 1024).unwrap_or(u32::MAX),
            kdf_passes: self.kdf_passes,
        }
    }
}

impl NewPassphrase {
    fn memory_kib(&self) -> Option<u32> {
        self.kdf_memory
            .map(|bytes| u32::try_from(bytes / 1024).unwrap_or(u32::MAX))
    }
}

impl RestoreArgs {
    /// `assumes_yes`: nobody is asked.
    fn command(&self, assumes_yes: bool) -> Command {
        let (archive, session) = (named(&self.archive), self.session.clone());
        if let Some((qubes, end)) = self.qubes.settled() {
            let qubes = qubes.to_vec();
            return Command::SettleQubes {
                archive,
                qubes,
                end,
            };
        }
        if self.qubes.are_named() {
            let asks = !assumes_yes && confirm::can_ask();
            return Command::RestoreQubes {
                archive,
                wish: self.qubes.wish(self.dry_run || asks, self.in_place),
                session,
                dry_run: self.dry_run,
            };
        }
        Command::Restore {
            archive,
            volumes: self.volumes.clone(),
            session,
            in_place: self.in_place,
            quick: self.quick,
            dry_run: self.dry_run,
            around_damage: self.around_damage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &str) -> Command {
        let words: Vec<&str> = words.split(' ').skip(1).collect();
        let Some(ToDaemon::Start(command)) = Cli::of(&words).request(Vec::new()) else {
            panic!("{words:?}")
        };
        command
    }

    #[test]
    fn wyngs_words_work_too() {
        assert_eq!(
            command("wyng-ctl arch-check a"),
            command("wyng-ctl verify a")
        );
        assert_eq!(
            command("wyng-ctl arch-init a --store dir:/x"),
            command("wyng-ctl archive create a --store dir:/x")
        );
        assert!(matches!(
            command("wyng-ctl send a /x"),
            Command::Backup { .. }
        ));
        assert!(matches!(
            command("wyng-ctl receive a v --to /x"),
            Command::Restore { .. }
        ));
    }
}
