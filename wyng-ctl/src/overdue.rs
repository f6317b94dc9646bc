// SPDX-License-Identifier: GPL-3.0-or-later
//! What `status` compares with the configuration: the ages of the newest sessions and of the last
//! successes, and free space, as the daemon reports them.

use std::collections::HashMap;

use wyng_config::{Config, Profile, STATE_FREE_BYTES, Warn};
use wyng_control::{ArchiveAges, ToClient};

use crate::clock::Clock;
use crate::dom0;
use crate::message::{Message, Success, Verified};

/// What has settings and is no qube.
const DOM0: &str = "dom0";
/// The ending of the volumes that hold settings of qubes.
const SETTINGS: &str = ":settings";

/// What the daemon has reported of the archives so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    archive: String,
    volume: String,
    /// Newest session of each archive and volume: its time, seconds since 1970 UTC, and its age,
    /// seconds; no age: it is dated ahead of now.
    newest: HashMap<(String, String), (i64, Option<u64>)>,
    /// Last successes of each archive.
    ages: HashMap<String, ArchiveAges>,
}

/// Something overdue or nearly full, and the archive that it is about, if it is about one.
pub(crate) struct Overdue {
    pub(crate) archive: Option<String>,
    pub(crate) message: Message,
}

impl Watch {
    /// Takes one result. Sessions follow their volume, and volumes their archive.
    pub(crate) fn hear(&mut self, event: &ToClient) {
        let newest = || (self.archive.clone(), self.volume.clone());
        match event {
            ToClient::Archive(archive) => self.archive.clone_from(&archive.name),
            ToClient::Ages(ages) => {
                self.ages.insert(self.archive.clone(), *ages);
            }
            ToClient::Volume(volume) => self.volume.clone_from(&volume.name),
            ToClient::Session(session) => {
                self.newest
                    .insert(newest(), (session.session, session.age_secs));
            }
            _ => {}
        }
    }

    /// Everything overdue or nearly full in all archives and profiles, or in one archive and its
    /// profiles. A time ahead of the clock counts as overdue, because its age is unknown.
    pub(crate) fn overdue(
        &self,
        config: &Config,
        only: Option<&str>,
        clock: &Clock,
    ) -> Vec<Overdue> {
        let is_asked = |archive: &str| only.is_none_or(|only| only == archive);
        let of_archives = config
            .archives
            .iter()
            .filter(|(name, _)| is_asked(name))
            .flat_map(|(name, archive)| self.overdue_archive(name, &archive.warn, clock));
        let of_profiles = config
            .profiles
            .iter()
            .flat_map(|(name, profile)| {
                let archives = profile.archives.iter().filter(|archive| is_asked(archive));
                archives.map(move |archive| (name, archive, profile))
            })
            .flat_map(|(name, archive, profile)| {
                self.overdue_profile(name, archive, profile, clock)
            });
        let mut found: Vec<Overdue> = of_archives.chain(of_profiles).collect();
        found.extend(self.full_state(config));
        found
    }

    /// The state directory, if it is nearly full. All archives share it, so the highest limit
    /// counts; archives that the configuration does not have count with the default.
    fn full_state(&self, config: &Config) -> Option<Overdue> {
        let limit = |name: &String| {
            let warn = config.archives.get(name).map(|archive| archive.warn);
            warn.and_then(|warn| warn.state_free_bytes)
                .unwrap_or(STATE_FREE_BYTES)
        };
        let limit = self.ages.keys().map(limit).max()?;
        let free = self.ages.values().filter_map(|ages| ages.state_free_bytes);
        let free = free.min().filter(|free| *free < limit)?;
        Some(Overdue {
            archive: None,
            message: Message::of_full_state(free, limit),
        })
    }

