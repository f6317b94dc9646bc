// SPDX-License-Identifier: GPL-3.0-or-later
//! Who may connect, and with which command: the number of connections, the bounds of a command, and
//! the rights of its user.

use std::collections::{BTreeMap, BTreeSet};

use wyng_config::{Archive, Config, Profile};
use wyng_control::{BackupSource, Command, Failure, PruneRules, Unattended, Via, decode, encode};

use super::client::{Client, Phase};
use crate::ipc::ControlToKeyholder;
use crate::roles::Daemon;

/// Maximum number of one user's connections that have a command, or may still send one.
const OF_ONE_USER_MAX: usize = 32;
/// Maximum number of one user's connections, with those that are being refused.
const OF_ONE_USER_WITH_REFUSED_MAX: usize = 48;
/// Maximum number of connections of all users. Root and the daemon's own user may connect beyond
/// it.
const OF_ALL_MAX: usize = 480;

/// The rules of this module, with what they need of the configuration.
pub(super) struct Door {
    /// The daemon has one client, which started it.
    private: bool,
    /// The user who runs the daemon.
    own_uid: u32,
    /// Archives of the configuration, with their stores and far ends.
    archives: BTreeMap<String, Archive>,
    /// Its profiles.
    profiles: BTreeMap<String, Profile>,
    /// The rules of its prunes, each with the archive's name.
    rules: Vec<(String, PruneRules)>,
}

/// The decision about a client that connects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The client may send its command.
    Admitted,
    /// The client learns that its user has too many connections.
    Refused(Failure),
    /// The client is disconnected at once.
    Dropped(Failure),
}

/// The rules by which the configuration has an archive pruned.
fn configured_rules(config: &Config) -> Vec<(String, PruneRules)> {
    let of_archives = config
        .archives
        .keys()
        .map(|name| (name.clone(), config.prune_rules(name, None)));
    let of_profiles = config.profiles.values().flat_map(|profile| {
        let of = |archive: &String| {
            let rules = config.prune_rules(archive, Some(profile));
            (archive.clone(), rules)
        };
        profile.archives.iter().map(of)
    });
    of_archives.chain(of_profiles).collect()
}

impl Door {
    /// Reads the daemon's own user, so it must be called before the role changes its user.
    pub(super) fn new(daemon: Daemon, config: &Config) -> Self {
        Self {
            private: daemon == Daemon::Private,
            own_uid: rustix::process::geteuid().as_raw(),
            archives: config.archives.clone(),
            profiles: config.profiles.clone(),
            rules: configured_rules(config),
        }
    }

    /// Whether the user is root or the daemon's own.
    pub(super) fn is_own(&self, uid: Option<u32>) -> bool {
        self.private || uid == Some(0) || uid == Some(self.own_uid)
    }

