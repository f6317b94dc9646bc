// SPDX-License-Identifier: GPL-3.0-or-later
//! Bounds of every string, list and number in a command. The daemon checks them where it receives a
//! client's message, before it forwards the command to any role.
//!
//! The checks cover size and alphabet, so that no message grows on its way and no failure quotes a
//! megabyte. The keyholder checks whether an archive, a volume or a session exists.

use std::collections::BTreeSet;

use crate::command::{
    BackupSource, Command, CompareWith, HoldOff, PruneRules, SessionChoice, UNLOCK_MAX_SECS,
    Unattended,
};
use crate::failure::Failure;
use crate::qube::{
    QubeChoice, is_of_dom0, is_qube_continued, is_qube_exclusion, is_qube_selector, is_system,
};
use crate::store::{StoreMistake, check_store_address};
use crate::thin::{THIN_VOLUMES_MAX, ThinWaste};

/// Maximum length of an archive's name on this machine, bytes.
pub const ARCHIVE_NAME_MAX_BYTES: usize = 64;
/// Maximum length of a volume's name, bytes.
pub const VOLUME_NAME_MAX_BYTES: usize = 200;
/// Maximum length of a store's address, bytes: the limit of an OPEN frame.
pub const STORE_MAX_BYTES: usize = 4096;
/// Maximum length of a session's name, a tag or a recovery sheet's code, bytes.
pub const WORD_MAX_BYTES: usize = 200;
/// Maximum length of a volume's description, bytes.
const DESCRIPTION_MAX_BYTES: usize = 1000;
/// Maximum number of sources, volumes or far ends in one command. Each source keeps up to three
/// descriptors open until its session is committed.
pub const ITEMS_MAX: usize = 256;
/// Maximum number of tags in the rules of a prune.
const TAG_RULES_MAX: usize = 64;
/// Maximum length of a tag, bytes.
const TAG_MAX_BYTES: usize = 64;
/// Maximum hold-off: 65,535 runs and 100 years.
const HOLD_OFF_MAX: HoldOff = HoldOff {
    runs: 65_535,
    secs: 36_525 * 86_400,
};
/// Maximum length of a name that a failure quotes, characters.
const QUOTED_CHARS: usize = 64;

