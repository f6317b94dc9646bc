// SPDX-License-Identifier: GPL-3.0-or-later
//! What `status` compares with the profiles: is a newest session, or the last verify, too old?

use std::collections::HashMap;

use wyng_config::Config;
use wyng_control::ToClient;

use crate::quantity::session_name;
use crate::report::Message;

/// What the daemon told of the archives, so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    archive: String,
    volume: String,
    /// By archive and volume, seconds since 1970 UTC.
    newest: HashMap<(String, String), i64>,
    /// By archive, the same; 0 for never.
    verified: HashMap<String, i64>,
}

impl Watch {
    /// Sessions follow their volume, and volumes their archive.
    pub(crate) fn hear(&mut self, event: &ToClient) {
        match event {
            ToClient::Archive(archive) => {
                self.archive.clone_from(&archive.name);
                self.verified.insert(archive.name.clone(), archive.verified_time);
            }
            ToClient::Volume(volume) => self.volume.clone_from(&volume.name),
            ToClient::Session(session) => {
                self.newest.insert((self.archive.clone(), self.volume.clone()), session.session);
            }
            _ => {}
        }
    }

    /// What is overdue at `now`, of all profiles, or of those of one archive.
    pub(crate) fn overdue(&self, config: &Config, only: Option<&str>, now: i64) -> Vec<Message> {
        let is_old = |time: Option<i64>, limit_secs: u64| {
            time.is_none_or(|time| now.saturating_sub(time) > i64::try_from(limit_secs).unwrap_or(i64::MAX))
        };
        let mut found = Vec::new();
        for (name, profile) in config.profiles.iter().filter(|(_, profile)| only.is_none_or(|only| only == profile.archive)) {
            for volume in &profile.volumes {
                let newest = self.newest.get(&(profile.archive.clone(), volume.clone())).copied();
                if is_old(newest, profile.backup_overdue_secs) {
                    found.push(Message::of_overdue_backup(name, volume, newest.map(session_name).as_deref()));
                }
            }
            let verified = self.verified.get(&profile.archive).copied().filter(|time| *time > 0);
            if profile.verify_overdue_secs.is_some_and(|limit_secs| is_old(verified, limit_secs)) {
                found.push(Message::of_overdue_verify(name, &profile.archive, verified.map(session_name).as_deref()));
            }
        }
        found
    }
}
