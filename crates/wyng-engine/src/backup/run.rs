// SPDX-License-Identifier: GPL-3.0-or-later
//! What a run has added to its archive and not committed yet, and the commits that make it true. It
//! reads no source.

use std::collections::BTreeSet;
use std::sync::Arc;

use wyng_archive::crypto::{Id, SessionKey};
use wyng_archive::format::{VolumeEntry, VolumeId};
use wyng_control::{BaseLabel, BaseOf, Failure, Phase, Progress, ToClient, VolumeReport};

use super::budget::{Budget, Charged};
use super::job::Job;
use super::keys::RunKeys;
use super::known_volumes::KnownVolumes;
use super::qubes::RunSource;
use super::request::BackupRequest;
use crate::kept::kept_now;
use crate::space::is_run_due;
use crate::state::{Origins, SavedDelta};
use crate::store::{
    Changes, CommitPoint, EditedVolume, FinishedVolume, PackChanges, Packer, commit, plan_healing,
    rewrite_metadata,
};
use crate::world::{Client, Clock, Parts, Volumes};

/// Minimum bytes of a pack for each new entry of the pack table. With more entries a commit's nodes
/// of that table would fill more than half of their pack.
const PACK_BYTES_AN_ENTRY: u32 = 256;

/// A run between its begin and its last commit.
pub(super) struct Run<'w, P: Parts> {
    /// The world, the archive and the workers.
    pub job: Job<'w, P>,
    /// Reads and counts only; nothing is sealed, sent or written.
    pub dry_run: bool,
    /// Also replaces what a verify found damaged and held back.
    pub heal: bool,
    /// The name of every session of this run, seconds since 1970 UTC.
    pub time: i64,
    /// The chain's kept clock at the run's start, seconds.
    pub kept_secs: u64,
    /// Puts records into packs and sends them.
    pub packer: Packer<P>,
    /// The volumes of the archive, and the volumes that this run began.
    pub volumes: KnownVolumes,
    /// Where volumes were backed up from.
    pub origins: Origins,
    /// Budgets of the volumes, if there is a limit.
    budget: Option<Budget>,
    /// Number of full packs between two commits.
    packs_a_commit: usize,
    keys: RunKeys,
    finished: Vec<Finished>,
    /// All volumes of renamed qubes under their new names. They go into one commit: a part that
    /// cannot be read must not keep the old name, as if it were another qube's.
    renamed: Vec<EditedVolume>,
    /// Packs that are to be marked lost, or live again.
    healing: PackChanges,
}

/// A volume whose session waits for its commit.
pub(super) struct Finished {
    /// The session, and the volume's entry before it.
    pub volume: FinishedVolume,
    /// Sent to the client once the session is committed.
    pub report: VolumeReport,
    /// The number of the source, if it is a snapshot that can become the base.
    pub snapshot: Option<u32>,
}

/// The first second from `now` on that no session has: the name of a session is unique in its
/// volume.
fn free_time(now: i64, taken: &BTreeSet<i64>) -> i64 {
    let mut time = now;
    for taken in taken.range(now..) {
        if *taken > time {
            break;
        }
        time = time.saturating_add(1);
    }
    time
}

impl<'w, P: Parts> Run<'w, P> {
    /// Begins where the archive's head and an interrupted run left off.
    pub(super) fn begin(
        job: Job<'w, P>,
        request: &BackupRequest,
        sources: &[RunSource],
    ) -> Result<Self, Failure> {
        let Job {
            world,
            mut archive,
            pool,
        } = job;
        let committed = archive.volumes(&mut world.files)?;
        let kept_secs = kept_now(&mut world.files, &mut world.clock, &mut archive)?;
        let mut times = BTreeSet::new();
        let is_asked = |name: &str| sources.iter().any(|source| source.known_as() == name);
        for (_, volume) in committed
            .iter()
            .filter(|(_, volume)| is_asked(&volume.name))
        {
            let sessions = archive.sessions_at_hand(&mut world.files, volume)?;
            times.extend(sessions.iter().map(|session| session.time));
        }
        let time = free_time(world.clock.wall_secs(), &times);
        let origins = Origins::read_following(&mut world.files, &archive.folder, &committed)?;
        let renamed = match request.dry_run {
            true => Vec::new(),
            false => renamed(&committed, sources),
        };
        let volumes = KnownVolumes::after(&mut archive, committed);
        let left = std::mem::take(&mut archive.uncommitted);
        let budget = request.max_new_bytes.filter(|_| !request.dry_run);
        let budget = budget
            .map(|limit| Budget::begin(&mut world.files, &archive.folder, limit, kept_secs))
            .transpose()?;
        Ok(Self {
            budget,
            dry_run: request.dry_run,
            heal: request.heal,
            time,
            kept_secs,
            packer: Packer::after(&archive, left.packs),
            volumes,
            origins,
            packs_a_commit: packs_a_commit(
                archive.head.settings.pack_size_bytes,
                request.commit_after_bytes,
            ),
            keys: RunKeys::after(left.keys, request.heal),
            finished: Vec::new(),
            renamed,
            healing: PackChanges::default(),
            job: Job {
                world,
                archive,
                pool,
            },
        })
    }

