// SPDX-License-Identifier: GPL-3.0-or-later
//! One run: each source is read, cut and named; what is not known is compressed, sealed and packed;
//! at the end stands one commit.
//!
//! Nothing is read back: ids, nodes and the last state come from the cache, and the store answers
//! with receipts only.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::{
    Credential, Domain, DomainId, Entropy, Id, NonceSeed, SealError, Secret, SessionKey,
};
use wyng_archive::format::{
    ArchiveSettings, KeyEntry, SessionEntry, VolumeEntry, VolumeId, chunk_count, is_volume_name,
};
use wyng_archive::plan::Root;
use wyng_control::{
    BackupSource, BaseLabel, BaseOf, ExitStatus, Failure, Method, Phase, Progress, ToClient,
    VolumeReport, path_text,
};
use wyng_wire::Service;

use super::base::{KnownBase, find_base};
use super::sample::Samples;
use super::source::{Base, BaseWalk, Batch, BatchReader, refuse_empty};
use crate::archive::Archive;
use crate::naming::name_chunks;
use crate::outcome::{exit_of, internal, is_of_one_source};
use crate::pool::{Pool, Ticket};
use crate::state::{JournalKey, JournalVolume, Origins, Said, SavedDelta};
use crate::store::{
    Changes, ContentEdit, FinishedVolume, PackChanges, Packer, Tools, begun_volumes, commit,
    confirm_head, is_damaged, is_in_cache, new_volume, plan_healing, push_missing, release_held,
    rewrite_metadata, settle_pending,
};
use crate::world::{Client, Clock, Files, Parts, Random, SourceShape, Store, Volumes, World};

/// Batches between reading and packing: one is read while workers name the second and seal the
/// third.
const BATCHES_AHEAD: usize = 4;
/// A task that is long enough to be worth handing over.
const TASK_BYTES: usize = 512 << 10;
/// Bytes of packs between two commits of a long run. A commit comes after this amount and after
/// nothing else: one at a volume's end would show the store how large the volume is.
pub const COMMIT_AFTER_BYTES: u64 = 1 << 30;
/// Bytes of a pack for each new entry of (a): with more entries a commit's nodes of (a) would fill
/// more than half of their pack.
const PACK_BYTES_AN_ENTRY: u32 = 256;

/// What a run was asked to do.
pub struct BackupRequest {
    /// The archive's name.
    pub archive: String,
    /// The volumes; their places in the list are the sources' numbers.
    pub sources: Vec<BackupSource>,
    /// No session for what did not change.
    pub skip_unchanged: bool,
    /// Read and count only.
    pub dry_run: bool,
    /// The volumes may be in use.
    pub live: bool,
    /// Also what a verify found damaged and did not believe is made again.
    pub heal: bool,
    /// Bytes of packs between two commits; [`COMMIT_AFTER_BYTES`] but in tests.
    pub commit_after_bytes: u64,
}

/// Makes one run. Failures of single volumes are told and the others go on; what ends the run is
/// returned.
pub fn back_up<P: Parts>(
    world: &mut World<P>,
    request: &BackupRequest,
) -> Result<ExitStatus, Failure> {
    let names: Vec<&str> = request
        .sources
        .iter()
        .map(|source| source.volume.as_str())
        .collect();
    check_names(&names)?;
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    if !request.dry_run {
        archive.may_write()?;
        archive.remove_unused_cache(&mut world.files)?;
        archive.connect(&mut world.store, Service::Push)?;
        settle_pending(&mut world.files, &mut world.store, &mut archive)?;
        push_missing(&mut world.files, &mut world.store, &mut archive)?;
        if request.heal {
            release_held(&mut world.files, &mut archive)?;
        }
        confirm_head(&mut world.files, &mut world.store, &mut archive)?;
    }
    let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    let mut run = Run::begin(&mut world.files, &mut world.clock, &mut archive, request)?;
    run.heal(world, &mut archive, &mut pool)?;
    let mut failed = Vec::new();
    for (item, source) in (0..).zip(&request.sources) {
        match run.volume(world, &mut archive, &mut pool, item, source) {
            Ok(true) => world.volumes.end_reading(item),
            Ok(false) => world.volumes.close_source(item),
            Err(failure) if is_of_one_source(&failure) => {
                world.volumes.close_source(item);
                failed.push(failure.exit());
                world.client.tell(ToClient::Failed(failure))?;
            }
            Err(failure) => return Err(failure),
        }
    }
    let sent_bytes = run.finish(world, &mut archive, &mut pool)?;
    if !request.dry_run {
        world.store.finish_push()?;
    }
    let peak_rss_bytes = world.peak_bytes();
    world.client.tell(ToClient::Totals {
        sent_bytes,
        peak_rss_bytes,
    })?;
    Ok(exit_of(&failed, request.sources.len()))
}

