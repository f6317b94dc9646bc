// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a volume as it is may differ from a session: told by a base snapshot and two trees in the time of the difference, or, without one
//! that is to be trusted, everywhere. What is suspected is read and compared; only then it is known.

use std::ops::Range;

use wyng_archive::crypto::{Domain, Id};
use wyng_archive::format::{ContentTree, SessionEntry, VolumeEntry};
use wyng_archive::plan::diff;
use wyng_control::{BaseLabel, Failure};

use super::archive::Archive;
use super::backup::name_chunk;
use super::base::{self, KnownBase};
use super::bits::Bits;
use super::catalog::content_root;
use super::heal;
use super::sample::Samples;
use super::source::{BaseWalk, ChunkRanges, ReadStop};
use crate::keyholder::world::World;

/// Something that is there, and the session that it is compared with.
pub struct Comparison<'a> {
    /// The number under which what is there is read.
    pub item: u32,
    /// Its size.
    pub there_bytes: u64,
    /// What its base snapshot is of, and that one's size.
    pub base: Option<(BaseLabel, u64)>,
    /// The volume.
    pub volume: &'a VolumeEntry,
    /// The session.
    pub session: &'a SessionEntry,
    /// The session's domain.
    pub domain: &'a Domain,
}

/// One chunk that was read and compared.
pub struct Compared<'a> {
    /// Its number.
    pub index: u64,
    /// What the session has there.
    pub expected: Option<Id>,
    /// What is there, as long as the session's chunk; zeros behind its end.
    pub bytes: &'a [u8],
    /// Is it the same?
    pub is_same: bool,
    /// It lies in a hole, and was not read.
    pub is_hole: bool,
}

impl Comparison<'_> {
    /// Chunks of the session outside of which all is the same.
    pub fn suspects<W: World>(&self, world: &mut W, archive: &mut Archive) -> Result<Bits, ReadStop> {
        let count = self.session.chunk_count();
        let Some(base) = self.known_base(world, archive)? else { return Ok(Bits::all(count)?) };
        let mut suspects = Bits::none(count)?;
        let chunk_size = u64::from(self.session.chunk_size_bytes);
        let there_count = self.there_bytes.div_ceil(chunk_size);
        let mut changed = ChunkRanges::changed(&base.saved, self.there_bytes, chunk_size, there_count, Samples::default());
        while let Some(range) = changed.next(world, self.item)? {
            suspects.insert(range);
        }
        if changed.method().is_none() {
            return Ok(Bits::all(count)?);
        }
        if self.there_bytes != self.session.size_bytes {
            let (least, most) = (self.there_bytes.min(self.session.size_bytes), self.there_bytes.max(self.session.size_bytes));
            suspects.insert(least.saturating_sub(1) / chunk_size..most.div_ceil(chunk_size));
        }
        let (from, to) = (content_root(&base.session), content_root(self.session));
        let mut visit = |index: u64, _: Option<&Id>, _: Option<&Id>| suspects.insert(index..index.saturating_add(1));
        diff::<ContentTree, _, _>(&from, &to, &mut archive.nodes(world), &mut visit)?;
        if self.samples_hold(world, archive, &suspects)? { Ok(suspects) } else { Ok(Bits::all(count)?) }
    }

    /// The base snapshot, if its session's ids can be compared.
    fn known_base<W: World>(&self, world: &mut W, archive: &mut Archive) -> Result<Option<KnownBase>, Failure> {
        let like = (self.session.domain, self.session.chunk_size_bytes);
        match base::find(world, archive, self.volume, self.base, like)? {
            Some(found) if heal::is_in_cache(world, archive, &found.session)? && heal::is_in_cache(world, archive, self.session)? => {
                Ok(Some(found))
            }
            _ => Ok(None),
        }
    }

    /// A few chunks that are said to be the same are read and compared.
    fn samples_hold<W: World>(&self, world: &mut W, archive: &mut Archive, suspects: &Bits) -> Result<bool, ReadStop> {
        let root = content_root(self.session);
        let chunk_size = usize::try_from(self.session.chunk_size_bytes).unwrap_or(usize::MAX);
        let mut samples = Samples::draw(world, archive, &root, self.session.chunk_count(), chunk_size)?;
        samples.pass_over_all(suspects);
        let size_bytes = self.session.size_bytes;
        Ok(samples.check(world, archive, self.item, &root, self.domain, chunk_size, size_bytes)?.1)
    }

    /// Reads the suspects onwards and compares each, until `visit` says that it is enough, or no more are left.
    pub fn compare<W: World>(
        &self,
        world: &mut W,
        archive: &mut Archive,
        suspects: &Bits,
        progress: &mut Reading,
        mut visit: impl FnMut(&mut W, Compared<'_>) -> Result<bool, ReadStop>,
    ) -> Result<(), ReadStop> {
        let chunk_size = u64::from(self.session.chunk_size_bytes);
        while let Some(index) = suspects.next(progress.next) {
            progress.next = index.saturating_add(1);
            let only = index..progress.next;
            let expected = progress.walk.next_in(&only, world, &mut archive.cache, &archive.credential)?.map(|(_, id)| id);
            let offset = index.saturating_mul(chunk_size);
            let length = usize::try_from(self.session.chunk_bytes(index)).unwrap_or(0);
            progress.room.clear();
            progress.room.resize(length, 0);
            let is_hole = progress.is_hole(world, self.item, offset..offset.saturating_add(length as u64))?;
            if !is_hole {
                world.read_source(self.item, offset, &mut progress.room).map_err(|errno| ReadStop::Errno(offset, errno))?;
                progress.read_bytes = progress.read_bytes.saturating_add(length as u64);
            }
            let found = if is_hole { None } else { name_chunk(self.domain, &progress.room) };
            let is_same = found == expected;
            let goes_on = visit(world, Compared { index, expected, bytes: &progress.room, is_same, is_hole })?;
            if !goes_on {
                return Ok(());
            }
        }
        progress.at_end = true;
        Ok(())
    }
}

/// How far a comparison is.
pub struct Reading {
    walk: BaseWalk,
    next: u64,
    /// What is known of the holes of what is there.
    data: Option<Range<u64>>,
    room: Vec<u8>,
    /// Nothing is left to be compared.
    pub at_end: bool,
    /// Bytes that were read.
    pub read_bytes: u64,
}

impl Reading {
    /// At the begin of a session.
    pub fn of(session: &SessionEntry) -> Self {
        Self { walk: BaseWalk::new(&content_root(session)), next: 0, data: None, room: Vec::new(), at_end: false, read_bytes: 0 }
    }

    /// Chunks below it were compared, or are the same.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Lies the range in a hole of what is there? Ranges ascend.
    fn is_hole<W: World>(&mut self, world: &mut W, item: u32, range: Range<u64>) -> Result<bool, ReadStop> {
        if self.data.as_ref().is_none_or(|data| data.end <= range.start) {
            let found = world.next_data(item, range.start).map_err(|errno| ReadStop::Errno(range.start, errno))?;
            self.data = Some(found.map_or(u64::MAX..u64::MAX, |(begin, end)| begin..end));
        }
        Ok(self.data.as_ref().is_some_and(|data| data.start >= range.end))
    }
}
