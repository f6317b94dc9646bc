// SPDX-License-Identifier: GPL-3.0-or-later
//! Where what is on this machine differs from a session. A base snapshot and two trees tell at once
//! where to look first; but that something is the same is known only when it was read and named.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::{Coder, Domain, Id};
use wyng_archive::format::{ContentTree, SessionEntry, VolumeEntry};
use wyng_archive::plan::{diff, get};
use wyng_control::{BaseLabel, Failure};

use crate::archive::{Archive, content_root};
use crate::backup::{BaseWalk, ChunkRanges, KnownBase, Samples, find_base};
use crate::bits::Bits;
use crate::naming::name_chunk;
use crate::pool::{Pool, Ticket};
use crate::room::{BLOCK_BYTES, Room};
use crate::store::is_in_cache;
use crate::world::{Client, Errno, Files, Parts, Volumes, World};

/// What is read at once; a worker names it.
const BATCH_BYTES: u64 = 1 << 20;

/// Where what is there is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is there.
    Nowhere,
    /// A source: the volume as it is, or the file that a target replaces.
    Source,
    /// The target itself, past the page cache.
    Target,
}

/// Something that is there, and the session that it is compared with.
pub(super) struct Comparison<'a> {
    /// The number under which what is there is read.
    pub item: u32,
    /// Where that is.
    pub place: Place,
    /// Its size.
    pub there_bytes: u64,
    /// What its base snapshot is of, and that one's size.
    pub base: Option<(BaseLabel, u64)>,
    /// The volume.
    pub volume: &'a VolumeEntry,
    /// The session.
    pub session: &'a SessionEntry,
    /// The session's domain.
    pub domain: &'a Arc<Domain>,
}

/// One chunk that was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compared {
    /// Its number.
    pub index: u64,
    /// What the session has there.
    pub expected: Option<Id>,
    /// What was found.
    pub found: Found,
}

/// What was found where a chunk of a session belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Just that chunk; it was read.
    Same,
    /// Something else; it was read.
    Other,
    /// A hole, where the session has a chunk.
    Hole,
    /// It cannot be read.
    Unreadable(Errno),
}

/// Some chunks that were compared, ascending, and the bytes of those that were read.
pub(super) struct Batch {
    /// The chunks.
    pub chunks: Vec<Compared>,
    /// The first chunk whose bytes are in the room.
    first: u64,
    chunk_size: u64,
    room: Room,
}

impl Batch {
    /// The bytes of a chunk that was read, as long as the session's chunk; zeros behind the end of
    /// what is there.
    pub(super) fn bytes(&self, index: u64, length: u32) -> &[u8] {
        let begin = usize_of(
            index
                .saturating_sub(self.first)
                .saturating_mul(self.chunk_size),
        );
        self.room
            .bytes()
            .get(begin..begin.saturating_add(usize_of(u64::from(length))))
            .unwrap_or_default()
    }
}

impl Comparison<'_> {
    /// Chunks outside of which a base snapshot says that all is the same; `None` without a base
    /// snapshot that can be compared.
    pub(super) fn suspects<P: Parts>(
        &self,
        world: &mut World<P>,
        archive: &mut Archive,
    ) -> Result<Option<Bits>, Failure> {
        let count = self.session.chunk_count();
        let Some(base) = self.known_base(&mut world.files, archive)? else {
            return Ok(None);
        };
        let mut suspects = Bits::none(count);
        let chunk_size = u64::from(self.session.chunk_size_bytes);
        let there_count = self.there_bytes.div_ceil(chunk_size);
        let mut changed = ChunkRanges::changed(
            &base.saved,
            self.there_bytes,
            chunk_size,
            there_count,
            Samples::default(),
        );
        while let Some(range) = changed.next(&mut world.volumes, self.item)? {
            if world.client.cancelled() {
                return Err(Failure::Interrupted);
            }
            suspects.insert(range);
        }
        if changed.method().is_none() {
            return Ok(None);
        }
        if self.there_bytes != self.session.size_bytes {
            let (least, most) = (
                self.there_bytes.min(self.session.size_bytes),
                self.there_bytes.max(self.session.size_bytes),
            );
            suspects.insert(least.saturating_sub(1) / chunk_size..most.div_ceil(chunk_size));
        }
        let (from, to) = (content_root(&base.session), content_root(self.session));
        let mut visit = |index: u64, _: Option<&Id>, _: Option<&Id>| {
            suspects.insert(index..index.saturating_add(1))
        };
        diff::<ContentTree, _, _>(&from, &to, &mut archive.nodes(&mut world.files), &mut visit)?;
        Ok(Some(suspects))
    }

    /// The base snapshot, if its session's ids can be compared.
    fn known_base(
        &self,
        files: &mut impl Files,
        archive: &mut Archive,
    ) -> Result<Option<KnownBase>, Failure> {
        let like = (self.session.domain, self.session.chunk_size_bytes);
        match find_base(files, archive, self.volume, self.base, like)? {
            Some(found)
                if is_in_cache(files, archive, &found.session)?
                    && is_in_cache(files, archive, self.session)? =>
            {
                Ok(Some(found))
            }
            _ => Ok(None),
        }
    }

    fn next_data(&self, volumes: &mut impl Volumes, offset: u64) -> Option<(u64, u64)> {
        let found = match self.place {
            Place::Nowhere => Ok(None),
            Place::Source => volumes.next_data(self.item, offset),
            Place::Target => volumes.next_target_data(self.item, offset),
        };
        // Where holes cannot be told, all is read.
        found.unwrap_or(Some((offset, u64::MAX)))
    }

    /// Fills the room from `offset`: what is past the end of what is there is zeros.
    fn fill(
        &self,
        volumes: &mut impl Volumes,
        offset: u64,
        room: &mut Room,
        within: Range<usize>,
    ) -> Result<(), Errno> {
        let (begin, length) = (within.start, within.len());
        let part_offset = offset.saturating_add(begin as u64);
        let read = match self.place {
            Place::Nowhere => 0,
            Place::Source => volumes.read_source(
                self.item,
                part_offset,
                room.bytes_mut().get_mut(within).unwrap_or_default(),
            )?,
            Place::Target => {
                let end = within.end.next_multiple_of(BLOCK_BYTES);
                volumes.read_target(
                    self.item,
                    part_offset,
                    room.blocks_mut().get_mut(begin..end).unwrap_or_default(),
                )?
            }
        };
        let expected = usize_of(self.there_bytes.saturating_sub(part_offset)).min(length);
        if read < expected {
            return Err(SHORT);
        }
        let zeros = begin.saturating_add(read.min(length))..begin.saturating_add(length);
        room.bytes_mut().get_mut(zeros).unwrap_or_default().fill(0);
        Ok(())
    }
}