impl Command {
    /// Checks every string, list and number against its bound. The failure names the first one that
    /// is out of bounds.
    pub fn check_bounds(&self) -> Result<(), Failure> {
        if let Some(archive) = self.archive() {
            self.check_archive(archive)?;
        }
        match self {
            Self::ArchiveCreate {
                store_url,
                hold_off,
                minimum_age_secs,
                ..
            } => {
                check_store(store_url)?;
                check_waits(*hold_off, *minimum_age_secs)
            }
            Self::ArchiveOpen {
                store_url, expect, ..
            } => {
                store_url.as_deref().map_or(Ok(()), check_store)?;
                expect
                    .as_deref()
                    .map_or(Ok(()), |code| check_word(code, "the recovery sheet's code"))
            }
            Self::Backup {
                sources,
                qubes,
                unattended,
                prune_after,
                ..
            } => {
                check_unattended(unattended.as_ref())?;
                check_sources(sources)?;
                check_qubes(qubes)?;
                prune_after.as_ref().map_or(Ok(()), check_rules)
            }
            Self::Monitor { sources, .. } => check_sources(sources),
            Self::Prune { .. }
            | Self::SessionRemove { .. }
            | Self::VolumeRemove { .. }
            | Self::Pin { .. }
            | Self::Undelete { .. } => self.check_removal(),
            Self::List {
                volume, session, ..
            } => {
                volume.as_deref().map_or(Ok(()), check_volume)?;
                session.as_ref().map_or(Ok(()), check_session)
            }
            Self::VolumeRename { .. } | Self::VolumeDescribe { .. } | Self::Tag { .. } => {
                self.check_change()
            }
            Self::Restore {
                volumes, session, ..
            } => {
                check_volumes(volumes)?;
                check_session(session)
            }
            Self::RestoreQubes { wish, session, .. } => {
                check_volumes(&wish.qubes)?;
                wish.new_name.as_deref().map_or(Ok(()), check_volume)?;
                check_session(session)
            }
            Self::SettleQubes { qubes, .. } => check_volumes(qubes),
            Self::Rehearse { volume, .. } => volume.as_deref().map_or(Ok(()), check_volume),
            Self::Diff {
                volume,
                session,
                with,
                ..
            } => check_compared(volume, session, with),
            Self::Verify { .. } => self.check_verify(),
            Self::Unlock { secs, .. } if !(1..=UNLOCK_MAX_SECS).contains(secs) => Err(
                out_of_bounds("the time for which the key is kept", "1s to 24h"),
            ),
            Self::KeyAdd { label, .. } | Self::KeyChange { label, .. } => label
                .as_deref()
                .map_or(Ok(()), |label| check_word(label, "the slot's label")),
            Self::StoreCheck { store_url, .. } => check_store(store_url),
            Self::QubesCheck { vias } => check_count(vias.len(), "the number of far ends"),
            Self::ArchiveCopy { store_url, .. } => check_store(store_url),
            Self::ThinList { archives } => check_count(archives.len(), "the number of archives"),
            Self::ThinRemove { waste } => check_waste(waste),
            Self::ArchiveTakeOver { .. }
            | Self::Compact { .. }
            | Self::ArchiveList
            | Self::ArchiveNames
            | Self::ArchiveShow { .. }
            | Self::ArchiveForget { .. }
            | Self::ArchiveAcknowledge { .. }
            | Self::Snapshots { .. }
            | Self::Status { .. }
            | Self::Why { .. }
            | Self::History { .. }
            | Self::Unlock { .. }
            | Self::Lock { .. }
            | Self::KeyList { .. }
            | Self::KeyRemove { .. }
            | Self::RecoverySheet { .. }
            | Self::KeyCheck { .. } => Ok(()),
        }
    }

    fn check_verify(&self) -> Result<(), Failure> {
        let Self::Verify {
            volumes,
            session,
            unattended,
            ..
        } = self
        else {
            return Ok(());
        };
        check_unattended(unattended.as_ref())?;
        check_volumes(volumes)?;
        session.as_ref().map_or(Ok(()), check_session)
    }

    /// The same for a command that removes sessions, keeps them, or brings them back.
    fn check_removal(&self) -> Result<(), Failure> {
        match self {
            Self::Prune { volumes, rules, .. } => {
                check_volumes(volumes)?;
                check_rules(rules)
            }
            Self::SessionRemove {
                volume, sessions, ..
            } => {
                check_volume(volume)?;
                check_count(sessions.len(), "the number of sessions")?;
                sessions.iter().try_for_each(check_session)
            }
            Self::VolumeRemove { volume, .. } => check_volume(volume),
            Self::Pin {
                volume, session, ..
            }
            | Self::Undelete {
                volume, session, ..
            } => {
                check_volume(volume)?;
                check_session(session)
            }
            _ => Ok(()),
        }
    }

    /// The same for a command that changes an entry of the catalog.
    fn check_change(&self) -> Result<(), Failure> {
        match self {
            Self::VolumeRename { volume, new, .. } => {
                check_volume(volume)?;
                check_volume(new)?;
                check_not_of_dom0(new)
            }
            Self::VolumeDescribe { volume, text, .. } => {
                check_volume(volume)?;
                check_description(text)
            }
            Self::Tag {
                volume,
                session,
                tags,
                ..
            } => {
                check_volume(volume)?;
                check_session(session)?;
                check_tags(tags)
            }
            _ => Ok(()),
        }
    }

