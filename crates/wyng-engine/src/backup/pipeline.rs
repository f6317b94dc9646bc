// SPDX-License-Identifier: GPL-3.0-or-later
//! One pass over a source: source → ranges → chunks → ids → known? → sealed records → packs → tree.
//! Batches overlap: one is read while workers name the second and seal the third. The commit is the
//! run's.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::{Id, NonceSeed};
use wyng_archive::plan::Root;
use wyng_control::{Failure, Method, Phase, Progress};

use super::plan::VolumeRun;
use super::run::Run;
use super::sample::Samples;
use super::source::{Base, BaseWalk, Batch, BatchReader};
use super::stage::{Chunks, Naming, Sealer, Sealing, Unsealed};
use crate::outcome::internal;
use crate::store::ContentEdit;
use crate::world::{Client, Parts, Random};

/// Maximum number of batches between reading and packing.
const BATCHES_AHEAD: usize = 4;

/// Makes a source's content tree: from the changes since its base snapshot, or by reading all of it
/// if there is no base snapshot that can be trusted. Also says how the changes were found.
pub(super) fn read_source<P: Parts>(
    run: &mut Run<'_, P>,
    volume: &mut VolumeRun,
) -> Result<(Root<Id>, Method), Failure> {
    if let Some(base) = volume.plan.base.as_ref().map(Base::delta) {
        match Pipeline::begin(run, volume, &base)?.read_all()? {
            Pass::Done(root, method) => return Ok((root, method)),
            Pass::Distrusted => tracing::warn!(
                volume = volume.name,
                "the changes reported for it cannot be trusted: all of it is read"
            ),
        }
        volume.counts.changed_bytes = 0;
    }
    let whole = Base::whole(volume.plan.newest.as_ref(), volume.chunk_count());
    match Pipeline::begin(run, volume, &whole)?.read_all()? {
        Pass::Done(root, method) => Ok((root, method)),
        Pass::Distrusted => Err(internal("a volume was distrusted though it was read whole")),
    }
}

/// What came of one pass.
enum Pass {
    /// The content tree, and how the changes were found.
    Done(Root<Id>, Method),
    /// The changes that were reported cannot be trusted.
    Distrusted,
}

/// The parts of one pass, each named for its place in the line.
struct Pipeline<'r, 'w, P: Parts> {
    run: &'r mut Run<'w, P>,
    volume: &'r mut VolumeRun,
    /// Reads batches of the source.
    reader: BatchReader,
    /// Walks the base's tree in step with the batches.
    walk: BaseWalk,
    /// The root of that tree.
    base: Root<Id>,
    /// Batches whose ids are being computed.
    naming: VecDeque<NamingBatch>,
    /// Batches whose unknown chunks are being sealed.
    sealing: VecDeque<SealingBatch>,
    /// The new tree; `None` in a dry run.
    edit: Option<ContentEdit>,
    at_end: bool,
}

/// A batch whose ids are being computed.
struct NamingBatch {
    chunks: Chunks,
    naming: Naming,
    /// The base's ids of the same chunks.
    expected: Vec<Option<Id>>,
    /// Chunks of the base that lie in a hole of the source now.
    removed: Vec<u64>,
}

/// A batch whose unknown chunks are being sealed.
struct SealingBatch {
    bytes: Arc<Vec<u8>>,
    sealing: Sealing,
    /// Changes of the tree that are still to be made.
    changes: VecDeque<(u64, Option<Id>)>,
}

impl<'r, 'w, P: Parts> Pipeline<'r, 'w, P> {
    fn begin(
        run: &'r mut Run<'w, P>,
        volume: &'r mut VolumeRun,
        base: &Base,
    ) -> Result<Self, Failure> {
        let count = volume.chunk_count();
        let (chunk_size, size_bytes) = (volume.plan.chunk_size, volume.plan.size_bytes);
        let mut samples = Samples::default();
        if base.changes_since.is_some() {
            samples = Samples::draw(
                &mut run.job.world.files,
                &mut run.job.world.random,
                &mut run.job.archive,
                &base.root,
                count,
                chunk_size,
            )?;
        }
        let mut edit = None;
        if !run.dry_run {
            let (mut tools, packer) = (run.job.tools(), &mut run.packer);
            edit = Some(ContentEdit::new(&mut tools, packer, &base.root, count)?);
        }
        Ok(Self {
            reader: BatchReader::new(volume.item, base, chunk_size, size_bytes, count, samples),
            walk: BaseWalk::new(&base.root),
            base: base.root,
            naming: VecDeque::new(),
            sealing: VecDeque::new(),
            edit,
            at_end: false,
            run,
            volume,
        })
    }