    /// Everything overdue or nearly full by `[archives.NAME.warn]`. An archive that is not known
    /// here has no ages. A store whose free space is not known is not taken for full.
    fn overdue_archive(&self, name: &str, warn: &Warn, clock: &Clock) -> Vec<Overdue> {
        let Some(ages) = self.ages.get(name) else {
            return Vec::new();
        };
        let of = |success, age: Option<u64>, limit: Option<u64>| {
            let limit = limit.filter(|limit| age.is_none_or(|age| age > *limit))?;
            Some(Message::of_overdue_archive(success, name, age, limit))
        };
        let room = || {
            let limit = warn.store_free_bytes?;
            let free = ages.store_free_bytes.filter(|free| *free < limit)?;
            let noted = (ages.store_free_time, clock);
            Some(Message::of_full_store(name, free, noted, limit))
        };
        [
            of(Success::Backup, ages.backup_secs, warn.backup_secs),
            of(Success::Verify, ages.verify_secs, warn.verify_secs),
            of(Success::KeyProof, ages.key_proof_secs, warn.key_proof_secs),
            of(Success::Prune, ages.prune_secs, warn.prune_secs),
            of(Success::Rehearsal, ages.rehearsal_secs, warn.rehearsal_secs),
            room(),
        ]
        .into_iter()
        .flatten()
        .map(|message| Overdue {
            archive: Some(name.to_owned()),
            message,
        })
        .collect()
    }

    /// The qubes that a profile names, each by its settings, of which every backup of it makes a
    /// session; for the words that stand for several, the newest settings of all.
    fn overdue_qubes(&self, name: &str, archive: &str, profile: &Profile) -> Vec<Message> {
        let limit_secs = profile.backup_overdue_secs;
        let words = profile.qubes.qubes.iter();
        words
            .filter_map(|word| {
                let is_it = |qube: &str| {
                    let number = qube.strip_prefix(word.as_str());
                    word.starts_with('@')
                        || number.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
                };
                let ages = self.newest.iter().filter_map(|((of, volume), (_, age))| {
                    let qube = volume.strip_suffix(SETTINGS)?;
                    // The settings of the whole system are no qube's.
                    let qube = Some(qube).filter(|qube| *qube != DOM0)?;
                    (of == archive && is_it(qube)).then_some(*age)?
                });
                let age = ages.min();
                let volume = format!("{word}{SETTINGS}");
                age.is_none_or(|age| age > limit_secs)
                    .then(|| Message::of_overdue_backup(name, &volume, age, limit_secs))
            })
            .collect()
    }

    fn overdue_profile(
        &self,
        name: &str,
        archive: &str,
        profile: &Profile,
        clock: &Clock,
    ) -> Vec<Overdue> {
        let mut found = Vec::new();
        let of_dom0 = profile.dom0.then(|| dom0::VOLUME.to_owned());
        for volume in profile.volumes.iter().chain(&of_dom0) {
            let limit_secs = profile.backup_overdue_secs;
            let newest = self.newest.get(&(archive.to_owned(), volume.clone()));
            match newest.copied() {
                Some((newest, None)) => {
                    found.push(Message::of_session_ahead(name, volume, newest, clock));
                }
                Some((_, Some(age))) if age <= limit_secs => {}
                newest => {
                    let age = newest.and_then(|(_, age)| age);
                    found.push(Message::of_overdue_backup(name, volume, age, limit_secs));
                }
            }
        }
        found.extend(self.overdue_qubes(name, archive, profile));
        let ages = self.ages.get(archive);
        let (time, age) = ages.map_or((0, None), |ages| (ages.last_verify_time, ages.verify_secs));
        match profile.verify_overdue_secs {
            Some(limit_secs) if age.is_none_or(|age| age > limit_secs) => {
                let verified = if time > 0 {
                    Verified::At(age)
                } else {
                    Verified::Never
                };
                found.push(Message::of_overdue_verify(
                    name, archive, verified, limit_secs,
                ));
            }
            _ => {}
        }
        let of_archive = |message| Overdue {
            archive: Some(archive.to_owned()),
            message,
        };
        found.into_iter().map(of_archive).collect()
    }
}