    /// Writes the metadata of lost packs again, from the cache. The chunks of lost packs are sent
    /// again later, where the sources still have them.
    pub(super) fn heal_metadata(&mut self) -> Result<(), Failure> {
        if self.dry_run {
            return Ok(());
        }
        let Job {
            world,
            archive,
            pool,
        } = &mut self.job;
        self.healing = plan_healing(&mut world.files, archive)?;
        if self.healing.mark_any_lost() {
            rewrite_metadata(world, archive, pool, &mut self.packer)?;
        }
        Ok(())
    }

    /// The session key to seal with. A new volume is journaled first, and that packs are sent for
    /// the volume from now on.
    pub(super) fn begin_sealing(&mut self, volume: VolumeId) -> Result<Arc<SessionKey>, Failure> {
        let first_pack = self.packer.filling();
        let Job { world, archive, .. } = &mut self.job;
        self.volumes.note_begun(&mut world.files, archive)?;
        archive.note_sending(&mut world.files, volume, first_pack)?;
        self.keys.current(&mut self.job)
    }

    /// Counts a record before it is sent: [`Failure::OverBudget`] if its volume may send no more in
    /// this day. The volume then gets no session, and the next run knows the records that it sent.
    pub(super) fn charge(
        &mut self,
        (volume, name): (VolumeId, &str),
        id: &Id,
        bytes: usize,
    ) -> Result<(), Failure> {
        let Some(budget) = &mut self.budget else {
            return Ok(());
        };
        let Job { world, archive, .. } = &mut self.job;
        let heals = archive.cache.index.find(&mut world.files, id)?.is_some();
        let record = Charged {
            volume,
            bytes: bytes as u64,
            heals,
        };
        budget
            .charge(&mut world.files, &archive.folder, &record)?
            .map_err(|over| Failure::OverBudget {
                volume: name.to_owned(),
                limit_bytes: budget.max_new_bytes(),
                left_secs: over.left_secs,
            })
    }

    /// Stores the bytes that the volume has sent, once it was read.
    pub(super) fn settle_budget(&mut self) -> Result<(), Failure> {
        let Job { world, archive, .. } = &mut self.job;
        match &mut self.budget {
            Some(budget) => budget.settle(&mut world.files, &archive.folder),
            None => Ok(()),
        }
    }

    /// Takes in a session that waits for its commit.
    pub(super) fn add_session(&mut self, finished: Finished) {
        self.volumes.note_finished(finished.volume.number);
        self.finished.push(finished);
    }

    /// Whether so many packs are full that a commit is due; never in a dry run, although an earlier
    /// run may have left full packs behind.
    pub(super) fn is_commit_due(&self) -> bool {
        !self.dry_run && self.packer.closed_count() >= self.packs_a_commit
    }

    /// Commits everything so far within the run.
    pub(super) fn commit_midway(&mut self) -> Result<(), Failure> {
        self.commit(PackChanges::default(), CommitPoint::MidRun)
    }