    /// A name that no archive can have is a bad name where a command gives it to an archive, and an
    /// unknown archive elsewhere.
    fn check_archive(&self, archive: &str) -> Result<(), Failure> {
        if is_archive_name(archive) {
            return Ok(());
        }
        Err(match self {
            Self::ArchiveCreate { .. } | Self::ArchiveOpen { .. } => Failure::BadName {
                name: quoted(archive),
            },
            _ => Failure::UnknownArchive {
                archive: quoted(archive),
            },
        })
    }
}

/// Whether an archive may have this name here: 1 to 64 of `A-Z a-z 0-9 . _ -`, beginning with
/// neither `.` nor `-`, and not the 32 hexadecimal digits of an id.
pub fn is_archive_name(name: &str) -> bool {
    let is_id = name.len() == 32
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (1..=ARCHIVE_NAME_MAX_BYTES).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !is_id
}

/// Checks the bounds of the durations in the rules.
fn check_waits(hold_off: HoldOff, minimum_age_secs: u64) -> Result<(), Failure> {
    if minimum_age_secs > HOLD_OFF_MAX.secs {
        return Err(out_of_bounds("the minimum age", "at most 36,525 days"));
    }
    if hold_off.runs <= HOLD_OFF_MAX.runs && hold_off.secs <= HOLD_OFF_MAX.secs {
        Ok(())
    } else {
        let allowed = "at most 65,535 runs and 36,525 days";
        Err(out_of_bounds("the hold-off", allowed))
    }
}

/// Checks the bounds of a session, and of the session or volume that it is compared with.
fn check_compared(
    volume: &str,
    session: &SessionChoice,
    with: &CompareWith,
) -> Result<(), Failure> {
    check_volume(volume)?;
    check_session(session)?;
    match with {
        CompareWith::Session(session) => check_session(session),
        CompareWith::Local => Ok(()),
    }
}

fn check_sources(sources: &[BackupSource]) -> Result<(), Failure> {
    check_count(sources.len(), "the number of sources")?;
    sources.iter().try_for_each(|source| {
        check_volume(&source.volume)?;
        // The configuration names paths.
        match source.configured {
            true => check_not_of_dom0(&source.volume),
            false => Ok(()),
        }
    })
}

/// Refuses the names of dom0's own volumes.
fn check_not_of_dom0(volume: &str) -> Result<(), Failure> {
    match is_of_dom0(volume) {
        false => Ok(()),
        true => Err(out_of_bounds(
            &format!("the name {:?}", quoted(volume)),
            "any that does not begin with dom0:, as dom0's own volumes do",
        )),
    }
}

fn check_qubes(choice: &QubeChoice) -> Result<(), Failure> {
    check_count(choice.qubes.len(), "the number of qubes")?;
    check_count(choice.exclude.len(), "the number of excluded qubes")?;
    check_count(choice.continues.len(), "the number of continued qubes")?;
    let is_known = |word: &str| is_qube_selector(word) || is_system(word);
    let wrong = choice.qubes.iter().find(|word| !is_known(word));
    let wrong = wrong.or_else(|| choice.exclude.iter().find(|word| !is_qube_exclusion(word)));
    let mut continued = choice.continues.iter();
    let wrong = wrong.or_else(|| continued.find(|word| !is_qube_continued(word)));
    match wrong {
        None => Ok(()),
        Some(word) => Err(out_of_bounds(
            &format!("the qube {:?}", quoted(word)),
            "a name, @tag:TAG, @type:CLASS, or @all to take",
        )),
    }
}

fn check_volumes(volumes: &[String]) -> Result<(), Failure> {
    check_count(volumes.len(), "the number of volumes")?;
    volumes.iter().try_for_each(|volume| check_volume(volume))
}

