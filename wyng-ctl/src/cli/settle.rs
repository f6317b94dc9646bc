// SPDX-License-Identifier: GPL-3.0-or-later
//! Gaps of the command line, filled from its other words and from the configuration.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use wyng_config::{Archive, Config, Credentials, Profile};
use wyng_control::{CompareWith, Via};

use super::args::{
    ArchiveVerb, BackupArgs, Cli, CopyArgs, CreateArgs, DiffArgs, KeyVerb, MonitorArgs, PruneArgs,
    QubesVerb, ReachArgs, RestoreArgs, StoreArgs, StoreVerb, Verb,
};
use super::parse::parse_far_end;
use crate::credentials::StoreCredentials;
use crate::dom0;
use crate::message::Message;

impl Cli {
    /// Where ARCHIVE was left out, the only word is the argument after it. The error names what is
    /// missing.
    pub(crate) fn settle_words(&mut self) -> Result<(), Message> {
        if self.options.state_dir.is_some() && !self.options.standalone {
            return Err(Message::usage(
                "the running daemon has its own state folder, but --state-dir names another one",
                "Add --standalone.",
            ));
        }
        match &mut self.verb {
            // Sources may stand beside them; one word alone is the archive.
            Verb::Backup(BackupArgs { qubes, .. }) if qubes.are_named() => qubes.take_named(),
            Verb::Backup(BackupArgs { dom0: true, .. }) => {}
            Verb::Backup(BackupArgs {
                all: false,
                profile: None,
                archive,
                sources,
                ..
            })
            | Verb::Monitor(MonitorArgs {
                all: false,
                archive,
                sources,
            }) => {
                if sources.is_empty() {
                    sources.extend(archive.take().map(OsString::from));
                }
                if sources.is_empty() {
                    return Err(Message::of_needed_sources());
                }
            }
            Verb::Restore(restore) if restore.qubes.are_named() => {
                return match restore.in_place && restore.qubes.are_several() {
                    true => Err(Message::usage(
                        "one qube at a time is restored in place",
                        "Run the command once for each qube.",
                    )),
                    false => Ok(()),
                };
            }
            Verb::Restore(RestoreArgs {
                dom0: true,
                volumes,
                ..
            }) => volumes.push(dom0::VOLUME.to_owned()),
            Verb::Restore(RestoreArgs {
                all: false,
                archive,
                volumes,
                ..
            }) => {
                if volumes.is_empty() {
                    volumes.extend(archive.take());
                }
                if volumes.is_empty() {
                    return Err(Message::usage(
                        "the volume is missing",
                        "See `wyng-ctl list ARCHIVE`.",
                    ));
                }
            }
            Verb::Diff(DiffArgs {
                archive, volume, ..
            }) => {
                shift(archive, volume).ok_or_else(|| {
                    Message::usage("the volume is missing", "See `wyng-ctl list ARCHIVE`.")
                })?;
            }
            Verb::Key(KeyVerb::Remove { archive, slot }) => {
                let number = shift(archive, slot).and_then(|slot| slot.parse::<u8>().ok());
                number.ok_or_else(|| {
                    Message::usage(
                        "the slot is missing, or is not a number",
                        "See `wyng-ctl key list ARCHIVE`.",
                    )
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the command reads the configuration. All others work even if it has mistakes.
    pub(crate) fn asks_config(&self) -> bool {
        match &self.verb {
            Verb::Archive(ArchiveVerb::Create(_) | ArchiveVerb::Open(_) | ArchiveVerb::Copy(_))
            | Verb::ArchInit(_)
            | Verb::Backup(_)
            | Verb::Monitor(_)
            | Verb::Prune(_)
            | Verb::Qubes(_)
            | Verb::Snapshots(_)
            | Verb::Status { .. }
            | Verb::Store(_) => true,
            Verb::Verify(verify) => verify.profile.is_some(),
            Verb::Rehearse(rehearse) => rehearse.profile.is_some(),
            Verb::Restore(restore) => restore.in_place && restore.to.is_none(),
            Verb::Diff(diff) => diff.with == CompareWith::Local && diff.to.is_none(),
            _ => false,
        }
    }

    /// Fills gaps of the command line from the configuration. The error names what neither has.
    pub(crate) fn fill_in(&mut self, config: &Config) -> Result<(), Message> {
        match &mut self.verb {
            Verb::Archive(verb) => fill_in_archive(verb, config)?,
            Verb::ArchInit(create) => fill_in_create(create, config)?,
            Verb::Store(StoreVerb::Check(check)) => {
                let mut known = config.archives.values();
                let known = known.find(|known| known.store == check.store);
                check.reach.fill_in(known, known)?;
            }
            Verb::Qubes(QubesVerb::Check { vias, far_ends }) => {
                *far_ends = vias
                    .iter()
                    .map(|via| parse_far_end(via))
                    .collect::<Result<_, _>>()?;
            }
            Verb::Backup(BackupArgs {
                all: true,
                sources,
                qubes,
                ..
            }) => {
                let has_qubes = qubes.take_all(config);
                *sources = all_volumes(config, has_qubes)?;
            }
            Verb::Monitor(MonitorArgs {
                all: true, sources, ..
            }) => *sources = all_volumes(config, false)?,
            Verb::Backup(backup) => fill_in_backup(backup, config)?,
            Verb::Prune(prune) => fill_in_prune(prune, config)?,
            Verb::Diff(diff) => {
                let is_known = diff
                    .volume
                    .as_ref()
                    .is_some_and(|volume| config.volumes.contains_key(volume));
                diff.configured = is_known && diff.to.is_none();
            }
            Verb::Verify(verify) => {
                if let Some((profile, archive)) =
                    find_profile(verify.profile.as_deref(), verify.archive.as_deref(), config)?
                {
                    verify.archive = Some(archive);
                    verify.budget = verify.budget.or(profile.verify_budget_bytes);
                }
            }
            Verb::Rehearse(rehearse) => {
                let (name, archive) = (rehearse.profile.as_deref(), rehearse.archive.as_deref());
                if let Some((profile, archive)) = find_profile(name, archive, config)? {
                    rehearse.archive = Some(archive);
                    rehearse.scratch = rehearse.scratch.take().or_else(|| profile.scratch.clone());
                }
            }
            _ => {}
        }
        if let Verb::Backup(backup) = &mut self.verb {
            backup.dom0_paths = dom0_paths(backup, config);
            // The daemon reads them for root alone.
            let is_own = self.options.standalone || rustix::process::geteuid().is_root();
            if backup.dom0 && is_own {
                backup.qubes.take_system(config);
            }
        }
        match &self.verb {
            Verb::Backup(backup) if backup.qubes.exclude_in_vain() => Err(Message::usage(
                "--exclude leaves out qubes, and none is taken",
                "Add --qube QUBE, or --all in dom0.",
            )),
            Verb::Backup(backup) if backup.qubes.continue_in_vain() => Err(Message::usage(
                "--continue is said of qubes, and none is taken",
                "Add --qube QUBE, or --all in dom0.",
            )),
            _ => Ok(()),
        }
    }

    /// Whether the only source is the archive's own name with nothing after it, and not the path of
    /// a volume.
    pub(crate) fn names_only_its_archive(&self) -> bool {
        match (self.sources(), self.archive()) {
            ([source], Some(archive)) => {
                source == archive && !std::path::Path::new(source).exists()
            }
            _ => false,
        }
    }

    /// The command that these words are, settled.
    #[cfg(test)]
    pub(crate) fn of(words: &[&str]) -> Self {
        use clap::Parser;

        let mut cli = Self::try_parse_from(["wyng-ctl"].iter().chain(words)).unwrap();
        cli.settle_words().unwrap();
        cli
    }
}

/// The credentials of the command line, else those of the configuration. Whether requests are
/// signed is a matter of the configuration in both cases, unless the command line says it.
fn credentials(
    named: Option<PathBuf>,
    signed: Option<bool>,
    known: Option<&Archive>,
) -> Option<StoreCredentials> {
    let configured = || known.and_then(|known| known.credentials.clone());
    let files = named.map(|file| Credentials::All(file.to_string_lossy().into_owned()));
    Some(StoreCredentials {
        files: files.or_else(configured)?,
        signed: signed.unwrap_or_else(|| known.is_some_and(|known| known.signed)),
        unsigned: signed == Some(false),
    })
}

/// All volumes of the configuration. Without any, there must be qubes.
fn all_volumes(config: &Config, has_qubes: bool) -> Result<Vec<OsString>, Message> {
    if config.volumes.is_empty() && !has_qubes {
        return Err(Message::usage(
            "the configuration names no volume",
            "Add some to [volumes], or name paths.",
        ));
    }
    Ok(config.volumes.keys().map(OsString::from).collect())
}

/// The second word, where the first may be left out.
fn shift<'a>(first: &mut Option<String>, second: &'a mut Option<String>) -> Option<&'a str> {
    if second.is_none() {
        *second = first.take();
    }
    second.as_deref()
}

/// The profile with this name, and its archive. The command line may name one of several, but none
/// that is not among them; without a name it is the first, since whoever runs a profile of several
/// names each of them (see `several.rs`).
fn find_profile<'a>(
    name: Option<&str>,
    archive: Option<&str>,
    config: &'a Config,
) -> Result<Option<(&'a Profile, String)>, Message> {
    let Some(name) = name else { return Ok(None) };
    let profile = config.profiles.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.profiles.keys().map(String::as_str).collect();
        let next = match &*known {
            [] => "Add [profiles.NAME] to the configuration; see wyng.toml(5).".to_owned(),
            known => format!("Use one of: {}.", known.join(", ")),
        };
        Message::usage(
            format!("there is no profile {name:?} in the configuration"),
            next,
        )
    })?;
    let archives = &profile.archives;
    match archive {
        Some(other) if !archives.iter().any(|archive| archive == other) => Err(Message::usage(
            format!(
                "profile {name:?} is of archive {:?}, not {other:?}",
                archives.join(", ")
            ),
            "Omit the archive.",
        )),
        named => {
            let archive = named.or(archives.first().map(String::as_str));
            Ok(archive.map(|archive| (profile, archive.to_owned())))
        }
    }
}