    /// Moves each batch along the line, the oldest first, until all are packed.
    fn read_all(mut self) -> Result<Pass, Failure> {
        while !(self.at_end && self.naming.is_empty() && self.sealing.is_empty()) {
            if !self.at_end && self.batches() < BATCHES_AHEAD {
                self.read_batch()?;
                if self.naming.len() < BATCHES_AHEAD / 2 && !self.at_end {
                    continue;
                }
            }
            if let Some(batch) = self.naming.pop_front() {
                let batch = self.seal_batch(batch)?;
                self.sealing.push_back(batch);
            }
            if (self.sealing.len() >= BATCHES_AHEAD / 2 || self.naming.is_empty())
                && let Some(batch) = self.sealing.pop_front()
            {
                self.pack_batch(batch)?;
            }
            if self.run.job.world.client.cancelled() {
                return Err(Failure::Interrupted);
            }
        }
        self.finish()
    }

    fn batches(&self) -> usize {
        self.naming.len().saturating_add(self.sealing.len())
    }

    /// source → ranges → chunks. Hands the next batch to the workers that name it.
    fn read_batch(&mut self) -> Result<(), Failure> {
        let next = self.reader.next(&mut self.run.job.world.volumes);
        match next.map_err(|stop| stop.of_volume(&self.volume.name, &self.volume.plan.path))? {
            Some(batch) => {
                let batch = self.name_batch(batch)?;
                self.naming.push_back(batch);
            }
            None => self.at_end = true,
        }
        self.run.job.world.client.progress(Progress {
            phase: Phase::Reading,
            volume: Some(self.volume.name.clone()),
            done_bytes: self.reader.position_bytes(),
            total_bytes: self.volume.plan.size_bytes,
            sent_bytes: self.run.packer.sent_bytes(),
        });
        Ok(())
    }

    /// chunks → ids. Also finds the base's ids of the same chunks.
    fn name_batch(&mut self, batch: Batch) -> Result<NamingBatch, Failure> {
        let chunk_size = self.volume.plan.chunk_size;
        let chunks = Chunks {
            first: batch.first_chunk,
            chunk_size,
            bytes: Arc::new(batch.bytes),
        };
        self.volume.counts.add_read(chunks.bytes.len());
        let (mut expected, mut removed) = (vec![None; chunks.count()], Vec::new());
        let job = &mut self.run.job;
        while let Some((index, id)) = self.walk.next_in(
            &batch.covers,
            &mut job.world.files,
            &mut job.archive.cache,
            &job.archive.credential,
        )? {
            let place = chunks.place(index);
            match place.and_then(|place| expected.get_mut(place)) {
                Some(expected) => *expected = Some(id),
                None => {
                    self.volume.counts.add_changed(chunk_size);
                    removed.push(index);
                }
            }
        }
        let naming = Naming::start(&mut job.pool, &self.volume.plan.domain, &chunks)?;
        Ok(NamingBatch {
            chunks,
            naming,
            expected,
            removed,
        })
    }