fn check_names(volumes: &[&str]) -> Result<(), Failure> {
    if let Some(name) = volumes.iter().find(|name| !is_volume_name(name)) {
        return Err(Failure::BadName {
            name: (*name).to_owned(),
        });
    }
    let mut sorted = volumes.to_vec();
    sorted.sort_unstable();
    match sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .find(|(a, b)| a == b)
    {
        Some((twice, _)) => Err(Failure::VolumeNameTaken {
            volume: (*twice).to_owned(),
        }),
        None => Ok(()),
    }
}

/// A run between its begin and its last commit.
struct Run<P: Parts> {
    settings: ArchiveSettings,
    dry_run: bool,
    live: bool,
    skip_unchanged: bool,
    heal: bool,
    /// The name of every session of this run, seconds since 1970 UTC.
    time: i64,
    packer: Packer<P>,
    /// Full packs between two commits.
    packs_a_commit: usize,
    /// The volumes that the catalog has.
    volumes: Vec<(u64, VolumeEntry)>,
    /// Volumes that are journaled and not in the catalog yet: packs hold, or will hold, records of
    /// their domains.
    begun: Vec<(u64, VolumeEntry)>,
    /// The volume that is being read, while it is neither in the catalog nor in the journal.
    beginning: Option<JournalVolume>,
    next_volume: u64,
    /// Where volumes are backed up from.
    origins: Origins,
    key: Option<Arc<SessionKey>>,
    /// Envelopes that no commit holds yet, each with its number.
    new_keys: Vec<(u64, KeyEntry)>,
    finished: Vec<Finished>,
    /// Packs to be marked lost or live again.
    healing: PackChanges,
}

/// A volume that waits for its commit.
struct Finished {
    volume: FinishedVolume,
    report: VolumeReport,
    /// The number of its source, where that is a snapshot which can become the base.
    snapshot: Option<u32>,
}

/// Which states a volume is compared with, and how the new one is named.
struct Plan {
    number: u64,
    entry: VolumeEntry,
    /// The newest session, if its ids are comparable.
    newest: Option<SessionEntry>,
    /// The source's base snapshot, if what changed since tells all that differs from its session.
    base: Option<KnownBase>,
    domain: Arc<Domain>,
    chunk_size: usize,
    size_bytes: u64,
    /// The path that the source was opened by.
    path: Vec<u8>,
}

/// What came of reading a source.
enum Read {
    /// Its content tree, and how what was read was found.
    Done(Root<Id>, Method),
    /// What was told of its changes is not to be trusted.
    Distrusted,
}

impl<P: Parts> Run<P> {
    fn begin(
        files: &mut impl Files,
        clock: &mut impl Clock,
        archive: &mut Archive,
        request: &BackupRequest,
    ) -> Result<Self, Failure> {
        let volumes = archive.volumes(files)?;
        let mut time = clock.wall_secs();
        let is_asked = |name: &str| request.sources.iter().any(|source| source.volume == name);
        for (_, volume) in volumes.iter().filter(|(_, volume)| is_asked(&volume.name)) {
            let newest = archive
                .sessions_at_hand(files, volume)?
                .last()
                .map_or(i64::MIN, |session| session.time);
            time = time.max(newest.saturating_add(1));
        }
        let begun = begun_volumes(archive, &volumes);
        let left = std::mem::take(&mut archive.uncommitted);
        let settings = archive.head.settings;
        Ok(Self {
            settings,
            dry_run: request.dry_run,
            live: request.live,
            skip_unchanged: request.skip_unchanged,
            heal: request.heal,
            time,
            packer: Packer::after(archive, left.packs),
            packs_a_commit: packs_a_commit(settings.pack_size_bytes, request.commit_after_bytes),
            next_volume: archive.head.volumes.size.saturating_add(begun.len() as u64),
            volumes,
            begun,
            beginning: None,
            origins: Origins::read(files, &archive.folder)?,
            key: None,
            new_keys: left.keys,
            finished: Vec::new(),
            healing: PackChanges::default(),
        })
    }