/// Fills gaps of a backup from its profile.
fn fill_in_backup(backup: &mut BackupArgs, config: &Config) -> Result<(), Message> {
    let Some((profile, archive)) =
        find_profile(backup.profile.as_deref(), backup.archive.as_deref(), config)?
    else {
        return Ok(());
    };
    backup.sources = profile.volumes.iter().map(OsString::from).collect();
    backup.qubes.take_profile(profile);
    backup.live |= profile.live;
    backup.dom0 |= profile.dom0;
    backup.skip_unchanged |= profile.skip_unchanged;
    backup.verify |= profile.verify && !backup.dry_run;
    backup.max_new_bytes = backup.max_new_bytes.or(profile.max_new_bytes);
    backup.prune_after = profile
        .prune_after_backup
        .then(|| config.prune_rules(&archive, Some(profile)));
    backup.archive = Some(archive);
    Ok(())
}

/// What dom0's files are besides the fixed ones: what the profile says, or all profiles of the
/// archive, so that a run by hand takes what the timer takes.
fn dom0_paths(backup: &BackupArgs, config: &Config) -> Vec<PathBuf> {
    let is_of = |name: &str, profile: &Profile| match &backup.profile {
        Some(own) => name == own,
        None => backup
            .archive
            .as_ref()
            .is_none_or(|archive| profile.archives.contains(archive)),
    };
    let profiles = config.profiles.iter();
    let paths: BTreeSet<PathBuf> = profiles
        .filter(|(name, profile)| profile.dom0 && is_of(name, profile))
        .flat_map(|(_, profile)| profile.dom0_paths.iter().cloned())
        .collect();
    paths.into_iter().collect()
}

