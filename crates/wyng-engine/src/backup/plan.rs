// SPDX-License-Identifier: GPL-3.0-or-later
//! One volume of a run: its source, the sessions that it is compared with, and what was counted. It
//! reads no byte of the source.

use std::collections::HashMap;
use std::sync::Arc;

use wyng_archive::crypto::{Domain, Id};
use wyng_archive::format::{SessionEntry, VolumeEntry, chunk_count};
use wyng_control::{Failure, Method, VolumeReport, path_text};

use super::base::{KnownBase, find_base};
use super::job::Job;
use super::run::Run;
use crate::outcome::internal;
use crate::store::{is_damaged, is_in_cache};
use crate::world::{Parts, SourceShape};

/// A volume while it is backed up.
pub(super) struct VolumeRun {
    /// The number of its source.
    pub item: u32,
    /// The volume's name.
    pub name: String,
    /// What it is compared with.
    pub plan: Plan,
    /// What was read, changed and sealed so far.
    pub counts: Counts,
}

/// Which sessions a volume is compared with, and how its chunks are named.
pub(super) struct Plan {
    /// The volume's number in the volume table.
    pub number: u64,
    /// The volume's entry before this run.
    pub entry: VolumeEntry,
    /// The newest session, if its ids are comparable and its tree is in the cache.
    pub newest: Option<SessionEntry>,
    /// The source's base snapshot, if the changes since cover all that differs from its session.
    pub base: Option<KnownBase>,
    /// The domain in which the chunks are named.
    pub domain: Arc<Domain>,
    /// Bytes in each chunk except for the last one.
    pub chunk_size: usize,
    /// The size of the source.
    pub size_bytes: u64,
    /// The path by which the source was opened.
    pub path: Vec<u8>,
}

/// Bytes of one volume.
#[derive(Default)]
pub(super) struct Counts {
    /// Read of the source.
    pub read_bytes: u64,
    /// Read to check chunks that are said to be unchanged.
    pub sampled_bytes: u64,
    /// In chunks that differ from the base.
    pub changed_bytes: u64,
    /// Sealed records that were put into packs.
    pub sealed_bytes: u64,
}

impl Counts {
    /// Adds to the bytes read.
    pub(super) fn add_read(&mut self, bytes: usize) {
        self.read_bytes = self.read_bytes.saturating_add(bytes as u64);
    }

    /// Adds to the bytes in changed chunks.
    pub(super) fn add_changed(&mut self, bytes: usize) {
        self.changed_bytes = self.changed_bytes.saturating_add(bytes as u64);
    }

    /// Adds to the bytes of sealed records.
    pub(super) fn add_sealed(&mut self, bytes: usize) {
        self.sealed_bytes = self.sealed_bytes.saturating_add(bytes as u64);
    }
}

impl VolumeRun {
    /// Number of chunks in the volume.
    pub(super) fn chunk_count(&self) -> u64 {
        chunk_count(self.plan.size_bytes, self.plan.entry.chunk_size_bytes)
    }

    /// Whether the newest session has just this tree and this size.
    pub(super) fn is_unchanged(&self, root: Id) -> bool {
        let newest = self.plan.newest.as_ref();
        newest.is_some_and(|newest| newest.root == root)
            && self.plan.entry.size_bytes == self.plan.size_bytes
    }

    /// The volume's report, for a session named `session` if there is one.
    pub(super) fn report(
        &self,
        shape: &SourceShape,
        session: Option<i64>,
        method: Method,
        cpu_micros: u64,
    ) -> VolumeReport {
        VolumeReport {
            name: self.name.clone(),
            session,
            method,
            snapshot: shape.snapshot,
            whole: None,
            mounted_at: shape
                .found
                .mounted_at
                .as_deref()
                .filter(|_| !shape.snapshot)
                .map(path_text),
            read_bytes: self.counts.read_bytes,
            sampled_bytes: self.counts.sampled_bytes,
            changed_bytes: self.counts.changed_bytes,
            sent_bytes: self.counts.sealed_bytes,
            cpu_micros,
        }
    }
}

/// Chooses what the volume is compared with: its newest session if the ids are comparable, and the
/// session of its base snapshot.
pub(super) fn plan<P: Parts>(
    run: &mut Run<'_, P>,
    number: u64,
    mut entry: VolumeEntry,
    shape: &SourceShape,
) -> Result<Plan, Failure> {
    let Job { world, archive, .. } = &mut run.job;
    let files = &mut world.files;
    let sessions = match archive.sessions(files, &entry) {
        // The numbers of lost sessions are not given again; only the session table begins anew.
        Err(Failure::SessionsLost { .. }) if run.heal => {
            entry.sessions_root = Id::ZERO;
            Vec::new()
        }
        sessions => sessions?,
    };
    let comparable = |session: &&SessionEntry| {
        session.domain == entry.domain && session.chunk_size_bytes == entry.chunk_size_bytes
    };
    let newest = match sessions.last().filter(comparable).cloned() {
        Some(newest) if is_in_cache(files, archive, &newest)? => Some(newest),
        _ => None,
    };
    // What only lost packs hold is sent again, so all of the volume is read then.
    let like = (entry.domain, entry.chunk_size_bytes);
    let base = match find_base(files, archive, &entry, shape.base, like)? {
        Some(base) if is_in_cache(files, archive, &base.session)? => {
            let damaged = is_damaged(files, archive, &base.session, &mut HashMap::new())?;
            (!damaged).then_some(base)
        }
        _ => None,
    };
    Ok(Plan {
        number,
        newest,
        base,
        domain: Arc::new(archive.credential.domain(entry.domain)),
        chunk_size: usize::try_from(entry.chunk_size_bytes)
            .map_err(|_| internal("a chunk is larger than this machine can address"))?,
        entry,
        size_bytes: shape.size_bytes,
        path: shape.found.origin.path.clone(),
    })
}