    /// Bounds the connections of each user, so that no user can take the places of all others.
    pub(super) fn admit<'a>(
        &self,
        uid: Option<u32>,
        others: impl Iterator<Item = &'a Client>,
    ) -> Admission {
        let (mut of_all, mut of_user, mut active) = (0usize, 0usize, 0usize);
        for other in others {
            of_all = of_all.saturating_add(1);
            let is_same = other.uid() == uid;
            of_user = of_user.saturating_add(usize::from(is_same));
            active = active.saturating_add(usize::from(is_same && other.phase() != Phase::Over));
        }
        let failure = || Failure::TooManyConnections {
            limit: u32::try_from(OF_ONE_USER_MAX).unwrap_or(u32::MAX),
        };
        if of_user >= OF_ONE_USER_WITH_REFUSED_MAX || (of_all >= OF_ALL_MAX && !self.is_own(uid)) {
            Admission::Dropped(failure())
        } else if active >= OF_ONE_USER_MAX {
            Admission::Refused(failure())
        } else {
            Admission::Admitted
        }
    }

    /// Checks a command before any role receives it.
    pub(super) fn check(&self, command: &Command, uid: Option<u32>) -> Result<(), Failure> {
        check_bounds(command)?;
        if self.is_own(uid) {
            Ok(())
        } else {
            self.check_rights(command)
        }
    }

    /// Whether the configuration has these rules for the archive, itself or in a profile.
    fn has_rules(&self, archive: &str, rules: &PruneRules) -> bool {
        let is_it = |(name, known): &(String, PruneRules)| name == archive && known == rules;
        !rules.is_empty() && self.rules.iter().any(is_it)
    }

    /// Whether the configuration has this store and this far end for the archive, as far as they
    /// are named.
    fn has_place(
        &self,
        archive: &str,
        store_url: Option<&str>,
        via: Option<&Via>,
        verify_via: Option<&Via>,
    ) -> bool {
        let known = self.archives.get(archive);
        let is_known = |is: &dyn Fn(&Archive) -> bool| known.is_some_and(is);
        store_url.is_none_or(|store_url| is_known(&|known| known.store == store_url))
            && via.is_none_or(|via| is_known(&|known| known.via == *via))
            && verify_via
                .is_none_or(|via| is_known(&|known| known.verify_via.as_ref() == Some(via)))
    }

    /// Whether any archive of the configuration has this store, by this far end.
    fn has_store(&self, store_url: &str, via: &Via) -> bool {
        let mut archives = self.archives.values();
        archives.any(|known| known.store == store_url && known.via == *via)
    }

    /// Whether the configuration has this copy of the archive, by the far end that is known.
    fn has_copy(&self, archive: &str, copy_url: &str, via: Option<&Via>) -> bool {
        let known = self.archives.get(archive).filter(|_| via.is_none());
        known.is_some_and(|known| known.copies.iter().any(|copy| copy == copy_url))
    }

    /// A run that counts as a timer's is noted as such, and the timer's own run is skipped for a
    /// while: it must do what the timer's run would do.
    fn check_timer(&self, command: &Command) -> Result<(), Failure> {
        let profile_of = |timer: &Unattended, archive: &String| {
            let profile = self.profiles.get(&timer.profile);
            profile.filter(|profile| profile.archives.contains(archive))
        };
        let is_allowed = match command {
            Command::Backup {
                archive,
                sources,
                qubes,
                unattended: Some(timer),
                dry_run: false,
                max_new_bytes,
                skip_unchanged,
                verify,
                prune_after,
                ..
            } => profile_of(timer, archive).is_some_and(|profile| {
                let volumes: BTreeSet<&String> =
                    sources.iter().map(|source| &source.volume).collect();
                volumes == profile.volumes.iter().collect()
                    && *qubes == profile.qubes
                    && sources.iter().all(|source| source.configured)
                    && *max_new_bytes == profile.max_new_bytes
                    && *skip_unchanged <= profile.skip_unchanged
                    && *verify >= profile.verify
                    && prune_after.is_some() >= profile.prune_after_backup
            }),
            Command::Verify {
                archive,
                volumes,
                session,
                unattended: Some(timer),
                budget_bytes,
                ..
            } => profile_of(timer, archive).is_some_and(|profile| {
                volumes.is_empty()
                    && session.is_none()
                    && *budget_bytes == profile.verify_budget_bytes
            }),
            _ => true,
        };
        if is_allowed {
            Ok(())
        } else {
            denied("start a profile's run that is not as the configuration has it")
        }
    }

    /// Stores and far ends: those of the configuration, with the credentials that it names.
    fn check_places(&self, command: &Command) -> Result<(), Failure> {
        let naming = "name a store or a far end that the configuration does not";
        match command {
            Command::ArchiveCreate {
                credentials: true, ..
            }
            | Command::ArchiveOpen {
                credentials: true, ..
            }
            | Command::ArchiveCopy {
                credentials: true, ..
            }
            | Command::StoreCheck {
                credentials: true, ..
            } => denied("give a store's credentials"),
            Command::ArchiveCreate {
                archive,
                store_url,
                via,
                verify_via,
                ..
            } if !self.has_place(archive, Some(store_url), Some(via), verify_via.as_ref()) => {
                denied(naming)
            }
            Command::ArchiveOpen {
                archive,
                store_url,
                via,
                verify_via,
                ..
            } if !self.has_place(
                archive,
                store_url.as_deref(),
                via.as_ref(),
                verify_via.as_ref(),
            ) =>
            {
                denied(naming)
            }
            Command::ArchiveCopy { anew: true, .. } => denied("give a copy up for lost"),
            Command::ArchiveCopy {
                archive,
                store_url,
                via,
                ..
            } if !self.has_copy(archive, store_url, via.as_ref()) => denied(naming),
            Command::StoreCheck { store_url, via, .. } if !self.has_store(store_url, via) => {
                denied(naming)
            }
            Command::QubesCheck { vias } => {
                let known: BTreeSet<&Via> = self
                    .archives
                    .values()
                    .flat_map(|archive| [Some(&archive.via), archive.verify_via.as_ref()])
                    .flatten()
                    .collect();
                if vias.iter().all(|via| known.contains(via)) {
                    Ok(())
                } else {
                    denied(naming)
                }
            }
            _ => Ok(()),
        }
    }

    /// The daemon reads qubes with its own rights, and may pause them: a member of the group may
    /// have those that a profile of the archive has, as the profile has them read.
    fn check_qubes(&self, command: &Command) -> Result<(), Failure> {
        let Command::Backup {
            archive,
            qubes,
            live,
            ..
        } = command
        else {
            return Ok(());
        };
        let has_them = |profile: &Profile| {
            profile.archives.contains(archive) && profile.qubes == *qubes && profile.live == *live
        };
        if qubes.is_empty() || self.profiles.values().any(has_them) {
            Ok(())
        } else {
            Err(Failure::QubesNotAllowed)
        }
    }

    /// The daemon reaches stores and far ends with its own rights, so a member of the group may use
    /// those of the configuration and no other. The same holds for the rules of a prune.
    fn check_rights(&self, command: &Command) -> Result<(), Failure> {
        self.check_places(command)?;
        self.check_qubes(command)?;
        self.check_timer(command)?;
        let pruning = "prune an archive by other rules than the configuration's, or without \
                       --unattended";
        match command {
            Command::ArchiveForget { .. } => denied("forget an archive"),
            Command::ThinRemove { .. } => denied("remove base snapshots from thin pools"),
            Command::ArchiveTakeOver { .. } => denied("take an archive over"),
            Command::Status {
                trust_clock: true, ..
            }
            | Command::Prune {
                trust_clock: true, ..
            } => denied("trust this machine's clock"),
            // A timer's prune refuses after a jump of the clock, as does one after a backup.
            Command::Prune {
                archive,
                rules,
                dry_run: false,
                unattended,
                ..
            } if !(*unattended && self.has_rules(archive, rules)) => denied(pruning),
            Command::Backup {
                archive,
                prune_after: Some(rules),
                ..
            } if !self.has_rules(archive, rules) => denied(pruning),
            // Root restores qubes from volumes of such names, settings among them.
            Command::Backup { sources, .. } | Command::Monitor { sources, .. }
                if sources.iter().any(is_for_a_qube) =>
            {
                denied("give a path as a part of a qube")
            }
            Command::Diff {
                volume,
                named: true,
                configured: false,
                ..
            } if volume.contains(':') => denied("give a path as a part of a qube"),
            // Damage that is believed removes sessions: a person who may decide has to look first.
            Command::Backup { heal: true, .. } => denied("have damage believed by --heal"),
            Command::Compact { .. } => denied("compact an archive"),
            Command::RestoreQubes { .. } | Command::SettleQubes { .. } => denied("restore qubes"),
            Command::SessionRemove { dry_run: false, .. } => denied("remove a session"),
            Command::VolumeRemove { dry_run: false, .. } => denied("remove a volume"),
            Command::Pin { pinned: false, .. } => denied("unpin a session"),
            // The rules of a prune name volumes and tags.
            Command::VolumeRename { .. } => denied("rename a volume"),
            Command::Tag { remove: true, .. } => denied("remove a tag"),
            Command::ArchiveList
            | Command::ArchiveNames
            | Command::ArchiveShow { .. }
            | Command::ArchiveAcknowledge { .. }
            | Command::Snapshots { .. }
            | Command::ThinList { .. }
            | Command::ArchiveCreate { .. }
            | Command::ArchiveOpen { .. }
            | Command::ArchiveCopy { .. }
            | Command::Backup { .. }
            | Command::Prune { .. }
            | Command::SessionRemove { .. }
            | Command::VolumeRemove { .. }
            | Command::Pin { .. }
            | Command::Undelete { .. }
            | Command::Monitor { .. }
            | Command::List { .. }
            | Command::Why { .. }
            | Command::History { .. }
            | Command::VolumeDescribe { .. }
            | Command::Tag { .. }
            | Command::Restore { .. }
            | Command::Rehearse { .. }
            | Command::Diff { .. }
            | Command::Verify { .. }
            | Command::Status { .. }
            | Command::Unlock { .. }
            | Command::Lock { .. }
            | Command::KeyList { .. }
            | Command::KeyAdd { .. }
            | Command::KeyChange { .. }
            | Command::KeyRemove { .. }
            | Command::RecoverySheet { .. }
            | Command::QubesCheck { .. }
            | Command::StoreCheck { .. }
            | Command::KeyCheck { .. } => Ok(()),
        }
    }
}

