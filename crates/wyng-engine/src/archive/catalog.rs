// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading the catalog from the cache: the volume table, session tables, and the nodes below them.

use wyng_archive::format::{SessionEntry, SessionsTree, VolumeEntry, VolumesTree};
use wyng_control::{Failure, SessionChoice};

use super::known::Archive;
use super::nodes::{CachedNodes, collect, sessions_root, volumes_root};
use crate::state::Origins;
use crate::world::Files;

/// Length of a date such as `2026-11-23`.
const DAY_CHARS: usize = 10;

impl Archive {
    /// What reads nodes of this archive.
    pub fn nodes<'a, F: Files>(&'a mut self, files: &'a mut F) -> CachedNodes<'a, F> {
        CachedNodes {
            files,
            cache: &mut self.cache,
            credential: &self.credential,
        }
    }

    /// All volumes with their numbers, in order.
    pub fn volumes(&mut self, files: &mut impl Files) -> Result<Vec<(u64, VolumeEntry)>, Failure> {
        let root = volumes_root(&self.head);
        collect::<VolumesTree, _>(&root, &mut self.nodes(files))
    }

    /// Where each volume was backed up from, under the name that it has now.
    pub(crate) fn origins(&mut self, files: &mut impl Files) -> Result<Origins, Failure> {
        let volumes = self.volumes(files)?;
        Origins::read_following(files, &self.folder, &volumes)
    }

    /// All sessions of a volume, oldest first. [`Failure::SessionsLost`] if the cache was built
    /// after the volume's session table was lost; other volumes are not affected.
    pub fn sessions(
        &mut self,
        files: &mut impl Files,
        volume: &VolumeEntry,
    ) -> Result<Vec<SessionEntry>, Failure> {
        let sessions = self.numbered_sessions(files, volume)?;
        Ok(sessions.into_iter().map(|(_, session)| session).collect())
    }

    /// The same, each with its index in the session table.
    pub(crate) fn numbered_sessions(
        &mut self,
        files: &mut impl Files,
        volume: &VolumeEntry,
    ) -> Result<Vec<(u64, SessionEntry)>, Failure> {
        match collect::<SessionsTree, _>(&sessions_root(volume), &mut self.nodes(files)) {
            Err(Failure::Missing { .. }) => Err(Failure::SessionsLost {
                volume: volume.name.clone(),
            }),
            sessions => sessions,
        }
    }

    /// All sessions of a volume, oldest first; empty if its session table is lost, which is
    /// reported elsewhere.
    pub fn sessions_at_hand(
        &mut self,
        files: &mut impl Files,
        volume: &VolumeEntry,
    ) -> Result<Vec<SessionEntry>, Failure> {
        match self.sessions(files, volume) {
            Err(Failure::SessionsLost { .. }) => Ok(Vec::new()),
            sessions => sessions,
        }
    }

    /// One session of a volume, by choice. A day means its last session, and a tag the newest
    /// session that has it; any other beginning of a name must match exactly one session.
    pub fn choose(
        &mut self,
        files: &mut impl Files,
        volume: &VolumeEntry,
        choice: &SessionChoice,
    ) -> Result<SessionEntry, Failure> {
        let (_, session) = self.choose_numbered(files, volume, choice)?;
        Ok(session)
    }

    /// The same, with the session's index in the session table.
    pub(crate) fn choose_numbered(
        &mut self,
        files: &mut impl Files,
        volume: &VolumeEntry,
        choice: &SessionChoice,
    ) -> Result<(u64, SessionEntry), Failure> {
        let mut fitting = self.numbered_sessions(files, volume)?;
        let named = match choice {
            SessionChoice::Latest => {
                // An old session never passes for the latest, unless a person asked for an older
                // generation.
                if let Some(behind) = self
                    .is_behind()
                    .filter(|behind| matches!(behind, Failure::NewestDamaged { .. }))
                {
                    return Err(behind);
                }
                fitting.drain(..fitting.len().saturating_sub(1));
                "latest".to_owned()
            }
            SessionChoice::Prefix(prefix) => {
                fitting
                    .retain(|(_, session)| session_name(session.time).starts_with(prefix.as_str()));
                if prefix.len() == DAY_CHARS {
                    fitting.drain(..fitting.len().saturating_sub(1));
                }
                prefix.clone()
            }
            SessionChoice::Tag(tag) => {
                fitting.retain(|(_, session)| session.tags.contains(tag));
                fitting.drain(..fitting.len().saturating_sub(1));
                format!("^{tag}")
            }
        };
        let (count, volume) = (fitting.len() as u64, volume.name.clone());
        match (fitting.pop(), count) {
            (Some(session), 1) => Ok(session),
            (None, _) => Err(Failure::UnknownSession {
                volume,
                session: named,
            }),
            (Some(_), count) => Err(Failure::AmbiguousSession {
                volume,
                session: named,
                count,
            }),
        }
    }
}

/// A session's name, such as `2026-11-23T06:43:10Z`, from its time in seconds since 1970 UTC.
pub(crate) fn session_name(time: i64) -> String {
    jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}

/// How a session is named in a sentence.
#[must_use]
pub(crate) fn volume_and_session(volume: &str, session: &SessionEntry) -> String {
    format!("{volume} {}", session_name(session.time))
}