/// What ends before its size is as good as unreadable: `EIO`.
const SHORT: Errno = Errno(5);

/// How far a comparison is. Workers name what was read while more is read.
pub(super) struct Reading {
    walk: BaseWalk,
    /// Chunks below it were taken up.
    next: u64,
    /// What is known of the holes of what is there.
    data: Option<Range<u64>>,
    at_end: bool,
    under_way: VecDeque<UnderWay>,
    spare: Vec<Room>,
    /// Bytes that were read.
    pub read_bytes: u64,
}

/// A batch that is being named.
struct UnderWay {
    chunks: Vec<(u64, Option<Id>, Option<Errno>)>,
    first: u64,
    /// `None`: nothing was read, as all of it is a hole.
    named: Option<Ticket<(Room, Vec<Option<Id>>)>>,
}

impl Reading {
    /// At the begin of a session.
    pub(super) fn of(session: &SessionEntry) -> Self {
        Self {
            walk: BaseWalk::new(&content_root(session)),
            next: 0,
            data: None,
            at_end: false,
            under_way: VecDeque::new(),
            spare: Vec::new(),
            read_bytes: 0,
        }
    }

    /// Chunks below it were compared, or are none of those that are.
    pub(super) fn position(&self) -> u64 {
        self.under_way
            .front()
            .map_or(self.next, |batch| batch.first)
    }

    /// Takes back the room of a batch.
    pub(super) fn give_back(&mut self, batch: Batch) {
        self.spare.push(batch.room);
    }

    /// The next chunks that `runs` gives out, compared; `None` when all were. `runs` gives the
    /// first run of chunk numbers at or after one. Chunks that are holes on both sides are passed
    /// over, and nothing is said of them.
    pub(super) fn next<P: Parts>(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
        comparison: &Comparison<'_>,
        runs: &dyn Fn(u64) -> Option<Range<u64>>,
    ) -> Result<Option<Batch>, Failure> {
        while !self.at_end && self.under_way.len() <= pool.width() {
            match self.begin_batch(world, archive, pool, comparison, runs)? {
                Some(batch) => self.under_way.push_back(batch),
                None => self.at_end = true,
            }
        }
        let Some(batch) = self.under_way.pop_front() else {
            return Ok(None);
        };
        let (room, names) = batch
            .named
            .map_or_else(|| Ok((Room::default(), Vec::new())), Ticket::wait)?;
        let is_hole = names.is_empty();
        let names = names.into_iter().chain(std::iter::repeat(None));
        let compare =
            |((index, expected, errno), name): ((u64, Option<Id>, Option<Errno>), Option<Id>)| {
                let found = match errno {
                    Some(errno) => Found::Unreadable(errno),
                    None if is_hole => Found::Hole,
                    None if name == expected => Found::Same,
                    None => Found::Other,
                };
                Compared {
                    index,
                    expected,
                    found,
                }
            };
        let chunks = batch.chunks.into_iter().zip(names).map(compare).collect();
        let chunk_size = u64::from(comparison.session.chunk_size_bytes);
        Ok(Some(Batch {
            chunks,
            first: batch.first,
            chunk_size,
            room,
        }))
    }