/// Whether a client's own path would be a volume `QUBE:VOLUME`.
fn is_for_a_qube(source: &BackupSource) -> bool {
    !source.configured && source.volume.contains(':')
}

fn denied(what: &str) -> Result<(), Failure> {
    Err(Failure::NotAllowed {
        what: what.to_owned(),
    })
}

/// Checks that each string and number is within its bound, and that the forwarded message, which is
/// longer than the client's own, fits a packet.
fn check_bounds(command: &Command) -> Result<(), Failure> {
    command.check_bounds()?;
    let forwarded = ControlToKeyholder::Start {
        command: command.clone(),
        uid: u32::MAX,
        turn: u64::MAX,
        typed: true,
    };
    let too_long = |_| Failure::BadSetting {
        setting: "the length of the command".into(),
        allowed: "64 KiB of names and paths".into(),
    };
    // Decoding counts the limit in another way than encoding, so a message fits only if it also
    // decodes.
    encode(&forwarded)
        .and_then(|bytes| decode::<ControlToKeyholder>(&bytes))
        .map(drop)
        .map_err(too_long)
}

#[cfg(test)]
mod tests {

    use wyng_control::{KeepRules, QubeChoice, SessionChoice, ToDaemon};

    use super::*;

    #[test]
    fn the_longest_command_that_a_client_can_say_is_refused_if_it_does_not_fit_when_it_is_forwarded()
     {
        let via = |host_bytes| Via::Ssh("h".repeat(host_bytes));
        let check_of = |count, last_bytes| Command::QubesCheck {
            vias: [vec![via(255); count], vec![via(last_bytes)]].concat(),
        };
        let heard = |command: &Command| {
            encode(&ToDaemon::Start(command.clone()))
                .is_ok_and(|bytes| decode::<ToDaemon>(&bytes).is_ok())
        };
        // One far end more, or one byte more, would be too much for the client's own message.
        let count = (0..wyng_control::ITEMS_MAX)
            .rev()
            .find(|count| heard(&check_of(*count, 1)))
            .unwrap();
        let longest = (1..=255)
            .rev()
            .map(|last_bytes| check_of(count, last_bytes))
            .find(heard)
            .unwrap();
        assert_eq!(
            check_bounds(&longest).map_err(|failure| failure.code()),
            Err("bad-setting")
        );
        assert_eq!(check_bounds(&check_of(1, 1)), Ok(()));
    }