    /// What lost packs held of the metadata is written anew, from the cache; their chunks are sent
    /// again where the sources still have them.
    fn heal(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
    ) -> Result<(), Failure> {
        if self.dry_run {
            return Ok(());
        }
        self.healing = plan_healing(&mut world.files, archive)?;
        if self.healing.mark_any_lost() {
            rewrite_metadata(world, archive, pool, &mut self.packer)?;
        }
        Ok(())
    }

    /// Backs up one volume; whether it has a session that is to be committed. On a failure its
    /// records stay in the packs and are known to the next run.
    fn volume(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
        item: u32,
        source: &BackupSource,
    ) -> Result<bool, Failure> {
        let began_cpu = world.clock.cpu_micros();
        let name = source.volume.as_str();
        let (number, entry) = self.find_or_begin(&mut world.random, name)?;
        let base_of = BaseOf {
            archive: archive.folder.id().0,
            volume: entry.id.0,
        };
        let shape = world.volumes.open_source(item, name, &base_of, None)?;
        refuse_empty(&shape, name, entry.size_bytes)?;
        self.origins
            .check(name, &shape.found.origin, Said::of(source))?;
        let size_bytes = shape.size_bytes;
        let plan = self.plan(&mut world.files, archive, number, entry, &shape)?;
        let mut counts = Counts::default();
        let (root, method) = self.read(world, archive, pool, item, name, &plan, &mut counts)?;
        self.origins.set(name, &shape.found, world.client.uid());
        let root = root.child.unwrap_or(Id::ZERO);
        let unchanged = plan
            .newest
            .as_ref()
            .is_some_and(|newest| newest.root == root)
            && plan.entry.size_bytes == size_bytes;
        let keeps = !(self.dry_run || self.skip_unchanged && unchanged);
        let report = VolumeReport {
            name: name.to_owned(),
            session: keeps.then_some(self.time),
            method,
            snapshot: shape.snapshot,
            mounted_at: shape
                .found
                .mounted_at
                .as_deref()
                .filter(|_| !shape.snapshot)
                .map(path_text),
            read_bytes: counts.read_bytes,
            sampled_bytes: counts.sampled_bytes,
            changed_bytes: counts.changed_bytes,
            sent_bytes: counts.sealed_bytes,
            cpu_micros: world.clock.cpu_micros().saturating_sub(began_cpu),
        };
        if !keeps {
            world.client.tell(ToClient::BackedUp(report))?;
            return Ok(false);
        }
        let session = SessionEntry {
            time: self.time,
            generation: 0, // the commit fills it in
            size_bytes,
            added_bytes: counts.sealed_bytes,
            chunk_size_bytes: plan.entry.chunk_size_bytes,
            live: self.live,
            cut_short: false,
            domain: plan.domain.id(),
            root,
            settings: Vec::new(),
            tags: Vec::new(),
        };
        let volume = FinishedVolume {
            number: plan.number,
            entry: plan.entry,
            session,
        };
        self.finished.push(Finished {
            volume,
            report,
            snapshot: shape.snapshot.then_some(item),
        });
        self.next_volume = self.next_volume.max(number.saturating_add(1));
        Ok(true)
    }

