// SPDX-License-Identifier: GPL-3.0-or-later
//! One run: each source is read, cut and named; what is not known is compressed, sealed and packed; at the end stands one commit.
//!
//! Nothing is read back: ids, nodes and the last state come from the cache, and the store answers with receipts only.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::{Credential, Domain, DomainId, Entropy, Id, NonceSeed, SealError, Secret, SessionKey};
use wyng_archive::format::{ArchiveSettings, ContentTree, KeyEntry, SessionEntry, VolumeEntry, VolumeId, chunk_count, is_volume_name};
use wyng_archive::plan::{Root, Walk};
use wyng_control::{ExitStatus, Failure, Phase, Progress, ToClient, VolumeReport};
use wyng_wire::Service;

use super::archive::{Archive, internal};
use super::catalog::{CachedNodes, content_root};
use super::commit::{Changes, ContentEdit, FinishedVolume, commit, seconds, settle_pending};
use super::heal::{self, PackChanges, push_missing};
use super::packer::{Packer, Tools};
use super::pool::{Pool, Ticket};
use crate::keyholder::state::{JournalKey, JournalVolume};
use crate::keyholder::world::{Errno, SourceShape, World};

/// What is read at once; a task for a worker is a part of it.
const BATCH_BYTES: usize = 2 << 20;
/// Batches between reading and packing: one is read while workers name the second and seal the third.
const BATCHES_AHEAD: usize = 4;
/// A task that is long enough to be worth handing over.
const TASK_BYTES: usize = 512 << 10;
/// In a long run a volume that is finished is committed when so much was sent since the last commit.
const COMMIT_AFTER_BYTES: u64 = 1 << 30;
/// An intermediate commit is made before (a)'s new nodes fill more than half of their pack.
const PACK_BYTES_AN_ENTRY: u32 = 256;

/// What a run was asked to do.
pub struct Request {
    /// The archive's name.
    pub archive: String,
    /// The volumes; their places in the list are the sources' numbers.
    pub volumes: Vec<String>,
    /// No session for what did not change.
    pub skip_unchanged: bool,
    /// Read and count only.
    pub dry_run: bool,
    /// The volumes may be in use.
    pub live: bool,
}

/// Makes one run. Failures of single volumes are told and the others go on; what ends the run is returned.
pub fn back_up<W: World>(world: &mut W, request: &Request) -> Result<ExitStatus, Failure> {
    check_names(&request.volumes)?;
    let mut archive = Archive::open(world, &request.archive)?;
    if !request.dry_run {
        archive.may_write()?;
        world.connect(Service::Push, &archive.toml.via, &archive.toml.store, false)?;
        settle_pending(world, &mut archive)?;
        push_missing(world, &mut archive)?;
    }
    let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    let mut run = Run::begin(world, &mut archive, request)?;
    run.heal(world, &mut archive, &mut pool)?;
    let mut failed = Vec::new();
    for (item, name) in (0..).zip(&request.volumes) {
        match run.volume(world, &mut archive, &mut pool, item, name) {
            Ok(()) => {}
            Err(failure) if is_of_one_volume(&failure) => {
                failed.push(failure.exit());
                world.tell(ToClient::Failed(failure))?;
            }
            Err(failure) => return Err(failure),
        }
        world.close_source(item);
    }
    let sent_bytes = run.finish(world, &mut archive, &mut pool)?;
    if !request.dry_run {
        world.finish_push()?;
    }
    let peak_rss_bytes = world.peak_bytes();
    world.tell(ToClient::Totals { sent_bytes, peak_rss_bytes })?;
    Ok(exit_of(&failed, request.volumes.len()))
}

/// One failure among several volumes is "some volumes only"; when all failed, their own status.
pub fn exit_of(failed: &[ExitStatus], asked: usize) -> ExitStatus {
    match failed {
        [] => ExitStatus::Done,
        [first, ..] if failed.len() == asked => *first,
        _ => ExitStatus::Partial,
    }
}

fn check_names(volumes: &[String]) -> Result<(), Failure> {
    if let Some(name) = volumes.iter().find(|name| !is_volume_name(name)) {
        return Err(Failure::BadName { name: name.clone() });
    }
    let mut sorted: Vec<&String> = volumes.iter().collect();
    sorted.sort_unstable();
    match sorted.iter().zip(sorted.iter().skip(1)).find(|(a, b)| a == b) {
        Some((twice, _)) => Err(Failure::VolumeNameTaken { volume: (*twice).clone() }),
        None => Ok(()),
    }
}