    #[test]
    fn a_member_of_the_group_has_the_stores_and_far_ends_of_the_configuration() {
        let known = Archive {
            store: "dir:/srv/wyng".into(),
            credentials: None,
            signed: false,
            via: Via::Ssh("backup".into()),
            verify_via: Some(Via::Ssh("other".into())),
            copies: vec!["dir:/mnt/usb".into()],
            keep: KeepRules::default(),
            keep_volumes: BTreeMap::new(),
            minimum_age_secs: 0,
            warn: wyng_config::Warn::default(),
        };
        let rules = PruneRules {
            keep: KeepRules {
                last: 1,
                ..KeepRules::default()
            },
            ..PruneRules::default()
        };
        let prune = |dry_run| Command::Prune {
            archive: "home".into(),
            volumes: Vec::new(),
            rules: rules.clone(),
            dry_run,
            unattended: false,
            trust_clock: false,
        };
        let back_up = |prune_after| Command::Backup {
            archive: "home".into(),
            sources: Vec::new(),
            qubes: QubeChoice::default(),
            skip_unchanged: false,
            dry_run: false,
            live: false,
            heal: false,
            unattended: None,
            verify: false,
            max_new_bytes: None,
            prune_after,
        };
        let remove = |dry_run| Command::SessionRemove {
            archive: "home".into(),
            volume: "vm".into(),
            sessions: vec![SessionChoice::Latest],
            dry_run,
        };
        let mut configured = rules.clone();
        configured.keep.last = 7;
        let pin = |pinned| Command::Pin {
            archive: "home".into(),
            volume: "vm".into(),
            session: SessionChoice::Latest,
            pinned,
        };
        let nightly = Profile {
            archives: vec!["home".into()],
            volumes: vec!["a".into(), "b".into()],
            dom0: false,
            dom0_paths: Vec::new(),
            live: false,
            qubes: QubeChoice::default(),
            skip_unchanged: false,
            verify: true,
            backup_overdue_secs: 1,
            verify_overdue_secs: None,
            verify_budget_bytes: None,
            scratch: None,
            max_new_bytes: None,
            keep: KeepRules::default(),
            prune_after_backup: true,
        };
        let run_of = |profile: &str, volumes: &[&str], reads_back, prunes: bool| {
            let source = |volume: &&str| BackupSource {
                volume: (*volume).to_owned(),
                named: true,
                configured: true,
            };
            let mut backup = back_up(prunes.then(|| configured.clone()));
            if let Command::Backup {
                sources,
                unattended,
                verify,
                ..
            } = &mut backup
            {
                *verify = reads_back;
                *sources = volumes.iter().map(source).collect();
                *unattended = Some(Unattended {
                    profile: profile.into(),
                    interval_secs: 0,
                });
            }
            backup
        };
        let as_timer = |profile: &str, volumes: &[&str]| run_of(profile, volumes, true, true);
        let door = Door {
            private: false,
            own_uid: 500,
            archives: [("home".to_owned(), known)].into(),
            profiles: [("nightly".to_owned(), nightly)].into(),
            rules: vec![("home".to_owned(), configured.clone())],
        };
        let by_timer = |archive: &str, rules: &PruneRules, unattended| Command::Prune {
            archive: archive.into(),
            volumes: Vec::new(),
            rules: rules.clone(),
            dry_run: false,
            unattended,
            trust_clock: false,
        };
        let open = |archive: &str, store: Option<&str>, via: Option<&str>| Command::ArchiveOpen {
            credentials: false,
            archive: archive.into(),
            store_url: store.map(str::to_owned),
            via: via.map(|via| via.parse().unwrap()),
            verify_via: None,
            expect: None,
            before: None,
        };
        let check_store = |store: &str, credentials| Command::StoreCheck {
            store_url: store.into(),
            via: Via::Ssh("backup".into()),
            credentials,
        };
        let allowed = [
            open("home", Some("dir:/srv/wyng"), Some("ssh:backup")),
            open("home", None, None),
            open("other", None, None),
            Command::QubesCheck {
                vias: vec![Via::Ssh("backup".into()), Via::Ssh("other".into())],
            },
            check_store("dir:/srv/wyng", false),
            Command::Status {
                archive: None,
                trust_clock: false,
            },
            prune(true),
            by_timer("home", &configured, true),
            back_up(None),
            back_up(Some(configured.clone())),
            as_timer("nightly", &["b", "a"]),
            remove(true),
            pin(true),
            Command::ArchiveCopy {
                archive: "home".into(),
                store_url: "dir:/mnt/usb".into(),
                via: None,
                credentials: false,
                anew: false,
            },
        ];
        let by_hand = |trust_clock, unattended| Command::Prune {
            archive: "home".into(),
            volumes: Vec::new(),
            rules: configured.clone(),
            dry_run: false,
            unattended,
            trust_clock,
        };
        let healing = Command::Backup {
            archive: "home".into(),
            sources: Vec::new(),
            qubes: QubeChoice::default(),
            skip_unchanged: false,
            dry_run: false,
            live: false,
            heal: true,
            unattended: None,
            verify: false,
            max_new_bytes: None,
            prune_after: None,
        };
        let denied = [
            by_hand(true, true),
            healing,
            as_timer("nightly", &["a"]),
            run_of("nightly", &["a", "b"], false, true),
            run_of("nightly", &["a", "b"], true, false),
            Command::Monitor {
                archive: "home".into(),
                sources: vec![BackupSource {
                    volume: "work:private".into(),
                    named: true,
                    configured: false,
                }],
            },
            Command::Diff {
                archive: "home".into(),
                volume: "work:private".into(),
                session: SessionChoice::Latest,
                with: wyng_control::CompareWith::Local,
                named: true,
                configured: false,
            },
            as_timer("weekly", &["a", "b"]),
            Command::VolumeRename {
                archive: "home".into(),
                volume: "vm".into(),
                new: "scratch".into(),
            },
            Command::Tag {
                archive: "home".into(),
                volume: "vm".into(),
                session: SessionChoice::Latest,
                remove: true,
                tags: vec!["keep".into()],
            },
            prune(false),
            by_timer("home", &configured, false),
            by_timer("home", &rules, true),
            by_timer("other", &configured, true),
            back_up(Some(rules.clone())),
            remove(false),
            pin(false),
            Command::VolumeRemove {
                archive: "home".into(),
                volume: "vm".into(),
                dry_run: false,
            },
            open("home", Some("dir:/root"), Some("ssh:backup")),
            open("home", Some("dir:/srv/wyng"), Some("local")),
            open("other", Some("dir:/srv/wyng"), None),
            Command::ArchiveOpen {
                archive: "home".into(),
                store_url: None,
                via: None,
                verify_via: None,
                credentials: true,
                expect: None,
                before: None,
            },
            Command::ArchiveOpen {
                archive: "home".into(),
                store_url: None,
                via: None,
                verify_via: Some(Via::Ssh("backup".into())),
                credentials: false,
                expect: None,
                before: None,
            },
            check_store("dir:/srv/other", false),
            check_store("dir:/srv/wyng", true),
            Command::QubesCheck {
                vias: vec![Via::Ssh("backup".into()), Via::Local],
            },
            Command::ArchiveForget {
                archive: "home".into(),
            },
            Command::ArchiveTakeOver {
                archive: "home".into(),
                promote: false,
                other_writer_is_gone: false,
            },
            Command::ArchiveCopy {
                archive: "home".into(),
                store_url: "dir:/mnt/usb".into(),
                via: Some(Via::Ssh("backup".into())),
                credentials: false,
                anew: false,
            },
            Command::ArchiveCopy {
                archive: "home".into(),
                store_url: "dir:/root".into(),
                via: None,
                credentials: false,
                anew: false,
            },
            // The store of an archive is no copy of any.
            Command::ArchiveCopy {
                archive: "home".into(),
                store_url: "dir:/srv/wyng".into(),
                via: None,
                credentials: false,
                anew: false,
            },
            Command::ArchiveCopy {
                archive: "home".into(),
                store_url: "dir:/srv/wyng".into(),
                via: Some(Via::Local),
                credentials: false,
                anew: false,
            },
            Command::ArchiveCopy {
                archive: "home".into(),
                store_url: "dir:/srv/wyng".into(),
                via: None,
                credentials: true,
                anew: false,
            },
            Command::ArchiveCopy {
                archive: "home".into(),
                store_url: "dir:/srv/wyng".into(),
                via: None,
                credentials: false,
                anew: true,
            },
            Command::Status {
                archive: None,
                trust_clock: true,
            },
        ];
        for command in &allowed {
            assert_eq!(door.check(command, Some(1000)), Ok(()), "{command:?}");
        }
        for command in &denied {
            assert_eq!(
                door.check(command, Some(1000))
                    .map_err(|failure| failure.code()),
                Err("not-allowed"),
                "{command:?}"
            );
            assert_eq!(
                door.check(command, None).map_err(|failure| failure.code()),
                Err("not-allowed"),
                "nobody knows who asks"
            );
            for own in [0, 500] {
                assert_eq!(door.check(command, Some(own)), Ok(()), "{own} {command:?}");
            }
        }
    }