/// Fills gaps of a prune from its profile, and gives it the rules of the configuration.
fn fill_in_prune(prune: &mut PruneArgs, config: &Config) -> Result<(), Message> {
    let found = find_profile(prune.profile.as_deref(), prune.archive.as_deref(), config)?;
    let profile = found.as_ref().map(|(profile, _)| *profile);
    if let Some((_, archive)) = found {
        prune.archive = Some(archive);
    }
    let archives = config.archives.keys();
    prune.configured = archives
        .chain(profile.iter().flat_map(|profile| &profile.archives))
        .map(|archive| (archive.clone(), config.prune_rules(archive, profile)))
        .collect();
    Ok(())
}

fn fill_in_archive(verb: &mut ArchiveVerb, config: &Config) -> Result<(), Message> {
    match verb {
        ArchiveVerb::Create(create) => fill_in_create(create, config)?,
        ArchiveVerb::Open(open) => open.place.fill_in(config.archives.get(&open.name))?,
        ArchiveVerb::Copy(copy) => {
            copy.fill_in(config)?;
        }
        _ => {}
    }
    Ok(())
}

impl CopyArgs {
    /// The configured copies that the command is about, each with its archive; none where the
    /// command line names one.
    fn configured(&self, config: &Config) -> Result<Vec<(String, String)>, Message> {
        if self.to.is_some() {
            return Ok(Vec::new());
        }
        let archives = match find_profile(self.profile.as_deref(), None, config)? {
            Some((profile, _)) => profile.archives.clone(),
            None => self.name.iter().cloned().collect(),
        };
        let copies = archives.into_iter().flat_map(|archive| {
            let known = config.archives.get(&archive);
            let copies = known.map(|known| known.copies.clone()).unwrap_or_default();
            copies.into_iter().map(move |copy| (archive.clone(), copy))
        });
        Ok(copies.collect())
    }