fn is_of_one_volume(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::SourceUnavailable { .. }
            | Failure::SourceKind { .. }
            | Failure::SourceRead { .. }
            | Failure::SourceResized { .. }
            | Failure::SelfCheck { .. }
    )
}

/// A run between its begin and its last commit.
struct Run<B> {
    settings: ArchiveSettings,
    dry_run: bool,
    live: bool,
    skip_unchanged: bool,
    /// The name of every session of this run, seconds since 1970 UTC.
    time: i64,
    packer: Packer<B>,
    volumes: Vec<(u64, VolumeEntry)>,
    next_volume: u64,
    key: Option<Arc<SessionKey>>,
    /// Envelopes that no commit holds yet.
    new_keys: Vec<KeyEntry>,
    finished: Vec<(FinishedVolume, VolumeReport)>,
    /// Packs to be marked lost or live again.
    healing: PackChanges,
    committed_sent_bytes: u64,
}

/// Which state a volume is compared with, and how the new one is named.
struct Plan {
    number: u64,
    entry: VolumeEntry,
    base: Root<Id>,
    unchanged_root: Option<Id>,
    domain: Arc<Domain>,
    chunk_size: usize,
    size_bytes: u64,
}

impl<B: AsMut<[u8]> + AsRef<[u8]> + Send + 'static> Run<B> {
    fn begin<W: World<Buffer = B>>(world: &mut W, archive: &mut Archive, request: &Request) -> Result<Self, Failure> {
        let volumes = archive.volumes(world)?;
        let mut time = seconds(world.wall_nanos());
        for (_, volume) in volumes.iter().filter(|(_, volume)| request.volumes.contains(&volume.name)) {
            let newest = archive.sessions(world, volume)?.last().map_or(i64::MIN, |session| session.time);
            time = time.max(newest.saturating_add(1));
        }
        archive.unfinished.retain(|begun| volumes.iter().all(|(_, volume)| volume.id != begun.id));
        let left = std::mem::take(&mut archive.uncommitted);
        Ok(Self {
            settings: archive.head.settings,
            dry_run: request.dry_run,
            live: request.live,
            skip_unchanged: request.skip_unchanged,
            time,
            packer: Packer::after(archive, left.packs),
            next_volume: archive.head.volumes.size,
            volumes,
            key: None,
            new_keys: left.keys,
            finished: Vec::new(),
            healing: PackChanges::default(),
            committed_sent_bytes: 0,
        })
    }

    /// What lost packs held of the metadata is written anew, from the cache; their chunks are sent again where the sources still have them.
    fn heal<W: World<Buffer = B>>(&mut self, world: &mut W, archive: &mut Archive, pool: &mut Pool) -> Result<(), Failure> {
        if self.dry_run {
            return Ok(());
        }
        self.healing = heal::plan(world, archive)?;
        if self.healing.mark_any_lost() {
            heal::rewrite_metadata(world, archive, pool, &mut self.packer)?;
        }
        Ok(())
    }

    /// Backs up one volume. On a failure its records stay in the packs and are known to the next run.
    fn volume<W: World<Buffer = B>>(
        &mut self,
        world: &mut W,
        archive: &mut Archive,
        pool: &mut Pool,
        item: u32,
        name: &str,
    ) -> Result<(), Failure> {
        let began_cpu = world.cpu_micros();
        let SourceShape { size_bytes, method } = world.open_source(item, name)?;
        let plan = self.plan(world, archive, name, size_bytes)?;
        let mut counts = Counts::default();
        let root = self.read(world, archive, pool, item, name, &plan, &mut counts)?;
        let unchanged = plan.unchanged_root == Some(root.child.unwrap_or(Id::ZERO)) && plan.entry.size_bytes == size_bytes;
        let keeps = !(self.dry_run || self.skip_unchanged && unchanged);
        let report = VolumeReport {
            name: name.to_owned(),
            session: keeps.then_some(self.time),
            method,
            read_bytes: counts.read_bytes,
            sampled_bytes: 0,
            changed_bytes: counts.changed_bytes,
            sent_bytes: counts.sealed_bytes,
            cpu_micros: world.cpu_micros().saturating_sub(began_cpu),
        };
        if !keeps {
            return world.tell(ToClient::BackedUp(report));
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
            root: root.child.unwrap_or(Id::ZERO),
            settings: Vec::new(),
            tags: Vec::new(),
        };
        self.finished.push((FinishedVolume { number: plan.number, entry: plan.entry, session }, report));
        if self.packer.sent_bytes().saturating_sub(self.committed_sent_bytes) >= COMMIT_AFTER_BYTES {
            self.commit(world, archive, pool, PackChanges::default(), false)?;
        }
        Ok(())
    }

    /// The last commit, and the bytes sent in all. A run without a finished volume and without left-overs commits nothing.
    fn finish<W: World<Buffer = B>>(mut self, world: &mut W, archive: &mut Archive, pool: &mut Pool) -> Result<u64, Failure> {
        let nothing = self.finished.is_empty() && self.packer.closed_count() == 0 && self.new_keys.is_empty();
        let mut healing = std::mem::take(&mut self.healing);
        if !healing.is_empty() {
            // What heals is in the archive before anything is marked; and (a) may change in more places than one tail has room for.
            self.commit(world, archive, pool, PackChanges::default(), false)?;
            while !healing.is_empty() {
                let part = healing.take_part(&archive.head);
                self.commit(world, archive, pool, part, healing.is_empty())?;
            }
        } else if !self.dry_run && !nothing {
            self.commit(world, archive, pool, healing, true)?;
        }
        Ok(self.packer.sent_bytes())
    }

    fn commit<W: World<Buffer = B>>(
        &mut self,
        world: &mut W,
        archive: &mut Archive,
        pool: &mut Pool,
        packs: PackChanges,
        ends_run: bool,
    ) -> Result<(), Failure> {
        let sent_bytes = self.packer.sent_bytes();
        world.progress(Progress { phase: Phase::Committing, volume: None, done_bytes: 0, total_bytes: 0, sent_bytes });
        let (finished, reports): (Vec<_>, Vec<_>) = self.finished.drain(..).unzip();
        let keys = std::mem::take(&mut self.new_keys);
        commit(world, archive, pool, &mut self.packer, Changes { finished, keys, packs, ends_run })?;
        self.committed_sent_bytes = self.packer.sent_bytes();
        // From here on these sessions are true; only now are they told.
        reports.into_iter().try_for_each(|report| world.tell(ToClient::BackedUp(report)))
    }

    /// The volume as the catalog has it, or a new one; and the base, if its ids may be compared.
    fn plan<W: World>(&mut self, world: &mut W, archive: &mut Archive, name: &str, size_bytes: u64) -> Result<Plan, Failure> {
        let known = self.volumes.iter().find(|(_, volume)| volume.name == name).cloned();
        let (number, entry) = match known {
            Some(known) => known,
            None => {
                let number = self.next_volume;
                self.next_volume = number.saturating_add(1);
                let begun = self.begin_volume(world, archive, name)?;
                (number, new_volume(&self.settings, begun, size_bytes))
            }
        };
        let base = archive.sessions(world, &entry)?.pop();
        let mut comparable = base.filter(|base| base.domain == entry.domain && base.chunk_size_bytes == entry.chunk_size_bytes);
        if let Some(base) = &comparable
            && !heal::is_in_cache(world, archive, base)?
        {
            comparable = None;
        }
        let count = chunk_count(size_bytes, entry.chunk_size_bytes);
        Ok(Plan {
            number,
            base: comparable.as_ref().map_or(Root::empty(count), content_root),
            unchanged_root: comparable.map(|base| base.root),
            domain: Arc::new(archive.credential.domain(entry.domain)),
            chunk_size: usize::try_from(entry.chunk_size_bytes).map_err(|_| internal("chunk size"))?,
            entry,
            size_bytes,
        })
    }

    /// A new volume's id and domain: those of a cut run, or drawn and journaled. Under another domain every chunk would be sent again.
    fn begin_volume<W: World>(&self, world: &mut W, archive: &mut Archive, name: &str) -> Result<JournalVolume, Failure> {
        if let Some(begun) = archive.unfinished.iter().find(|begun| begun.name == name) {
            return Ok(begun.clone());
        }
        let begun = JournalVolume { name: name.to_owned(), id: VolumeId(world.draw()?), domain: DomainId(world.draw()?) };
        if !self.dry_run {
            archive.journal.volume(world, &begun)?;
            archive.unfinished.push(begun.clone());
        }
        Ok(begun)
    }

    /// Reads a source from begin to end and makes its content tree: read, name, known?, seal, pack, in overlapping batches.
    #[allow(clippy::too_many_arguments)] // the parts of one run, each borrowed for itself
    fn read<W: World<Buffer = B>>(
        &mut self,
        world: &mut W,
        archive: &mut Archive,
        pool: &mut Pool,
        item: u32,
        name: &str,
        plan: &Plan,
        counts: &mut Counts,
    ) -> Result<Root<Id>, Failure> {
        let credential = Arc::clone(&archive.credential);
        let count = chunk_count(plan.size_bytes, plan.entry.chunk_size_bytes);
        let mut base = BaseWalk::new(&plan.base);
        let mut edit = None;
        if !self.dry_run {
            let mut tools = tools(world, &credential, archive, pool);
            edit = Some(ContentEdit::new(&mut tools, &mut self.packer, &plan.base, count)?);
        }
        let mut reader =
            BatchReader { item, next_chunk: 0, count, chunk_size: plan.chunk_size, size_bytes: plan.size_bytes, spare: Vec::new() };
        let mut naming: VecDeque<Naming> = VecDeque::new();
        let mut sealing: VecDeque<Sealing> = VecDeque::new();
        let mut at_end = false;
        while !(at_end && naming.is_empty() && sealing.is_empty()) {
            if !at_end && naming.len().saturating_add(sealing.len()) < BATCHES_AHEAD {
                match reader.next(world).map_err(|stop| stop.of_volume(name))? {
                    Some(batch) => naming.push_back(self.name_batch(world, archive, pool, plan, &mut base, batch, counts)?),
                    None => at_end = true,
                }
                self.report(world, name, &reader, plan);
                if naming.len() < BATCHES_AHEAD / 2 && !at_end {
                    continue;
                }
            }
            if let Some(batch) = naming.pop_front() {
                sealing.push_back(self.seal_batch(world, archive, pool, batch, counts)?);
            }
            if sealing.len() >= BATCHES_AHEAD / 2 || naming.is_empty() {
                if let Some(batch) = sealing.pop_front() {
                    let mut tools = tools(world, &credential, archive, pool);
                    let room = self.pack_batch(&mut tools, edit.as_mut(), name, batch, counts)?;
                    reader.spare.extend(room);
                }
                if self.needs_intermediate_commit() {
                    self.commit(world, archive, pool, PackChanges::default(), false)?; // the volume's tree goes on
                }
            }
            if world.cancelled() {
                return Err(Failure::Interrupted);
            }
        }
        let Some(mut edit) = edit else { return Ok(Root::empty(count)) };
        let mut tools = tools(world, &credential, archive, pool);
        while let Some((index, _)) = base.next(tools.world, tools.cache, tools.credential)? {
            if index < count {
                edit.set(&mut tools, &mut self.packer, index, None)?;
            }
        }
        edit.finish(&mut tools, &mut self.packer)
    }

    /// Hands the chunks of a batch to workers, who say which are zero and how the others are called.
    #[allow(clippy::too_many_arguments)] // see `read`
    fn name_batch<W: World>(
        &mut self,
        world: &mut W,
        archive: &mut Archive,
        pool: &mut Pool,
        plan: &Plan,
        base: &mut BaseWalk,
        batch: Batch,
        counts: &mut Counts,
    ) -> Result<Naming, Failure> {
        counts.read_bytes = counts.read_bytes.saturating_add(batch.bytes.len() as u64);
        let first = batch.first_chunk;
        let chunk_total = batch.bytes.len().div_ceil(plan.chunk_size);
        let mut removed = Vec::new();
        let mut expected = vec![None; chunk_total];
        // What the base has before this batch lies in a hole of the source now.
        while let Some((index, id)) =
            base.next_below(first.saturating_add(chunk_total as u64), world, &mut archive.cache, &archive.credential)?
        {
            match usize::try_from(index.saturating_sub(first)).ok().filter(|_| index >= first).and_then(|place| expected.get_mut(place)) {
                Some(place) => *place = Some(id),
                None => {
                    counts.changed_bytes = counts.changed_bytes.saturating_add(plan.chunk_size as u64);
                    removed.push(index);
                }
            }
        }
        let bytes = Arc::new(batch.bytes);
        let mut tickets = Vec::new();
        for range in task_ranges(bytes.len(), plan.chunk_size) {
            let (bytes, domain, chunk_size) = (Arc::clone(&bytes), Arc::clone(&plan.domain), plan.chunk_size);
            tickets.push(pool.run(move |_| name_chunks(&domain, bytes.get(range).unwrap_or_default(), chunk_size))?);
        }
        Ok(Naming { first_chunk: first, chunk_size: plan.chunk_size, bytes, expected, removed, tickets })
    }

    /// Asks for each named chunk whether it is known, and hands those that are not to workers to be compressed and sealed.
    fn seal_batch<W: World<Buffer = B>>(
        &mut self,
        world: &mut W,
        archive: &mut Archive,
        pool: &mut Pool,
        batch: Naming,
        counts: &mut Counts,
    ) -> Result<Sealing, Failure> {
        let mut changes: Vec<(u64, Option<Id>)> = batch.removed.iter().map(|index| (*index, None)).collect();
        let mut unknown: Vec<(Id, Range<usize>)> = Vec::new();
        // An unchanged chunk may lie in a pack that is lost.
        let heals = archive.cache.index.has_lost();
        let ids = batch.tickets.into_iter().map(Ticket::wait).collect::<Result<Vec<_>, _>>()?.concat();
        for ((place, id), expected) in ids.into_iter().enumerate().zip(&batch.expected) {
            let changed = id != *expected;
            if !changed && !heals {
                continue;
            }
            let begin = place.saturating_mul(batch.chunk_size);
            let range = begin..begin.saturating_add(batch.chunk_size).min(batch.bytes.len());
            if changed {
                changes.push((batch.first_chunk.saturating_add(place as u64), id));
                counts.changed_bytes = counts.changed_bytes.saturating_add(range.len() as u64);
            }
            let Some(id) = id.filter(|_| !self.dry_run) else { continue };
            let known = unknown.iter().any(|(other, _)| *other == id)
                || self.packer.is_on_the_way(&id)
                || archive.cache.index.find_sound(world, &id)?.is_some();
            if !known {
                unknown.push((id, range));
            }
        }
        let mut tickets = Vec::new();
        if !unknown.is_empty() {
            let key = self.session_key(world, archive)?;
            for part in group(unknown) {
                let seeds = part.iter().map(|_| world.draw().map(NonceSeed)).collect::<Result<Vec<_>, _>>()?;
                let (bytes, task_key, credential) = (Arc::clone(&batch.bytes), Arc::clone(&key), Arc::clone(&archive.credential));
                tickets.push((
                    Arc::clone(&key),
                    pool.run(move |coder| {
                        part.into_iter()
                            .zip(seeds)
                            .map(|((id, range), seed)| {
                                let mut record = Vec::new();
                                let chunk = bytes.get(range).unwrap_or_default();
                                credential.seal_chunk(&task_key, coder, &id, chunk, seed, &mut record).map(|()| (id, record))
                            })
                            .collect::<Result<Vec<_>, SealError>>()
                    })?,
                ));
            }
        }
        Ok(Sealing { bytes: batch.bytes, changes, tickets })
    }

    /// Puts the sealed records of a batch into packs, then its changes into the tree. Gives back the room of its bytes.
    fn pack_batch<W: World<Buffer = B>>(
        &mut self,
        tools: &mut Tools<'_, W>,
        edit: Option<&mut ContentEdit>,
        name: &str,
        batch: Sealing,
        counts: &mut Counts,
    ) -> Result<Option<Vec<u8>>, Failure> {
        for (key, ticket) in batch.tickets {
            let records = ticket.wait()?.map_err(|error| match error {
                SealError::SelfCheck => Failure::SelfCheck { volume: name.to_owned() },
                error => internal(&error.to_string()),
            })?;
            for (id, record) in records {
                if self.packer.is_on_the_way(&id) {
                    continue; // the batch before, sealed at the same time, had the same chunk
                }
                self.packer.add_chunk(tools, id, &key, &record)?;
                counts.sealed_bytes = counts.sealed_bytes.saturating_add(record.len() as u64);
            }
        }
        if let Some(edit) = edit {
            for (index, id) in batch.changes {
                edit.set(tools, &mut self.packer, index, id)?;
            }
        }
        Ok(Arc::into_inner(batch.bytes)) // no task has it any more
    }

    /// The session key of this run; a new one when there is none or the old one is worn. It is journaled before it seals anything.
    fn session_key<W: World>(&mut self, world: &mut W, archive: &mut Archive) -> Result<Arc<SessionKey>, Failure> {
        if let Some(key) = self.key.as_ref().filter(|key| !key.is_worn()) {
            return Ok(Arc::clone(key));
        }
        let number = archive.head.keys.size.saturating_add(self.new_keys.len() as u64);
        let number = u32::try_from(number).map_err(|_| internal("the key table is full"))?;
        let entropy = Entropy {
            kernel: Secret::take(&mut world.draw()?),
            generation: archive.head.generation,
            wall_nanos: world.wall_nanos(),
            monotonic_nanos: world.monotonic_nanos(),
            process_id: world.process_id(),
        };
        let (key, entry) = SessionKey::draw(&archive.credential, number, &entropy).map_err(|error| internal(&error.to_string()))?;
        archive.journal.key(world, &JournalKey { number, entry })?;
        self.new_keys.push(entry);
        let key = Arc::new(key);
        self.key = Some(Arc::clone(&key));
        Ok(key)
    }

    /// More packs than one commit's tail could list.
    fn needs_intermediate_commit(&self) -> bool {
        let most = usize::try_from(self.settings.pack_size_bytes / PACK_BYTES_AN_ENTRY).unwrap_or(usize::MAX);
        self.packer.closed_count() >= most
    }

    fn report<W: World>(&self, world: &mut W, name: &str, reader: &BatchReader, plan: &Plan) {
        let done_bytes = reader.next_chunk.saturating_mul(plan.chunk_size as u64).min(plan.size_bytes);
        world.progress(Progress {
            phase: Phase::Reading,
            volume: Some(name.to_owned()),
            done_bytes,
            total_bytes: plan.size_bytes,
            sent_bytes: self.packer.sent_bytes(),
        });
    }
}

