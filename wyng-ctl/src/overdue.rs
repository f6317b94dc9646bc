// SPDX-License-Identifier: GPL-3.0-or-later
//! What `status` compares with the profiles: the ages of the newest sessions and of the last
//! verify.

use std::collections::HashMap;

use wyng_config::Config;
use wyng_control::ToClient;

use crate::clock::Clock;
use crate::message::Message;

/// What the daemon has reported of the archives so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    archive: String,
    volume: String,
    /// Newest session of each archive and volume, seconds since 1970 UTC.
    newest: HashMap<(String, String), i64>,
    /// Last complete verify of each archive, seconds since 1970 UTC; 0: never.
    verified: HashMap<String, i64>,
}

impl Watch {
    /// Takes one result. Sessions follow their volume, and volumes their archive.
    pub(crate) fn hear(&mut self, event: &ToClient) {
        match event {
            ToClient::Archive(archive) => {
                self.archive.clone_from(&archive.name);
                self.verified
                    .insert(archive.name.clone(), archive.verified_time);
            }
            ToClient::Volume(volume) => self.volume.clone_from(&volume.name),
            ToClient::Session(session) => {
                self.newest
                    .insert((self.archive.clone(), self.volume.clone()), session.session);
            }
            _ => {}
        }
    }

    /// What is overdue in all profiles, or in those of one archive. A time ahead of the clock
    /// counts as overdue, because its age is unknown.
    pub(crate) fn overdue(
        &self,
        config: &Config,
        only: Option<&str>,
        clock: &Clock,
    ) -> Vec<Message> {
        let mut found = Vec::new();
        for (name, profile) in config
            .profiles
            .iter()
            .filter(|(_, profile)| only.is_none_or(|only| only == profile.archive))
        {
            for volume in &profile.volumes {
                let limit_secs = profile.backup_overdue_secs;
                match self
                    .newest
                    .get(&(profile.archive.clone(), volume.clone()))
                    .copied()
                {
                    Some(newest) if clock.is_ahead(newest) => {
                        found.push(Message::of_session_ahead(name, volume, newest, clock))
                    }
                    newest if clock.is_older(newest, limit_secs) => {
                        found.push(Message::of_overdue_backup(
                            name, volume, newest, limit_secs, clock,
                        ));
                    }
                    _ => {}
                }
            }
            let verified = self
                .verified
                .get(&profile.archive)
                .copied()
                .filter(|time| *time > 0);
            match profile.verify_overdue_secs {
                Some(limit_secs)
                    if verified.is_some_and(|time| clock.is_ahead(time))
                        || clock.is_older(verified, limit_secs) =>
                {
                    found.push(Message::of_overdue_verify(
                        name,
                        &profile.archive,
                        verified,
                        limit_secs,
                        clock,
                    ));
                }
                _ => {}
            }
        }
        found
    }
}