    /// The last commit, and the bytes sent in all. A run without a finished volume and without
    /// left-overs commits nothing.
    fn finish(
        mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
    ) -> Result<u64, Failure> {
        let replaces_keys = self.heal && !archive.lost_keys.nodes.is_empty();
        let nothing = self.finished.is_empty()
            && self.packer.closed_count() == 0
            && self.new_keys.is_empty()
            && !replaces_keys;
        let mut healing = std::mem::take(&mut self.healing);
        if !healing.is_empty() {
            // What heals is in the archive before anything is marked; and (a) may change in more
            // places than one tail has room for.
            self.commit(world, archive, pool, PackChanges::default(), false)?;
            while !healing.is_empty() {
                let part = healing.take_part(&archive.head);
                self.commit(world, archive, pool, part, healing.is_empty())?;
            }
        } else if !self.dry_run && !nothing {
            self.commit(world, archive, pool, healing, true)?;
        }
        if !self.dry_run {
            self.origins.write(&mut world.files, &archive.folder)?; // of volumes that did not change
        }
        Ok(self.packer.sent_bytes())
    }

    fn commit(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
        packs: PackChanges,
        ends_run: bool,
    ) -> Result<(), Failure> {
        let sent_bytes = self.packer.sent_bytes();
        world.client.progress(Progress {
            phase: Phase::Committing,
            volume: None,
            done_bytes: 0,
            total_bytes: 0,
            sent_bytes,
        });
        // Before the sessions: one that is there must not be without the place that it is of, nor a
        // base snapshot without a record of it.
        self.origins.write(&mut world.files, &archive.folder)?;
        let done = std::mem::take(&mut self.finished);
        let finished = done.iter().map(|done| done.volume.clone()).collect();
        let (begun, keys) = (
            std::mem::take(&mut self.begun),
            std::mem::take(&mut self.new_keys),
        );
        self.volumes.extend(begun.iter().cloned());
        let changes = Changes {
            begun,
            finished,
            keys,
            replaces_lost_keys: self.heal,
            packs,
            ends_run,
        };
        commit(world, archive, pool, &mut self.packer, changes)?;
        // From here on these sessions are true; only now are they told, and only now are their
        // sources the bases of the next run.
        for Finished {
            volume: FinishedVolume { entry, session, .. },
            report,
            snapshot,
        } in done
        {
            world.client.tell(ToClient::BackedUp(report))?;
            if let Some(item) = snapshot {
                let of = BaseOf {
                    archive: archive.folder.id().0,
                    volume: entry.id.0,
                };
                let generation = archive.head.generation;
                let label = BaseLabel {
                    of,
                    generation,
                    session: session.time,
                    root: session.root.0,
                };
                if world.volumes.rotate(item, &label)? {
                    SavedDelta::remove_others(&mut world.files, &archive.folder, &label)?;
                }
            }
        }
        Ok(())
    }

    /// The volume as the catalog or a cut run has it, or a new one under the next number.
    fn find_or_begin(
        &mut self,
        random: &mut impl Random,
        name: &str,
    ) -> Result<(u64, VolumeEntry), Failure> {
        self.beginning = None;
        if let Some(known) = self
            .volumes
            .iter()
            .chain(&self.begun)
            .find(|(_, volume)| volume.name == name)
        {
            return Ok(known.clone());
        }
        let begun = JournalVolume {
            name: name.to_owned(),
            id: VolumeId(random.draw()?),
            domain: DomainId(random.draw()?),
        };
        let entry = new_volume(&self.settings, &begun);
        self.beginning = Some(begun);
        Ok((self.next_volume, entry))
    }

    /// Journals a new volume before the first record of its domain is sealed. Under another domain
    /// every chunk would be sent again.
    fn note_begun(&mut self, files: &mut impl Files, archive: &mut Archive) -> Result<(), Failure> {
        let Some(volume) = self.beginning.take() else {
            return Ok(());
        };
        archive.journal.volume(files, &volume)?;
        self.begun
            .push((self.next_volume, new_volume(&self.settings, &volume)));
        self.next_volume = self.next_volume.saturating_add(1);
        archive.unfinished.push(volume);
        Ok(())
    }

