// SPDX-License-Identifier: GPL-3.0-or-later
//! source → ranges → chunks: reads all of a source, or what changed since a base, in ascending
//! batches of whole chunks. Holes are skipped; removing what the base has there is left to the
//! pipeline.

use std::collections::VecDeque;
use std::ops::Range;

use wyng_archive::crypto::{Credential, Id};
use wyng_archive::format::{ContentTree, SessionEntry};
use wyng_archive::plan::{Root, Walk};
use wyng_control::{Failure, Method, path_text};

use super::base::KnownBase;
use super::sample::Samples;
use super::stop::ReadStop;
use crate::archive::{CachedNodes, content_root};
use crate::cache::Cache;
use crate::state::SavedDelta;
use crate::world::{ChangePage, Files, SourceShape, Volumes};

/// Bytes of one read. A worker's task is a part of it.
const BATCH_BYTES: usize = 2 << 20;

/// Consecutive chunks of a source. The last chunk of the source may be short.
pub(super) struct Batch {
    /// The chunks that the batch accounts for. Those that are not in `bytes` are holes.
    pub covers: Range<u64>,
    /// The number of the first chunk in `bytes`.
    pub first_chunk: u64,
    /// The bytes of the chunks, end to end.
    pub bytes: Vec<u8>,
}

/// The tree that a new session changes, and what is read for it.
pub(super) struct Base {
    /// The root of the tree.
    pub root: Root<Id>,
    /// What had changed when the base snapshot was made, and the snapshot's size: this is read, and
    /// so is what the volumes role reports as changed since the snapshot. `None`: all is read.
    pub changes_since: Option<SavedDelta>,
}

impl Base {
    /// Reads all of the source, and compares it with this session if there is one.
    pub(super) fn whole(session: Option<&SessionEntry>, count: u64) -> Self {
        Self {
            root: session.map_or(Root::empty(count), content_root),
            changes_since: None,
        }
    }

    /// Reads what changed since this base.
    pub(super) fn delta(base: &KnownBase) -> Self {
        Self {
            root: content_root(&base.session),
            changes_since: Some(base.saved.clone()),
        }
    }
}

/// Refuses an empty source that should hold something, with [`Failure::SourceEmpty`]. Absence is
/// not content: a device without a medium has 0 bytes, and so has a file that was truncated or not
/// restored. Only a file that never held anything may be empty.
pub(super) fn refuse_empty(
    shape: &SourceShape,
    volume: &str,
    was_bytes: u64,
) -> Result<(), Failure> {
    let origin = &shape.found.origin;
    if shape.size_bytes == 0 && (was_bytes > 0 || origin.device_bytes.is_some()) {
        return Err(Failure::SourceEmpty {
            volume: volume.to_owned(),
            path: path_text(&origin.path),
            was_bytes,
        });
    }
    Ok(())
}

/// Reads a source in batches.
pub(super) struct BatchReader {
    item: u32,
    ranges: ChunkRanges,
    /// The rest of the range that is being read.
    current: Range<u64>,
    chunk_size: usize,
    size_bytes: u64,
    /// Buffers of batches that are packed, for reuse.
    pub spare: Vec<Vec<u8>>,
}

impl BatchReader {
    /// A reader of source `item`, which has `size_bytes` in `count` chunks.
    pub(super) fn new(
        item: u32,
        base: &Base,
        chunk_size: usize,
        size_bytes: u64,
        count: u64,
        samples: Samples,
    ) -> Self {
        let ranges = match &base.changes_since {
            None => ChunkRanges::whole(count),
            Some(saved) => {
                ChunkRanges::changed(saved, size_bytes, chunk_size as u64, count, samples)
            }
        };
        Self {
            item,
            ranges,
            current: 0..0,
            chunk_size,
            size_bytes,
            spare: Vec::new(),
        }
    }