    #[test]
    fn a_member_of_the_group_backs_up_no_path_as_a_part_of_a_qube() {
        let door = Door {
            private: false,
            own_uid: 500,
            archives: BTreeMap::new(),
            profiles: BTreeMap::new(),
            rules: Vec::new(),
        };
        let back_up = |volume: &str, configured| Command::Backup {
            archive: "home".into(),
            sources: vec![BackupSource {
                volume: volume.into(),
                named: true,
                configured,
            }],
            qubes: QubeChoice::default(),
            skip_unchanged: false,
            dry_run: false,
            live: false,
            heal: false,
            unattended: None,
            verify: false,
            max_new_bytes: None,
            prune_after: None,
        };
        for volume in ["work:settings", "work:private", "a:b"] {
            let checked = door.check(&back_up(volume, false), Some(1000));
            let code = checked.map_err(|failure| failure.code());
            assert_eq!(code, Err("not-allowed"), "{volume}");
            // Root may, and so may whoever wrote the configuration.
            assert_eq!(door.check(&back_up(volume, false), Some(0)), Ok(()));
            assert_eq!(door.check(&back_up(volume, true), Some(1000)), Ok(()));
        }
        assert_eq!(door.check(&back_up("work", false), Some(1000)), Ok(()));
    }

    #[test]
    fn a_member_of_the_group_has_the_qubes_of_a_profile_as_the_profile_has_them_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[profiles.nightly]\narchive = \"home\"\nqubes = [\"work\"]\n";
        std::fs::write(file.path(), text).unwrap();
        let config = Config::read(file.path()).unwrap();
        let door = Door {
            private: false,
            own_uid: 500,
            archives: BTreeMap::new(),
            profiles: config.profiles,
            rules: Vec::new(),
        };
        let back_up = |archive: &str, qubes: &[&str], live| Command::Backup {
            archive: archive.into(),
            sources: Vec::new(),
            qubes: QubeChoice {
                qubes: qubes.iter().map(|word| (*word).to_owned()).collect(),
                exclude: Vec::new(),
                continues: Vec::new(),
            },
            skip_unchanged: false,
            dry_run: false,
            live,
            heal: false,
            unattended: None,
            verify: false,
            max_new_bytes: None,
            prune_after: None,
        };
        let own = back_up("home", &["work"], false);
        assert_eq!(door.check(&own, Some(1000)), Ok(()));
        for refused in [
            back_up("home", &["work", "vault"], false),
            back_up("home", &["@all"], false),
            back_up("other", &["work"], false),
            back_up("home", &["work"], true),
        ] {
            let checked = door.check(&refused, Some(1000));
            assert_eq!(checked, Err(Failure::QubesNotAllowed), "{refused:?}");
            assert_eq!(door.check(&refused, Some(0)), Ok(()));
        }
        // Whoever continues a history by name decides what its newest session is.
        let mut continued = own.clone();
        if let Command::Backup { qubes, .. } = &mut continued {
            qubes.continues.push("work".into());
        }
        let checked = door.check(&continued, Some(1000));
        assert_eq!(checked, Err(Failure::QubesNotAllowed));
        assert_eq!(door.check(&continued, Some(0)), Ok(()));
        let mistyped = back_up("home", &["@what"], false);
        let checked = door
            .check(&mistyped, Some(0))
            .map_err(|failure| failure.code());
        assert_eq!(checked, Err("bad-setting"));
    }
}