fn tools<'a, W: World>(world: &'a mut W, credential: &'a Credential, archive: &'a mut Archive, pool: &'a mut Pool) -> Tools<'a, W> {
    Tools { world, credential, cache: &mut archive.cache, journal: &archive.journal, pool }
}

fn new_volume(settings: &ArchiveSettings, begun: JournalVolume, size_bytes: u64) -> VolumeEntry {
    VolumeEntry {
        id: begun.id,
        domain: settings.shared_domain.unwrap_or(begun.domain),
        size_bytes,
        chunk_size_bytes: settings.chunk_size_bytes,
        sessions_size: 0,
        sessions_root: Id::ZERO,
        name: begun.name,
        description: String::new(),
    }
}

/// What is counted of one volume.
#[derive(Default)]
struct Counts {
    read_bytes: u64,
    changed_bytes: u64,
    sealed_bytes: u64,
}

/// Whole chunks of a source, but for its last one.
struct Batch {
    first_chunk: u64,
    bytes: Vec<u8>,
}

/// A batch whose chunks are being named.
struct Naming {
    first_chunk: u64,
    chunk_size: usize,
    bytes: Arc<Vec<u8>>,
    /// What the base has at the same places.
    expected: Vec<Option<Id>>,
    /// What the base has before them, where the source has a hole.
    removed: Vec<u64>,
    tickets: Vec<Ticket<Vec<Option<Id>>>>,
}