    /// Makes the last commit, and gives the number of bytes of packs that the run sent. A run
    /// without a finished volume and without remains of an interrupted run commits nothing.
    pub(super) fn finish(&mut self) -> Result<u64, Failure> {
        let replaces_keys = self.heal && !self.job.archive.lost_keys.nodes.is_empty();
        let nothing = self.finished.is_empty()
            && self.renamed.is_empty()
            && self.packer.closed_count() == 0
            && self.keys.all_committed()
            && !replaces_keys;
        let mut healing = std::mem::take(&mut self.healing);
        if !healing.is_empty() {
            // What heals is in the archive before any pack is marked. The pack table may change in
            // more places than one tail has room for.
            self.commit_midway()?;
            while !healing.is_empty() {
                let part = healing.take_part(&self.job.archive.head);
                let point = if healing.is_empty() {
                    CommitPoint::EndOfRun
                } else {
                    CommitPoint::MidRun
                };
                self.commit(part, point)?;
            }
        } else if !self.dry_run && (!nothing || self.is_run_due()?) {
            self.commit(healing, CommitPoint::EndOfRun)?;
        }
        if !self.dry_run {
            self.write_origins()?; // of volumes that did not change
        }
        Ok(self.packer.sent_bytes())
    }

    /// Whether a pack that was given up waits for runs, and this run would count.
    fn is_run_due(&mut self) -> Result<bool, Failure> {
        let Job { world, archive, .. } = &mut self.job;
        is_run_due(world, archive)
    }

    fn commit(&mut self, packs: PackChanges, point: CommitPoint) -> Result<(), Failure> {
        let sent_bytes = self.packer.sent_bytes();
        self.job.world.client.progress(Progress {
            phase: Phase::Committing,
            volume: None,
            done_bytes: 0,
            total_bytes: 0,
            sent_bytes,
        });
        // Before the sessions: a session must not exist without its volume's origin, nor a base
        // snapshot without a record of it.
        self.write_origins()?;
        let done = std::mem::take(&mut self.finished);
        let changes = Changes {
            edited: std::mem::take(&mut self.renamed),
            begun: self.volumes.take_begun(),
            finished: done.iter().map(|done| done.volume.clone()).collect(),
            keys: self.keys.take_uncommitted(),
            replaces_lost_keys: self.heal,
            packs,
            point,
            ..Changes::default()
        };
        let Job {
            world,
            archive,
            pool,
        } = &mut self.job;
        commit(world, archive, pool, &mut self.packer, changes)?;
        // From here on these sessions are true. Only now are they reported, and only now do their
        // sources become the bases of the next run.
        done.into_iter().try_for_each(|done| self.settle(done))
    }

    /// Reports a committed session, and makes its source the base of the next run.
    fn settle(&mut self, done: Finished) -> Result<(), Failure> {
        let FinishedVolume { entry, session, .. } = done.volume;
        let Job { world, archive, .. } = &mut self.job;
        world.client.tell(ToClient::BackedUp(done.report))?;
        let Some(item) = done.snapshot else {
            return Ok(());
        };
        let label = BaseLabel {
            of: BaseOf {
                archive: archive.folder.id().0,
                volume: entry.id.0,
            },
            generation: archive.head.generation,
            session: session.time,
            root: session.root.0,
        };
        if world.volumes.rotate(item, &label)? {
            SavedDelta::remove_others(&mut world.files, &archive.folder, &label)?;
        }
        Ok(())
    }

    fn write_origins(&mut self) -> Result<(), Failure> {
        let Job { world, archive, .. } = &mut self.job;
        self.origins.write(&mut world.files, &archive.folder)
    }
}

/// The volumes of the archive that get other names with this run.
fn renamed(committed: &[(u64, VolumeEntry)], sources: &[RunSource]) -> Vec<EditedVolume> {
    let entry_of = |source: &RunSource| {
        let former = source.former.as_deref()?;
        let mut volumes = committed.iter();
        let (number, entry) = volumes.find(|(_, entry)| entry.name == former)?;
        let entry = VolumeEntry {
            name: source.volume.clone(),
            ..entry.clone()
        };
        Some(EditedVolume::entry_only(*number, entry))
    };
    sources.iter().filter_map(entry_of).collect()
}

/// Number of full packs between two commits: fixed, whatever the packs hold.
fn packs_a_commit(pack_size_bytes: u32, commit_after_bytes: u64) -> usize {
    let wanted = commit_after_bytes
        .div_ceil(u64::from(pack_size_bytes))
        .max(1);
    usize::try_from(wanted.min(u64::from(pack_size_bytes / PACK_BYTES_AN_ENTRY)))
        .unwrap_or(usize::MAX)
}
