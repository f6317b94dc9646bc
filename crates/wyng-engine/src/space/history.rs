// SPDX-License-Identifier: GPL-3.0-or-later
//! A session that was removed, as an earlier commit has it. Commits come from this machine's
//! ledger, or from the store; nodes come from the cache, which keeps those of packs that were given
//! up.

use std::collections::BTreeSet;

use wyng_archive::crypto::Coder;
use wyng_archive::format::{
    Commit, SessionEntry, SessionsTree, Stamp, VolumeEntry, VolumeId, VolumesTree,
};
use wyng_control::{Failure, SessionChoice};

use crate::archive::{Archive, collect, open_commit, session_name, sessions_root, volumes_root};
use crate::cache::PacksAtHand;
use crate::state::KnownCommit;
use crate::store::read_commit;
use crate::world::{Client, Files, Store};

/// A removed session.
pub(super) struct Removed {
    /// The volume's number in the volume table.
    pub volume_number: u64,
    /// The volume's entry as it was.
    pub volume: VolumeEntry,
    /// The session's index in the session table.
    pub number: u64,
    /// Its entry.
    pub session: SessionEntry,
    /// Point in time of the commit that removed it.
    pub removed: Stamp,
}

/// Walks back from the head to the newest commit that has the session, no further than the commits
/// that `is_over` accepts as too old.
pub(super) struct Walk<'a> {
    /// The archive, whose index is opened to packs that were given up.
    pub archive: &'a mut Archive,
    /// A fetch is open, so that older commits can be read.
    pub may_fetch: bool,
    /// The sessions that the head has, by their volumes and indices: they were not removed.
    pub present: &'a BTreeSet<(VolumeId, u64)>,
}

impl Walk<'_> {
    /// The newest removed session of this volume that fits, as the newest commit has it that has
    /// any. [`Failure::UnknownSession`] if no commit that can be read has one.
    pub(super) fn find(
        &mut self,
        files: &mut impl Files,
        store: &mut impl Store,
        client: &mut impl Client,
        volume: &str,
        choice: &SessionChoice,
    ) -> Result<Removed, Failure> {
        // Nodes are found whatever became of their packs.
        self.archive.cache.index.set_packs(PacksAtHand::default());
        let mut later = self.archive.head.clone();
        let mut knows_volume = false;
        while let Some(commit) = self.before(store, &later)? {
            if client.cancelled() {
                return Err(Failure::Interrupted);
            }
            let mut found = self.look(files, &commit, volume, choice)?;
            knows_volume |= found.is_some();
            if let Some(Some((volume_number, entry, number, session))) = found.take() {
                return Ok(Removed {
                    volume_number,
                    volume: entry,
                    number,
                    session,
                    removed: later.stamp.stamp,
                });
            }
            later = commit;
        }
        let volume = volume.to_owned();
        Err(if knows_volume {
            let session = choice.to_string();
            Failure::UnknownSession { volume, session }
        } else {
            Failure::UnknownVolume { volume }
        })
    }

    /// The commit before this one; `None` if there is none, or if it cannot be read.
    fn before(
        &mut self,
        store: &mut impl Store,
        later: &Commit,
    ) -> Result<Option<Commit>, Failure> {
        let Some(generation) = later.generation.checked_sub(1).filter(|before| *before > 0) else {
            return Ok(None);
        };
        let archive = &mut *self.archive;
        let mut coder = Coder::new(0).map_err(|_| Failure::OutOfMemory)?;
        let hash = later.previous;
        let known = archive.ledger.known(generation);
        if let Some(known) = known.filter(|known| known.hash() == hash) {
            return open_commit(&archive.credential, &mut coder, known).map(Some);
        }
        if !self.may_fetch {
            return Ok(None);
        }
        let credential = &archive.credential;
        let copies = read_commit(store, credential, &mut coder, generation, Some(&hash))?;
        let mut found = copies.sound.into_iter().map(|(_, found)| found);
        let fits = |known: &KnownCommit| known.hash() == hash;
        Ok(found
            .find(|found| fits(&found.known))
            .map(|found| found.commit))
    }

    /// The session in one commit: `None` if it does not have the volume, or if its nodes are not
    /// here any more.
    #[expect(
        clippy::type_complexity,
        reason = "a volume, and perhaps a session of it"
    )]
    fn look(
        &mut self,
        files: &mut impl Files,
        commit: &Commit,
        name: &str,
        choice: &SessionChoice,
    ) -> Result<Option<Option<(u64, VolumeEntry, u64, SessionEntry)>>, Failure> {
        let mut nodes = self.archive.nodes(files);
        let volumes = match collect::<VolumesTree, _>(&volumes_root(commit), &mut nodes) {
            Err(Failure::Missing { .. } | Failure::CacheLost) => return Ok(None),
            volumes => volumes?,
        };
        let named = volumes.into_iter().find(|(_, volume)| volume.name == name);
        let Some((volume_number, volume)) = named else {
            return Ok(None);
        };
        let root = sessions_root(&volume);
        let sessions = match collect::<SessionsTree, _>(&root, &mut nodes) {
            Err(Failure::Missing { .. } | Failure::CacheLost) => return Ok(None),
            sessions => sessions?,
        };
        let fits = |session: &SessionEntry| match choice {
            SessionChoice::Latest => true,
            SessionChoice::Prefix(prefix) => {
                session_name(session.time).starts_with(prefix.as_str())
            }
            SessionChoice::Tag(tag) => session.tags.contains(tag),
        };
        let is_removed = |number: u64| !self.present.contains(&(volume.id, number));
        let found = sessions
            .into_iter()
            .filter(|(number, session)| is_removed(*number) && fits(session));
        let newest = found.max_by_key(|(number, _)| *number);
        Ok(Some(newest.map(|(number, session)| {
            (volume_number, volume, number, session)
        })))
    }
}
