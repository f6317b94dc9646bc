// SPDX-License-Identifier: GPL-3.0-or-later
//! What `status` compares with the profiles: the ages of the newest sessions and of the last
//! verify. The daemon gives them by both of its clocks; the clock of this program is only shown.

use std::collections::HashMap;

use wyng_config::Config;
use wyng_control::ToClient;

use crate::clock::{Clock, Done};
use crate::message::Message;

/// What the daemon has reported of the archives so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    archive: String,
    volume: String,
    /// Newest session of each archive and volume.
    newest: HashMap<(String, String), Done>,
    /// Last complete verify of each archive.
    verified: HashMap<String, Done>,
}

impl Watch {
    /// Takes one result. Sessions follow their volume, and volumes their archive.
    pub(crate) fn hear(&mut self, event: &ToClient) {
        match event {
            ToClient::Archive(archive) => {
                self.archive.clone_from(&archive.name);
                if archive.verified_time > 0 {
                    let done = Done {
                        time: archive.verified_time,
                        age_secs: archive.verified_age_secs,
                    };
                    self.verified.insert(archive.name.clone(), done);
                }
            }
            ToClient::Volume(volume) => self.volume.clone_from(&volume.name),
            ToClient::Session(session) => {
                let done = Done {
                    time: session.session,
                    age_secs: session.age_secs,
                };
                self.newest
                    .insert((self.archive.clone(), self.volume.clone()), done);
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
                let newest = self.newest.get(&(profile.archive.clone(), volume.clone()));
                match newest {
                    Some(newest) if newest.age_secs.is_none() => {
                        found.push(Message::of_session_ahead(name, volume, newest.time, clock));
                    }
                    Some(newest) if !newest.is_over(limit_secs) => {}
                    newest => {
                        found.push(Message::of_overdue_backup(name, volume, newest, limit_secs));
                    }
                }
            }
            let verified = self.verified.get(&profile.archive);
            match profile.verify_overdue_secs {
                Some(limit_secs) if verified.is_none_or(|done| done.is_over(limit_secs)) => {
                    let (archive, verified) = (&profile.archive, verified);
                    found.push(Message::of_overdue_verify(
                        name, archive, verified, limit_secs,
                    ));
                }
                _ => {}
            }
        }
        found
    }
}