type SealedRecords = Result<Vec<(Id, Vec<u8>)>, SealError>;

/// A batch whose unknown chunks are being sealed.
struct Sealing {
    bytes: Arc<Vec<u8>>,
    changes: Vec<(u64, Option<Id>)>,
    tickets: Vec<(Arc<SessionKey>, Ticket<SealedRecords>)>,
}

/// `None` for a chunk of zeros: a hole.
fn name_chunks(domain: &Domain, bytes: &[u8], chunk_size: usize) -> Vec<Option<Id>> {
    bytes.chunks(chunk_size).map(|chunk| (!is_zero(chunk)).then(|| domain.content_id(chunk))).collect()
}

/// Looks at 64 bytes at a time, which the compiler turns into vector instructions.
fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Cuts a batch into tasks of whole chunks.
fn task_ranges(bytes: usize, chunk_size: usize) -> impl Iterator<Item = Range<usize>> {
    let step = (TASK_BYTES / chunk_size).max(1).saturating_mul(chunk_size);
    (0..bytes).step_by(step).map(move |begin| begin..begin.saturating_add(step).min(bytes))
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

/// Reads the data of a source in batches, and passes over its holes.
struct BatchReader {
    item: u32,
    next_chunk: u64,
    count: u64,
    chunk_size: usize,
    size_bytes: u64,
    /// Room of batches that are packed.
    spare: Vec<Vec<u8>>,
}

/// Why a source could not be read.
enum ReadStop {
    Errno(u64, Errno),
    Resized(u64, u64),
}

impl ReadStop {
    fn of_volume(self, name: &str) -> Failure {
        let volume = name.to_owned();
        match self {
            Self::Errno(offset_bytes, Errno(errno)) => Failure::SourceRead { volume, offset_bytes, errno },
            Self::Resized(expected_bytes, found_bytes) => Failure::SourceResized { volume, expected_bytes, found_bytes },
        }
    }
}

impl BatchReader {
    fn next<W: World>(&mut self, world: &mut W) -> Result<Option<Batch>, ReadStop> {
        let chunk_size = self.chunk_size as u64;
        if self.next_chunk >= self.count {
            return self.check_size(world).map(|()| None);
        }
        let offset = self.next_chunk.saturating_mul(chunk_size);
        let data = world.next_data(self.item, offset).map_err(|errno| ReadStop::Errno(offset, errno))?;
        let Some((begin, end)) = data.filter(|(begin, _)| *begin < self.size_bytes) else {
            self.next_chunk = self.count;
            return self.check_size(world).map(|()| None);
        };
        let first_chunk = (begin / chunk_size).max(self.next_chunk);
        let most = (BATCH_BYTES / self.chunk_size).max(1) as u64;
        let last_chunk = end.div_ceil(chunk_size).min(self.count).min(first_chunk.saturating_add(most)).max(first_chunk.saturating_add(1));
        let offset = first_chunk.saturating_mul(chunk_size);
        let length = last_chunk.saturating_mul(chunk_size).min(self.size_bytes).saturating_sub(offset);
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.resize(usize::try_from(length).unwrap_or(0), 0);
        let read = world.read_source(self.item, offset, &mut bytes).map_err(|errno| ReadStop::Errno(offset, errno))?;
        if read < bytes.len() {
            return Err(ReadStop::Resized(self.size_bytes, offset.saturating_add(read as u64)));
        }
        self.next_chunk = last_chunk;
        Ok(Some(Batch { first_chunk, bytes }))
    }

    /// A source that shrank while it was read would look like one with a hole at its end.
    fn check_size<W: World>(&self, world: &mut W) -> Result<(), ReadStop> {
        let found = world.source_bytes(self.item).map_err(|errno| ReadStop::Errno(self.size_bytes, errno))?;
        if found < self.size_bytes { Err(ReadStop::Resized(self.size_bytes, found)) } else { Ok(()) }
    }
}

/// The base's entries in step with the batches.
struct BaseWalk {
    walk: Walk<ContentTree>,
    ahead: Option<(u64, Id)>,
}

impl BaseWalk {
    fn new(base: &Root<Id>) -> Self {
        Self { walk: Walk::from(base, 0), ahead: None }
    }

    fn next<W: World>(
        &mut self,
        world: &mut W,
        cache: &mut crate::keyholder::cache::Cache,
        credential: &Credential,
    ) -> Result<Option<(u64, Id)>, Failure> {
        match self.ahead.take() {
            Some(entry) => Ok(Some(entry)),
            None => self.walk.next(&mut CachedNodes { world, cache, credential }),
        }
    }

    fn next_below<W: World>(
        &mut self,
        end: u64,
        world: &mut W,
        cache: &mut crate::keyholder::cache::Cache,
        credential: &Credential,
    ) -> Result<Option<(u64, Id)>, Failure> {
        let entry = self.next(world, cache, credential)?;
        match entry {
            Some((index, _)) if index >= end => {
                self.ahead = entry;
                Ok(None)
            }
            entry => Ok(entry),
        }
    }
}