    /// The next batch, or `None` at the end.
    pub(super) fn next(&mut self, volumes: &mut impl Volumes) -> Result<Option<Batch>, ReadStop> {
        if self.current.is_empty() {
            match self.ranges.next(volumes, self.item)? {
                Some(range) => self.current = range,
                None => return self.check_size(volumes).map(|()| None),
            }
        }
        let chunk_size = self.chunk_size as u64;
        let Range { start, end } = self.current.clone();
        let offset = start.saturating_mul(chunk_size);
        let data = volumes
            .next_data(self.item, offset)
            .map_err(|errno| ReadStop::Errno(offset, errno))?;
        let range_end = end.saturating_mul(chunk_size).min(self.size_bytes);
        let Some((data_begin, data_end)) = data.filter(|(begin, _)| *begin < range_end) else {
            self.current = end..end;
            return Ok(Some(Batch {
                covers: start..end,
                first_chunk: end,
                bytes: Vec::new(),
            }));
        };
        let first_chunk = (data_begin / chunk_size).max(start);
        let most = (BATCH_BYTES / self.chunk_size).max(1) as u64;
        let last_chunk = data_end
            .div_ceil(chunk_size)
            .min(end)
            .min(first_chunk.saturating_add(most))
            .max(first_chunk.saturating_add(1));
        let offset = first_chunk.saturating_mul(chunk_size);
        let length = last_chunk
            .saturating_mul(chunk_size)
            .min(self.size_bytes)
            .saturating_sub(offset);
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.resize(usize::try_from(length).unwrap_or(0), 0);
        let read = volumes
            .read_source(self.item, offset, &mut bytes)
            .map_err(|errno| ReadStop::Errno(offset, errno))?;
        if read < bytes.len() {
            return Err(ReadStop::Resized(
                self.size_bytes,
                offset.saturating_add(read as u64),
            ));
        }
        self.current.start = last_chunk;
        Ok(Some(Batch {
            covers: start..last_chunk,
            first_chunk,
            bytes,
        }))
    }

    /// The position in the source, bytes.
    pub(super) fn position_bytes(&self) -> u64 {
        self.current
            .start
            .saturating_mul(self.chunk_size as u64)
            .min(self.size_bytes)
    }

    /// How the changes were found; `None` if they could not be determined: then not all that
    /// changed was read.
    pub(super) fn method(&self) -> Option<Method> {
        self.ranges.method()
    }

    /// Hands over the samples among the chunks that were not read.
    pub(super) fn take_samples(&mut self) -> Samples {
        std::mem::take(&mut self.ranges.samples)
    }

    /// Refuses a source that shrank while it was read: it would look like a source with a hole at
    /// its end.
    fn check_size(&self, volumes: &mut impl Volumes) -> Result<(), ReadStop> {
        let found = volumes
            .source_bytes(self.item)
            .map_err(|errno| ReadStop::Errno(self.size_bytes, errno))?;
        if found < self.size_bytes {
            Err(ReadStop::Resized(self.size_bytes, found))
        } else {
            Ok(())
        }
    }
}

/// Ranges of chunks to be read, ascending and disjoint.
pub(crate) struct ChunkRanges {
    chunk_size: u64,
    count: u64,
    /// Chunks below this number were handed out.
    done: u64,
    /// Ranges of bytes that the volumes role reported as changed and that were not handed out.
    reported: VecDeque<(u64, u64)>,
    at_end: bool,
    /// Ranges of bytes that changed for certain and were not handed out: the saved delta, and the
    /// bytes between the old size and the new size with the last byte before them, since its chunk
    /// has another length now.
    known: VecDeque<(u64, u64)>,
    method: Option<Method>,
    samples: Samples,
}

impl ChunkRanges {
    fn whole(count: u64) -> Self {
        Self {
            chunk_size: 1,
            count,
            done: 0,
            reported: VecDeque::from([(0, count)]),
            at_end: true,
            known: VecDeque::new(),
            method: Some(Method::FullScan),
            samples: Samples::default(),
        }
    }