    /// What the volume is compared with: its newest session if the ids are comparable, and the one
    /// that its base snapshot is of.
    fn plan(
        &self,
        files: &mut impl Files,
        archive: &mut Archive,
        number: u64,
        mut entry: VolumeEntry,
        shape: &SourceShape,
    ) -> Result<Plan, Failure> {
        let sessions = match archive.sessions(files, &entry) {
            // Their numbers stay theirs; only the list begins anew.
            Err(Failure::SessionsLost { .. }) if self.heal => {
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
        let base = match find_base(
            files,
            archive,
            &entry,
            shape.base,
            (entry.domain, entry.chunk_size_bytes),
        )? {
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

    /// Makes a source's content tree, by what changed since its base snapshot, or if there is none
    /// to be trusted by reading it whole.
    #[allow(clippy::too_many_arguments)] // the parts of one run, each borrowed for itself
    fn read(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
        item: u32,
        name: &str,
        plan: &Plan,
        counts: &mut Counts,
    ) -> Result<(Root<Id>, Method), Failure> {
        let count = chunk_count(plan.size_bytes, plan.entry.chunk_size_bytes);
        if let Some(base) = &plan.base {
            match self.read_by(
                world,
                archive,
                pool,
                item,
                name,
                plan,
                &Base::delta(base),
                counts,
            )? {
                Read::Done(root, method) => return Ok((root, method)),
                Read::Distrusted => tracing::warn!(
                    volume = name,
                    "what was told of its changes is not to be trusted: it is read whole"
                ),
            }
            counts.changed_bytes = 0;
        }
        match self.read_by(
            world,
            archive,
            pool,
            item,
            name,
            plan,
            &Base::whole(plan.newest.as_ref(), count),
            counts,
        )? {
            Read::Done(root, method) => Ok((root, method)),
            Read::Distrusted => Err(internal("a volume was distrusted though it was read whole")),
        }
    }

    /// Reads a source onwards and edits its base's tree: read, name, known?, seal, pack, in
    /// overlapping batches.
    #[allow(clippy::too_many_arguments)] // see `read`
    fn read_by(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
        item: u32,
        name: &str,
        plan: &Plan,
        base: &Base,
        counts: &mut Counts,
    ) -> Result<Read, Failure> {
        let credential = Arc::clone(&archive.credential);
        let count = chunk_count(plan.size_bytes, plan.entry.chunk_size_bytes);
        let mut samples = Samples::default();
        if base.changes_since.is_some() {
            samples = Samples::draw(
                &mut world.files,
                &mut world.random,
                archive,
                &base.root,
                count,
                plan.chunk_size,
            )?;
        }
        let mut walk = BaseWalk::new(&base.root);
        let mut edit = None;
        if !self.dry_run {
            let mut tools = tools(world, &credential, archive, pool);
            edit = Some(ContentEdit::new(
                &mut tools,
                &mut self.packer,
                &base.root,
                count,
            )?);
        }
        let mut reader =
            BatchReader::new(item, base, plan.chunk_size, plan.size_bytes, count, samples);
        let mut naming: VecDeque<Naming> = VecDeque::new();
        let mut sealing: VecDeque<Sealing> = VecDeque::new();
        let mut at_end = false;
        while !(at_end && naming.is_empty() && sealing.is_empty()) {
            if !at_end && naming.len().saturating_add(sealing.len()) < BATCHES_AHEAD {
                match reader
                    .next(&mut world.volumes)
                    .map_err(|stop| stop.of_volume(name, &plan.path))?
                {
                    Some(batch) => naming.push_back(self.name_batch(
                        &mut world.files,
                        archive,
                        pool,
                        plan,
                        &mut walk,
                        batch,
                        counts,
                    )?),
                    None => at_end = true,
                }
                self.report(&mut world.client, name, &reader, plan);
                if naming.len() < BATCHES_AHEAD / 2 && !at_end {
                    continue;
                }
            }
            if let Some(batch) = naming.pop_front() {
                sealing.push_back(self.seal_batch(world, archive, pool, batch, counts)?);
            }
            if (sealing.len() >= BATCHES_AHEAD / 2 || naming.is_empty())
                && let Some(mut batch) = sealing.pop_front()
            {
                while !self.pack_batch(
                    &mut tools(world, &credential, archive, pool),
                    edit.as_mut(),
                    name,
                    &mut batch,
                    counts,
                )? {
                    // the volume's tree goes on
                    self.commit(world, archive, pool, PackChanges::default(), false)?;
                }
                reader.spare.extend(Arc::into_inner(batch.bytes)); // no task has it any more
            }
            if world.client.cancelled() {
                return Err(Failure::Interrupted);
            }
        }
        let Some(method) = reader.method() else {
            return Ok(Read::Distrusted);
        };
        let samples = reader.take_samples();
        let checked = samples.check(
            world,
            archive,
            item,
            &base.root,
            &plan.domain,
            plan.chunk_size,
            plan.size_bytes,
        );
        let (sampled_bytes, as_told) = checked.map_err(|stop| stop.of_volume(name, &plan.path))?;
        counts.sampled_bytes = counts.sampled_bytes.saturating_add(sampled_bytes);
        if !as_told {
            return Ok(Read::Distrusted);
        }
        let Some(edit) = edit else {
            return Ok(Read::Done(Root::empty(count), method));
        };
        let mut tools = tools(world, &credential, archive, pool);
        Ok(Read::Done(
            edit.finish(&mut tools, &mut self.packer)?,
            method,
        ))
    }

    /// Hands the chunks of a batch to workers, who say which are zero and how the others are
    /// called.
    #[allow(clippy::too_many_arguments)] // see `read`
    fn name_batch(
        &mut self,
        files: &mut impl Files,
        archive: &mut Archive,
        pool: &mut Pool,
        plan: &Plan,
        base: &mut BaseWalk,
        batch: Batch,
        counts: &mut Counts,
    ) -> Result<Naming, Failure> {
        counts.read_bytes = counts.read_bytes.saturating_add(batch.bytes.len() as u64);
        let first = batch.first_chunk;
        let mut removed = Vec::new();
        let mut expected = vec![None; batch.bytes.len().div_ceil(plan.chunk_size)];
        // What the base has of these chunks, and the batch has not, lies in a hole of the source
        // now.
        while let Some((index, id)) = base.next_in(
            &batch.covers,
            files,
            &mut archive.cache,
            &archive.credential,
        )? {
            match usize::try_from(index.saturating_sub(first))
                .ok()
                .filter(|_| index >= first)
                .and_then(|place| expected.get_mut(place))
            {
                Some(place) => *place = Some(id),
                None => {
                    counts.changed_bytes =
                        counts.changed_bytes.saturating_add(plan.chunk_size as u64);
                    removed.push(index);
                }
            }
        }
        let bytes = Arc::new(batch.bytes);
        let mut tickets = Vec::new();
        for range in task_ranges(bytes.len(), plan.chunk_size) {
            let (bytes, domain, chunk_size) = (
                Arc::clone(&bytes),
                Arc::clone(&plan.domain),
                plan.chunk_size,
            );
            tickets.push(pool.run(move |_| {
                name_chunks(&domain, bytes.get(range).unwrap_or_default(), chunk_size)
            })?);
        }
        Ok(Naming {
            first_chunk: first,
            chunk_size: plan.chunk_size,
            bytes,
            expected,
            removed,
            tickets,
        })
    }

    /// Asks for each named chunk whether it is known, and hands those that are not to workers to be
    /// compressed and sealed.
    fn seal_batch(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
        batch: Naming,
        counts: &mut Counts,
    ) -> Result<Sealing, Failure> {
        let mut changes: Vec<(u64, Option<Id>)> =
            batch.removed.iter().map(|index| (*index, None)).collect();
        let mut unknown: Vec<(Id, Range<usize>)> = Vec::new();
        // An unchanged chunk may lie in a pack that is lost.
        let heals = archive.cache.index.has_lost();
        let ids = batch
            .tickets
            .into_iter()
            .map(Ticket::wait)
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        for ((place, id), expected) in ids.into_iter().enumerate().zip(&batch.expected) {
            let changed = id != *expected;
            if !changed && !heals {
                continue;
            }
            let begin = place.saturating_mul(batch.chunk_size);
            let range = begin
                ..begin
                    .saturating_add(batch.chunk_size)
                    .min(batch.bytes.len());
            if changed {
                changes.push((batch.first_chunk.saturating_add(place as u64), id));
                counts.changed_bytes = counts.changed_bytes.saturating_add(range.len() as u64);
            }
            let Some(id) = id.filter(|_| !self.dry_run) else {
                continue;
            };
            let known = unknown.iter().any(|(other, _)| *other == id)
                || self.packer.is_on_the_way(&id)
                || archive
                    .cache
                    .index
                    .find_sound(&mut world.files, &id)?
                    .is_some();
            if !known {
                unknown.push((id, range));
            }
        }
        let mut tickets = Vec::new();
        if !unknown.is_empty() {
            self.note_begun(&mut world.files, archive)?;
            let key = self.session_key(world, archive)?;
            for part in group(unknown) {
                let seeds = part
                    .iter()
                    .map(|_| world.random.draw().map(NonceSeed))
                    .collect::<Result<Vec<_>, _>>()?;
                let (bytes, task_key, credential) = (
                    Arc::clone(&batch.bytes),
                    Arc::clone(&key),
                    Arc::clone(&archive.credential),
                );
                tickets.push((
                    Arc::clone(&key),
                    pool.run(move |coder| {
                        part.into_iter()
                            .zip(seeds)
                            .map(|((id, range), seed)| {
                                let chunk = bytes.get(range).unwrap_or_default();
                                credential
                                    .seal_chunk(&task_key, coder, &id, chunk, seed)
                                    .map(|record| (id, record))
                            })
                            .collect::<SealedRecords>()
                    })?,
                ));
            }
        }
        Ok(Sealing {
            bytes: batch.bytes,
            changes: changes.into(),
            tickets: tickets.into(),
            records: VecDeque::new(),
        })
    }

    /// Puts the sealed records of a batch into packs, then its changes into the tree. False when a
    /// commit is due before it goes on.
    fn pack_batch(
        &mut self,
        tools: &mut Tools<'_, P>,
        mut edit: Option<&mut ContentEdit>,
        name: &str,
        batch: &mut Sealing,
        counts: &mut Counts,
    ) -> Result<bool, Failure> {
        loop {
            if self.packer.closed_count() >= self.packs_a_commit {
                return Ok(false);
            }
            if let Some((id, key, record)) = batch.next_record(name)? {
                // The batch before, sealed at the same time, may have had the same chunk.
                if !self.packer.is_on_the_way(&id) {
                    self.packer.add_chunk(tools, id, &key, &record)?;
                    counts.sealed_bytes = counts.sealed_bytes.saturating_add(record.len() as u64);
                }
            } else if let Some((index, id)) = batch.changes.pop_front() {
                if let Some(edit) = edit.as_deref_mut() {
                    edit.set(tools, &mut self.packer, index, id)?;
                }
            } else {
                return Ok(true);
            }
        }
    }

    /// The session key of this run; a new one when there is none or the old one is worn. It is
    /// journaled before it seals anything.
    fn session_key(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
    ) -> Result<Arc<SessionKey>, Failure> {
        if let Some(key) = self.key.as_ref().filter(|key| !key.is_worn()) {
            return Ok(Arc::clone(key));
        }
        let number = self.new_keys.last().map_or_else(
            || archive.next_key(self.heal),
            |(last, _)| last.saturating_add(1),
        );
        let number = u32::try_from(number).map_err(|_| internal("the key table is full"))?;
        let entropy = Entropy {
            kernel: Secret::take(&mut world.random.draw()?),
            generation: archive.head.generation,
            wall_nanos: world.clock.wall_nanos(),
            monotonic_nanos: world.clock.monotonic_nanos(),
            process_id: world.random.process_id(),
        };
        let (key, entry) = SessionKey::draw(&archive.credential, number, &entropy)
            .map_err(|error| internal(&error.to_string()))?;
        archive
            .journal
            .key(&mut world.files, &JournalKey { number, entry })?;
        self.new_keys.push((number.into(), entry));
        let key = Arc::new(key);
        self.key = Some(Arc::clone(&key));
        Ok(key)
    }

    fn report(&self, client: &mut impl Client, name: &str, reader: &BatchReader, plan: &Plan) {
        let done_bytes = reader.position_bytes();
        client.progress(Progress {
            phase: Phase::Reading,
            volume: Some(name.to_owned()),
            done_bytes,
            total_bytes: plan.size_bytes,
            sent_bytes: self.packer.sent_bytes(),
        });
    }
}

fn tools<'a, P: Parts>(
    world: &'a mut World<P>,
    credential: &'a Credential,
    archive: &'a mut Archive,
    pool: &'a mut Pool,
) -> Tools<'a, P> {
    Tools {
        random: &mut world.random,
        files: &mut world.files,
        store: &mut world.store,
        credential,
        cache: &mut archive.cache,
        journal: &archive.journal,
        pool,
    }
}

/// How many packs are full between two commits: a fixed number, whatever is in them.
fn packs_a_commit(pack_size_bytes: u32, commit_after_bytes: u64) -> usize {
    let wanted = commit_after_bytes
        .div_ceil(u64::from(pack_size_bytes))
        .max(1);
    usize::try_from(wanted.min(u64::from(pack_size_bytes / PACK_BYTES_AN_ENTRY)))
        .unwrap_or(usize::MAX)
}

/// What is counted of one volume.
#[derive(Default)]
struct Counts {
    read_bytes: u64,
    sampled_bytes: u64,
    changed_bytes: u64,
    sealed_bytes: u64,
}

/// A batch whose chunks are being named.
struct Naming {
    first_chunk: u64,
    chunk_size: usize,
    bytes: Arc<Vec<u8>>,
    /// What the base has at the same places.
    expected: Vec<Option<Id>>,
    /// What the base has beside them, where the source has a hole.
    removed: Vec<u64>,
    tickets: Vec<Ticket<Vec<Option<Id>>>>,
}

type SealedRecords = Result<Vec<(Id, Vec<u8>)>, SealError>;

/// A batch whose unknown chunks are being sealed, then packed.
struct Sealing {
    bytes: Arc<Vec<u8>>,
    /// What is still to be changed in the tree.
    changes: VecDeque<(u64, Option<Id>)>,
    /// What is still being sealed, and under which key.
    tickets: VecDeque<(Arc<SessionKey>, Ticket<SealedRecords>)>,
    /// What is sealed and not packed yet.
    records: VecDeque<SealedRecord>,
}

/// A sealed chunk: its id, the key under which it is sealed, the record.
type SealedRecord = (Id, Arc<SessionKey>, Vec<u8>);

impl Sealing {
    /// The next sealed record; `None` when all are packed.
    fn next_record(&mut self, volume: &str) -> Result<Option<SealedRecord>, Failure> {
        while self.records.is_empty()
            && let Some((key, ticket)) = self.tickets.pop_front()
        {
            let records = ticket.wait()?.map_err(|error| match error {
                SealError::SelfCheck => Failure::SelfCheck {
                    volume: volume.to_owned(),
                },
                error => internal(&error.to_string()),
            })?;
            self.records.extend(
                records
                    .into_iter()
                    .map(|(id, record)| (id, Arc::clone(&key), record)),
            );
        }
        Ok(self.records.pop_front())
    }
}

/// Cuts a batch into tasks of whole chunks.
fn task_ranges(bytes: usize, chunk_size: usize) -> impl Iterator<Item = Range<usize>> {
    let step = (TASK_BYTES / chunk_size).max(1).saturating_mul(chunk_size);
    (0..bytes)
        .step_by(step)
        .map(move |begin| begin..begin.saturating_add(step).min(bytes))
}

/// Groups chunks into tasks.
fn group(chunks: Vec<(Id, Range<usize>)>) -> Vec<Vec<(Id, Range<usize>)>> {
    let mut groups: Vec<Vec<(Id, Range<usize>)>> = Vec::new();
    let mut bytes = TASK_BYTES;
    for chunk in chunks {
        if bytes >= TASK_BYTES {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes = bytes.saturating_add(chunk.1.len());
        if let Some(group) = groups.last_mut() {
            group.push(chunk);
        }
    }
    groups
}