fn check_rules(rules: &PruneRules) -> Result<(), Failure> {
    let volumes = &rules.of_volumes;
    check_count(
        volumes.len(),
        "the number of volumes with rules of their own",
    )?;
    volumes
        .iter()
        .try_for_each(|(volume, _)| check_volume(volume))?;
    let all = volumes.iter().map(|(_, keep)| keep).chain([&rules.keep]);
    let tags: BTreeSet<&String> = all.flat_map(|keep| &keep.tags).collect();
    let fits = |tag: &&String| (1..=TAG_MAX_BYTES).contains(&tag.len());
    if tags.len() > TAG_RULES_MAX || !tags.iter().all(fits) {
        return Err(out_of_bounds(
            "the tags that are kept",
            "at most 64 tags, each of 1 to 64 bytes",
        ));
    }
    Ok(())
}

fn check_count(count: usize, what: &str) -> Result<(), Failure> {
    if count <= ITEMS_MAX {
        Ok(())
    } else {
        Err(out_of_bounds(what, "at most 256 in one command"))
    }
}

/// Names of logical volumes as LVM allows them, and of snapshots that the daemon made in ZFS.
fn check_waste(waste: &[ThinWaste]) -> Result<(), Failure> {
    if waste.len() > THIN_VOLUMES_MAX {
        return Err(out_of_bounds(
            "the number of volumes",
            "at most 100 in one command",
        ));
    }
    let is_named = |waste: &ThinWaste| match waste {
        ThinWaste::Volume(name) => name.is_checked(),
        ThinWaste::MetadataOf(pool) => pool.is_checked(),
    };
    if waste.iter().all(is_named) {
        Ok(())
    } else {
        Err(out_of_bounds(
            "the name of a logical volume or of a ZFS snapshot",
            "GROUP/VOLUME in the characters of LVM, or POOL/DATASET@wyng-…",
        ))
    }
}

fn check_volume(name: &str) -> Result<(), Failure> {
    if (1..=VOLUME_NAME_MAX_BYTES).contains(&name.len()) {
        Ok(())
    } else {
        Err(Failure::BadName { name: quoted(name) })
    }
}

fn check_description(text: &str) -> Result<(), Failure> {
    if text.len() <= DESCRIPTION_MAX_BYTES {
        Ok(())
    } else {
        Err(out_of_bounds("the description", "at most 1000 bytes"))
    }
}

fn check_tags(tags: &[String]) -> Result<(), Failure> {
    check_count(tags.len(), "the number of tags")?;
    tags.iter().try_for_each(|tag| check_word(tag, "a tag"))
}

fn check_store(url: &str) -> Result<(), Failure> {
    let fits = (1..=STORE_MAX_BYTES).contains(&url.len()) && !url.contains(char::is_control);
    if !fits {
        return Err(out_of_bounds(
            "the store's address",
            "1 to 4096 bytes without control characters",
        ));
    }
    match check_store_address(url) {
        // The helper says what it does not understand: another version may know more.
        Ok(()) | Err(StoreMistake::NoStore) => Ok(()),
        Err(StoreMistake::Secret) => Err(Failure::StoreSecret),
    }
}

fn check_session(choice: &SessionChoice) -> Result<(), Failure> {
    match choice {
        SessionChoice::Latest => Ok(()),
        SessionChoice::Prefix(word) | SessionChoice::Tag(word) => check_word(word, "the session"),
    }
}

fn check_word(word: &str, what: &str) -> Result<(), Failure> {
    if word.len() <= WORD_MAX_BYTES {
        Ok(())
    } else {
        Err(out_of_bounds(what, "at most 200 bytes"))
    }
}

fn check_unattended(unattended: Option<&Unattended>) -> Result<(), Failure> {
    unattended.map_or(Ok(()), |timer| check_word(&timer.profile, "the profile"))
}

fn out_of_bounds(setting: &str, allowed: &str) -> Failure {
    Failure::BadSetting {
        setting: setting.to_owned(),
        allowed: allowed.to_owned(),
    }
}