    /// The ranges that changed since a base, in a volume that now has `new_bytes` in `count`
    /// chunks.
    pub(crate) fn changed(
        saved: &SavedDelta,
        new_bytes: u64,
        chunk_size: u64,
        count: u64,
        samples: Samples,
    ) -> Self {
        let old_bytes = saved.base_bytes;
        let mut known = saved.ranges.clone();
        if old_bytes != new_bytes {
            let resized = (
                old_bytes.min(new_bytes).saturating_sub(1),
                old_bytes.max(new_bytes),
            );
            known.insert(known.partition_point(|range| range.0 < resized.0), resized);
        }
        Self {
            chunk_size,
            count,
            done: 0,
            reported: VecDeque::new(),
            at_end: false,
            known: known.into(),
            method: None,
            samples,
        }
    }

    /// How the changes are found; `None` if they could not be determined.
    pub(crate) fn method(&self) -> Option<Method> {
        self.method
    }

    /// The next range; `None` at the end.
    pub(crate) fn next(
        &mut self,
        volumes: &mut impl Volumes,
        item: u32,
    ) -> Result<Option<Range<u64>>, Failure> {
        loop {
            if self.reported.is_empty() && !self.at_end {
                self.next_page(volumes, item)?;
            }
            let known_is_next = match (self.known.front(), self.reported.front()) {
                (Some(known), Some(reported)) => known.0 <= reported.0,
                (known, _) => known.is_some(),
            };
            let next = if known_is_next {
                self.known.pop_front()
            } else {
                self.reported.pop_front()
            };
            let Some((begin, end)) = next else {
                return Ok(None);
            };
            let range = (begin / self.chunk_size).max(self.done)
                ..end.div_ceil(self.chunk_size).min(self.count);
            if !range.is_empty() {
                self.done = range.end;
                self.samples.pass_over(&range, self.count);
                return Ok(Some(range));
            }
        }
    }

    fn next_page(&mut self, volumes: &mut impl Volumes, item: u32) -> Result<(), Failure> {
        match volumes.next_changes(item)? {
            Some(ChangePage { method, ranges }) => {
                self.method = Some(method);
                self.at_end = ranges.is_empty();
                self.reported.extend(ranges);
            }
            None => {
                self.method = None;
                self.at_end = true;
            }
        }
        Ok(())
    }
}

/// Walks the base's tree in step with the batches.
pub(crate) struct BaseWalk {
    walk: Walk<ContentTree>,
    ahead: Option<(u64, Id)>,
}

impl BaseWalk {
    /// Begins at the first entry.
    pub(crate) fn new(base: &Root<Id>) -> Self {
        Self {
            walk: Walk::from(base, 0),
            ahead: None,
        }
    }

    /// The next entry in `range`, without taking it.
    pub(crate) fn peek_in(
        &mut self,
        range: &Range<u64>,
        files: &mut impl Files,
        cache: &mut Cache,
        credential: &Credential,
    ) -> Result<Option<(u64, Id)>, Failure> {
        let entry = self.next_in(range, files, cache, credential)?;
        if entry.is_some() {
            self.ahead = entry;
        }
        Ok(entry)
    }

    /// Takes the next entry in `range`. Ranges must ascend; nodes that lie between two ranges are
    /// not loaded.
    pub(crate) fn next_in(
        &mut self,
        range: &Range<u64>,
        files: &mut impl Files,
        cache: &mut Cache,
        credential: &Credential,
    ) -> Result<Option<(u64, Id)>, Failure> {
        let entry = match self.ahead.take().filter(|(index, _)| *index >= range.start) {
            None => {
                self.walk.skip_to(range.start);
                self.walk.next(&mut CachedNodes {
                    files,
                    cache,
                    credential,
                })?
            }
            entry => entry,
        };
        match entry {
            Some((index, _)) if index >= range.end => {
                self.ahead = entry;
                Ok(None)
            }
            entry => Ok(entry),
        }
    }
}
