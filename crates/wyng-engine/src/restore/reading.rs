// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading what is there, chunk by chunk, beside a session: ids are computed by workers while more
//! is read, and the batches come out in order. Nothing is judged but whether the ids are the same.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::{Coder, Id};
use wyng_archive::format::SessionEntry;
use wyng_control::Failure;

use super::differences::{Batch, Compared, Comparison, Found, usize_of};
use crate::archive::{Archive, content_root};
use crate::backup::BaseWalk;
use crate::naming::name_chunk;
use crate::pool::{Pool, Ticket};
use crate::room::Room;
use crate::world::{Errno, Parts, Volumes, World};

/// Bytes that are read at once; a worker names them.
const BATCH_BYTES: u64 = 1 << 20;

/// How far a comparison is. Workers name what was read while more is read.
pub(super) struct Reading {
    /// Walks over the chunks of the session.
    walk: BaseWalk,
    /// Chunks below this number were taken up.
    next: u64,
    /// The range of data of what is there that was found last, bytes.
    data: Option<Range<u64>>,
    at_end: bool,
    under_way: VecDeque<UnderWay>,
    /// Memory of batches that were given back.
    spare: Vec<Room>,
    /// Bytes that were read.
    pub read_bytes: u64,
}

/// A chunk that was taken up.
struct Taken {
    index: u64,
    /// What the session has there.
    expected: Option<Id>,
    /// Why it could not be read.
    errno: Option<Errno>,
}

impl Taken {
    fn of(index: u64, expected: Option<Id>) -> Self {
        Self {
            index,
            expected,
            errno: None,
        }
    }
}

/// A batch that is being named.
struct UnderWay {
    chunks: Vec<Taken>,
    /// The first chunk that was read.
    first: u64,
    /// The chunks and their ids; `None`: nothing was read, since all of it is a hole.
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

    /// Chunks below this number were compared, or are outside of the comparison.
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
    /// first run of chunk numbers at or after a number. Chunks that are holes on both sides are
    /// passed over and not returned.
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
        let compare = |(taken, name): (Taken, Option<Id>)| {
            let found = match taken.errno {
                Some(errno) => Found::Unreadable(errno),
                None if is_hole => Found::Hole,
                None if name == taken.expected => Found::Same,
                None => Found::Other,
            };
            Compared {
                index: taken.index,
                expected: taken.expected,
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

    /// Takes up the next chunks and has a worker name them; `None` at the end.
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
                    chunks.push(Taken::of(index, Some(id)));
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
                chunks.push(Taken::of(index, id));
            }
            return self
                .read_batch(&mut world.volumes, pool, comparison, chunks, begin)
                .map(Some);
        }
        Ok(None)
    }

    /// Reads whole chunks that follow each other. Where that fails, each chunk is tried alone.
    fn read_batch(
        &mut self,
        volumes: &mut impl Volumes,
        pool: &mut Pool,
        comparison: &Comparison<'_>,
        mut chunks: Vec<Taken>,
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
            for (taken, begin) in chunks.iter_mut().zip((0..length).step_by(step)) {
                let within = begin..begin.saturating_add(step).min(length);
                taken.errno = comparison.fill(volumes, offset, &mut room, within).err();
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

    /// The next chunks at or after `index` that may hold data; without any, an empty range at the
    /// end of all numbers.
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