    /// The copy of the command line, or else the first of the configured ones: whoever runs a
    /// command with several names each of them (see `several.rs`).
    fn fill_in(&mut self, config: &Config) -> Result<(), Message> {
        if self.to.is_none() {
            let first = self.configured(config)?.into_iter().next();
            let (archive, copy) = first.ok_or_else(|| {
                Message::usage(
                    "no copy is named, and the configuration has none",
                    "Add --to URL, or copies = [\"URL\"] to [archives.NAME] in the configuration.",
                )
            })?;
            (self.name, self.to) = (Some(archive), Some(copy));
        }
        let mut known = config.archives.values();
        let known = known.find(|known| Some(&known.store) == self.to.as_ref());
        self.reach.fill_in(known, None)
    }
}

impl Cli {
    /// Whether the command is run for each archive or copy of the configuration.
    pub(crate) fn may_have_turns(&self) -> bool {
        let copies =
            matches!(&self.verb, Verb::Archive(ArchiveVerb::Copy(copy)) if copy.to.is_none());
        copies || self.profile_alone().is_some()
    }

    /// The archives or copies for which the command is run, one after the other; none where it runs
    /// as it is.
    pub(crate) fn turns(&self, config: &Config) -> Vec<Turn> {
        if let Verb::Archive(ArchiveVerb::Copy(copy)) = &self.verb {
            let copies = copy.configured(config).unwrap_or_default();
            return copies
                .into_iter()
                .map(|(archive, copy)| Turn {
                    archive,
                    copy: Some(copy),
                })
                .collect();
        }
        let profile = self
            .profile_alone()
            .and_then(|profile| config.profiles.get(profile));
        let archives = profile.map(|profile| profile.archives.clone());
        archives
            .unwrap_or_default()
            .into_iter()
            .map(|archive| Turn {
                archive,
                copy: None,
            })
            .collect()
    }

    /// Has the command run for one of its turns.
    pub(crate) fn take_turn(&mut self, turn: Turn) {
        if let Verb::Archive(ArchiveVerb::Copy(copy)) = &mut self.verb {
            (copy.name, copy.to, copy.profile) = (Some(turn.archive), turn.copy, None);
        } else if let Some(named) = self.archive_place() {
            *named = Some(turn.archive);
        }
    }
}