/// The beginning of a name, to be quoted in a failure.
fn quoted(name: &str) -> String {
    let mut quoted: String = name.chars().take(QUOTED_CHARS).collect();
    if quoted.len() < name.len() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, MESSAGE_MAX_BYTES, Via, encode};

    fn create(archive: &str, store_url: &str, via: &str) -> Command {
        Command::ArchiveCreate {
            archive: archive.into(),
            store_url: store_url.into(),
            via: via.parse().unwrap(),
            verify_via: None,
            credentials: false,
            chunk_size_bytes: 1 << 17,
            pack_size_bytes: 1 << 24,
            compression: Compression { zstd_level: 3 },
            hold_off: HoldOff {
                runs: 3,
                secs: 604_800,
            },
            minimum_age_secs: 604_800,
            shared_domain: false,
            kdf_memory_kib: 65_536,
            kdf_passes: 3,
        }
    }

    fn list(archive: &str, volume: &str) -> Command {
        Command::List {
            archive: archive.into(),
            volume: Some(volume.into()),
            session: None,
            sizes: false,
        }
    }

    #[test]
    fn an_ordinary_command_is_within_its_bounds() {
        for command in [
            create("home", "dir:/mnt/disk", "local"),
            list("home", "vm.img"),
            Command::Status {
                archive: None,
                trust_clock: false,
            },
        ] {
            assert_eq!(command.check_bounds(), Ok(()), "{command:?}");
        }
    }

    #[test]
    fn what_is_empty_or_too_long_is_refused_by_its_name() {
        let long = "x".repeat(65_000);
        let code = |command: Command| command.check_bounds().map_err(|failure| failure.code());
        assert_eq!(code(create("home", "", "local")), Err("bad-setting"));
        assert_eq!(code(create("home", &long, "local")), Err("bad-setting"));
        assert_eq!(
            code(create("home", "dir:/a\nb", "local")),
            Err("bad-setting")
        );
        assert_eq!(code(create(&long, "dir:/a", "local")), Err("bad-name"));
        assert_eq!(code(list(&long, "vm.img")), Err("unknown-archive"));
        assert_eq!(code(list("home", &long)), Err("bad-name"));
        let source = BackupSource {
            volume: "vm".into(),
            named: false,
            configured: false,
        };
        let backup = |sources| Command::Backup {
            archive: "home".into(),
            sources,
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
        assert_eq!(code(backup(vec![source.clone(); ITEMS_MAX])), Ok(()));
        assert_eq!(
            code(backup(vec![source; ITEMS_MAX + 1])),
            Err("bad-setting")
        );
        assert_eq!(
            code(Command::Unlock {
                archive: "home".into(),
                secs: u64::MAX
            }),
            Err("bad-setting")
        );
        assert_eq!(
            code(Command::QubesCheck {
                vias: vec![Via::Local; ITEMS_MAX + 1]
            }),
            Err("bad-setting")
        );
    }

    #[test]
    fn a_failure_quotes_no_more_than_the_beginning_of_a_name() {
        let failure = list(&"é".repeat(30_000), "vm.img")
            .check_bounds()
            .unwrap_err();
        assert!(encode(&failure).unwrap().len() < 200, "{failure:?}");
        let longest = create(
            &"a".repeat(ARCHIVE_NAME_MAX_BYTES),
            &"b".repeat(STORE_MAX_BYTES),
            &format!("ssh:{}", "c".repeat(255)),
        );
        assert_eq!(longest.check_bounds(), Ok(()));
        assert!(encode(&longest).unwrap().len() < MESSAGE_MAX_BYTES / 2);
    }

    #[test]
    fn an_archives_name_is_neither_hidden_nor_an_option_nor_an_id() {
        for name in ["home", "a", "A-1_b.c", &"a".repeat(64), &"g".repeat(32)] {
            assert!(is_archive_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "-x",
            ".x",
            "a/b",
            "a b",
            "é",
            &"a".repeat(65),
            &"0".repeat(32),
        ] {
            assert!(!is_archive_name(name), "{name}");
        }
    }
}