    /// ids → known? → sealed records. Hands the chunks that are not known to the workers that
    /// compress and seal them.
    fn seal_batch(&mut self, batch: NamingBatch) -> Result<SealingBatch, Failure> {
        let NamingBatch {
            chunks,
            naming,
            expected,
            removed,
        } = batch;
        let mut changes: VecDeque<_> = removed.into_iter().map(|index| (index, None)).collect();
        let mut unknown: Vec<(Id, Range<usize>)> = Vec::new();
        // An unchanged chunk may lie in a pack that is lost.
        let heals = self.run.job.archive.cache.index.has_lost();
        for ((place, id), expected) in naming.wait()?.into_iter().enumerate().zip(expected) {
            let changed = id != expected;
            if !changed && !heals {
                continue;
            }
            let range = chunks.range(place);
            if changed {
                changes.push_back((chunks.number(place), id));
                self.volume.counts.add_changed(range.len());
            }
            let Some(id) = id.filter(|_| !self.run.dry_run) else {
                continue;
            };
            if !unknown.iter().any(|(other, _)| *other == id) && !self.is_known(&id)? {
                unknown.push((id, range));
            }
        }
        let sealing = if unknown.is_empty() {
            Sealing::default()
        } else {
            self.start_sealing(&chunks.bytes, unknown)?
        };
        Ok(SealingBatch {
            bytes: chunks.bytes,
            sealing,
            changes,
        })
    }

    /// Whether a sound pack has the chunk, or a pack that is being made.
    fn is_known(&mut self, id: &Id) -> Result<bool, Failure> {
        let job = &mut self.run.job;
        let index = &job.archive.cache.index;
        Ok(self.run.packer.is_on_the_way(id)
            || index.find_sound(&mut job.world.files, id)?.is_some())
    }

    fn start_sealing(
        &mut self,
        bytes: &Arc<Vec<u8>>,
        unknown: Vec<(Id, Range<usize>)>,
    ) -> Result<Sealing, Failure> {
        let key = self.run.begin_sealing(self.volume.plan.entry.id)?;
        let job = &mut self.run.job;
        let mut unsealed = Vec::with_capacity(unknown.len());
        for (id, range) in unknown {
            let seed = NonceSeed(job.world.random.draw()?);
            unsealed.push(Unsealed { id, range, seed });
        }
        let sealer = Sealer {
            credential: Arc::clone(&job.archive.credential),
            key,
        };
        Sealing::start(&mut job.pool, &sealer, bytes, unsealed)
    }

    /// sealed records → packs, then the batch's changes → tree. A commit that is due comes between
    /// two records or two changes, and the volume's tree goes on after it.
    fn pack_batch(&mut self, mut batch: SealingBatch) -> Result<(), Failure> {
        loop {
            if self.run.is_commit_due() {
                self.run.commit_midway()?;
            }
            if let Some(record) = batch.sealing.next(&self.volume.name)? {
                // The batch before, sealed at the same time, may have had the same chunk.
                if !self.run.packer.is_on_the_way(&record.id) {
                    let volume = (self.volume.plan.entry.id, self.volume.name.as_str());
                    self.run.charge(volume, &record.id, record.bytes.len())?;
                    let (mut tools, packer) = (self.run.job.tools(), &mut self.run.packer);
                    packer.add_chunk(&mut tools, record.id, &record.key, &record.bytes)?;
                    self.volume.counts.add_sealed(record.bytes.len());
                }
            } else if let Some((index, id)) = batch.changes.pop_front() {
                let (mut tools, packer) = (self.run.job.tools(), &mut self.run.packer);
                if let Some(edit) = &mut self.edit {
                    edit.set(&mut tools, packer, index, id)?;
                }
            } else {
                break;
            }
        }
        self.reader.spare.extend(Arc::into_inner(batch.bytes)); // no task has it any more
        Ok(())
    }

    /// Checks the samples, and completes the tree.
    fn finish(mut self) -> Result<Pass, Failure> {
        let Some(method) = self.reader.method() else {
            return Ok(Pass::Distrusted);
        };
        let samples = self.reader.take_samples();
        let checked = samples
            .check(&mut self.run.job, self.volume, &self.base)
            .map_err(|stop| stop.of_volume(&self.volume.name, &self.volume.plan.path))?;
        let counts = &mut self.volume.counts;
        counts.sampled_bytes = counts.sampled_bytes.saturating_add(checked.read_bytes);
        if !checked.as_reported {
            return Ok(Pass::Distrusted);
        }
        let Some(edit) = self.edit else {
            return Ok(Pass::Done(Root::empty(self.volume.chunk_count()), method));
        };
        let root = edit.finish(&mut self.run.job.tools(), &mut self.run.packer)?;
        Ok(Pass::Done(root, method))
    }
}