/// One of several archives or copies for which a command is run.
pub(crate) struct Turn {
    /// The archive.
    pub(crate) archive: String,
    /// The address of its copy, in `archive copy`.
    pub(crate) copy: Option<String>,
}

fn fill_in_create(create: &mut CreateArgs, config: &Config) -> Result<(), Message> {
    create.place.fill_in(config.archives.get(&create.name))?;
    if create.place.store.is_none() {
        let text = format!("the store of archive {:?} was not named", create.name);
        return Err(Message::usage(
            text,
            "Add --store URL (such as dir:/path), or [archives.NAME] to the configuration.",
        ));
    }
    Ok(())
}

impl ReachArgs {
    /// Fills gaps from the configuration: the far end of `known`, the credentials of `owner`.
    fn fill_in(&mut self, known: Option<&Archive>, owner: Option<&Archive>) -> Result<(), Message> {
        self.far_end = far_end(&self.via, known.map(|known| &known.via))?;
        let signed = match (self.signed, self.no_signed) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        self.store_credentials = credentials(self.credentials.take(), signed, owner);
        Ok(())
    }
}

impl StoreArgs {
    /// Fills gaps from what the configuration says of the archive. Its credentials belong to the
    /// store that it names, and to no other.
    fn fill_in(&mut self, known: Option<&Archive>) -> Result<(), Message> {
        let is_named = |known: &&Archive| {
            self.store
                .as_ref()
                .is_none_or(|store| *store == known.store)
        };
        self.reach.fill_in(known, known.filter(is_named))?;
        let checks = known.and_then(|known| known.verify_via.as_ref());
        self.verify_far_end = far_end(&self.verify_via, checks)?;
        self.store = self
            .store
            .take()
            .or_else(|| known.map(|known| known.store.clone()));
        Ok(())
    }
}

/// The far end of the command line, or the configured one.
fn far_end(words: &Option<String>, configured: Option<&Via>) -> Result<Option<Via>, Message> {
    match words {
        Some(words) => parse_far_end(words).map(Some),
        None => Ok(configured.cloned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_archive_may_be_left_out_where_one_word_tells_what_is_missing() {
        let archive = |words: &[&str]| Cli::of(words).archive().map(str::to_owned);
        for (with, without) in [
            (&["list", "home"][..], &["list"][..]),
            (&["verify", "home", "--deep"], &["verify", "--deep"]),
            (
                &["restore", "home", "v", "--to", "x"],
                &["restore", "v", "--to", "x"],
            ),
            (
                &["restore", "home", "--all", "--to", "x"],
                &["restore", "--all", "--to", "x"],
            ),
            (&["diff", "home", "v"], &["diff", "v"]),
            (
                &["backup", "home", "--live", "v"],
                &["backup", "--live", "v"],
            ),
            (&["backup", "home", "--all"], &["backup", "--all"]),
            (&["monitor", "home", "v"], &["monitor", "v"]),
            (&["key", "remove", "home", "3"], &["key", "remove", "3"]),
            (&["key", "check", "home"], &["key", "check"]),
            (&["recovery-sheet", "home"], &["recovery-sheet"]),
            (&["archive", "show", "home"], &["archive", "show"]),
        ] {
            assert_eq!(
                (archive(with).as_deref(), archive(without)),
                (Some("home"), None),
                "{with:?}"
            );
        }
        assert_eq!(
            Cli::of(&["backup", "a", "b", "c"]).archive(),
            Some("a"),
            "with several words the first is the archive"
        );
        for words in [
            &["backup"][..],
            &["restore", "--to", "x"],
            &["diff"],
            &["key", "remove"],
            &["key", "remove", "home"],
            &["monitor"],
        ] {
            assert!(
                Cli::try_parse_from(["wyng-ctl"].iter().chain(words))
                    .unwrap()
                    .settle_words()
                    .is_err(),
                "{words:?}"
            );
        }
        for words in [
            &["archive", "forget"][..],
            &["archive", "take-over"],
            &["archive", "create"],
        ] {
            assert!(
                Cli::try_parse_from(["wyng-ctl"].iter().chain(words)).is_err(),
                "{words:?}"
            );
        }
    }
}