    fn begin_batch<P: Parts>(
        &mut self,
        world: &mut World<P>,
        archive: &mut Archive,
        pool: &mut Pool,
        comparison: &Comparison<'_>,
        runs: &dyn Fn(u64) -> Option<Range<u64>>,
    ) -> Result<Option<UnderWay>, Failure> {
        let chunk_size = u64::from(comparison.session.chunk_size_bytes);
        let most = (BATCH_BYTES / chunk_size).max(1);
        while let Some(run) = runs(self.next) {
            let credential = &archive.credential;
            let expected = self
                .walk
                .peek_in(&run, &mut world.files, &mut archive.cache, credential)?
                .map_or(run.end, |(index, _)| index);
            let data = self.data_chunks(&mut world.volumes, comparison, run.start, chunk_size);
            let begin = expected.min(data.start);
            if begin >= run.end {
                self.next = run.end;
                continue;
            }
            let is_hole = begin < data.start;
            let end = run.end.min(begin.saturating_add(most)).min(if is_hole {
                data.start
            } else {
                data.end
            });
            self.next = end;
            let mut chunks = Vec::new();
            if is_hole {
                while let Some((index, id)) = self.walk.next_in(
                    &(begin..end),
                    &mut world.files,
                    &mut archive.cache,
                    credential,
                )? {
                    chunks.push((index, Some(id), None));
                }
                return Ok(Some(UnderWay {
                    chunks,
                    first: begin,
                    named: None,
                }));
            }
            for index in begin..end {
                let only = index..index.saturating_add(1);
                let id = self
                    .walk
                    .next_in(&only, &mut world.files, &mut archive.cache, credential)?
                    .map(|(_, id)| id);
                chunks.push((index, id, None));
            }
            return self
                .read_batch(&mut world.volumes, pool, comparison, chunks, begin)
                .map(Some);
        }
        Ok(None)
    }

    /// Reads whole chunks that follow each other. Where that fails, each is tried alone.
    fn read_batch(
        &mut self,
        volumes: &mut impl Volumes,
        pool: &mut Pool,
        comparison: &Comparison<'_>,
        mut chunks: Vec<(u64, Option<Id>, Option<Errno>)>,
        first: u64,
    ) -> Result<UnderWay, Failure> {
        let chunk_size = u64::from(comparison.session.chunk_size_bytes);
        let offset = first.saturating_mul(chunk_size);
        let end = first
            .saturating_add(chunks.len() as u64)
            .saturating_mul(chunk_size)
            .min(comparison.session.size_bytes);
        let length = usize_of(end.saturating_sub(offset));
        let mut room = self.spare.pop().unwrap_or_default();
        room.resize(length);
        self.read_bytes = self.read_bytes.saturating_add(length as u64);
        let step = usize_of(chunk_size);
        if comparison
            .fill(volumes, offset, &mut room, 0..length)
            .is_err()
        {
            for ((_, _, errno), begin) in chunks.iter_mut().zip((0..length).step_by(step)) {
                let within = begin..begin.saturating_add(step).min(length);
                *errno = comparison.fill(volumes, offset, &mut room, within).err();
            }
        }
        let domain = Arc::clone(comparison.domain);
        let name = move |_: &mut Coder| {
            let names = room
                .bytes()
                .chunks(step)
                .map(|chunk| name_chunk(&domain, chunk))
                .collect();
            (room, names)
        };
        Ok(UnderWay {
            chunks,
            first,
            named: Some(pool.run(name)?),
        })
    }

    /// The next chunks at or after `index` that may hold data; none: an empty range at the end of
    /// numbers.
    fn data_chunks(
        &mut self,
        volumes: &mut impl Volumes,
        comparison: &Comparison<'_>,
        index: u64,
        chunk_size: u64,
    ) -> Range<u64> {
        let offset = index.saturating_mul(chunk_size);
        if self.data.as_ref().is_none_or(|data| data.end <= offset) {
            let found = comparison.next_data(volumes, offset);
            self.data = Some(found.map_or(u64::MAX..u64::MAX, |(begin, end)| begin..end));
        }
        let data = self.data.clone().unwrap_or(u64::MAX..u64::MAX);
        if data.start == u64::MAX {
            u64::MAX..u64::MAX
        } else {
            (data.start / chunk_size).max(index)..data.end.div_ceil(chunk_size)
        }
    }
}

/// Reads a few chunks outside of the suspects; whether all are what the session has. One that
/// cannot be read is not.
pub(super) fn samples_hold<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    comparison: &Comparison<'_>,
    suspects: &Bits,
) -> Result<bool, Failure> {
    let session = comparison.session;
    let chunk_size = usize_of(u64::from(session.chunk_size_bytes));
    let root = content_root(session);
    let mut samples = Samples::draw(
        &mut world.files,
        &mut world.random,
        archive,
        &root,
        session.chunk_count(),
        chunk_size,
    )?;
    samples.pass_over_all(suspects);
    let mut room = Room::default();
    for index in samples.into_chunks() {
        let length = usize_of(u64::from(session.chunk_bytes(index)));
        room.resize(length);
        let offset = index.saturating_mul(u64::from(session.chunk_size_bytes));
        let expected = get::<ContentTree, _>(&root, index, &mut archive.nodes(&mut world.files))?;
        let read = comparison.fill(&mut world.volumes, offset, &mut room, 0..length);
        if read.is_err() || name_chunk(comparison.domain, room.bytes()) != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Never more than a batch.
fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
