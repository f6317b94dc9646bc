// SPDX-License-Identifier: GPL-3.0-or-later
//! Where what is on this machine differs from a session. A base snapshot and two trees show at once
//! where to look first; but that something is the same is known only when it was read and named.

use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::{Domain, Id};
use wyng_archive::format::{ContentTree, SessionEntry, VolumeEntry};
use wyng_archive::plan::{diff, get};
use wyng_control::{BaseLabel, Failure};

use crate::archive::{Archive, content_root};
use crate::backup::{ChunkRanges, KnownBase, Samples, find_base};
use crate::bits::Bits;
use crate::naming::name_chunk;
use crate::room::{BLOCK_BYTES, Room};
use crate::store::is_in_cache;
use crate::world::{Client, Errno, Files, Parts, Volumes, World};

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
    /// The number of the source or target that is read.
    pub item: u32,
    /// Where it is read.
    pub place: Place,
    /// Its size, bytes.
    pub there_bytes: u64,
    /// What its base snapshot is of, and the snapshot's size in bytes.
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
    /// Its number in the volume.
    pub index: u64,
    /// What the session has there.
    pub expected: Option<Id>,
    /// What was found there.
    pub found: Found,
}

/// What was found where a chunk of a session belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// That very chunk; it was read.
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
    pub first: u64,
    /// The session's, bytes.
    pub chunk_size: u64,
    /// The bytes, from the first chunk on.
    pub room: Room,
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
    /// Chunks that may differ: a base snapshot says that all others are the same. `None` without a
    /// base snapshot that can be compared.
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

    /// The next range at or after `offset` that may hold data, bytes.
    pub(super) fn next_data(&self, volumes: &mut impl Volumes, offset: u64) -> Option<(u64, u64)> {
        let found = match self.place {
            Place::Nowhere => Ok(None),
            Place::Source => volumes.next_data(self.item, offset),
            Place::Target => volumes.next_target_data(self.item, offset),
        };
        // Where holes are not known, everything is read.
        found.unwrap_or(Some((offset, u64::MAX)))
    }

    /// Fills the part `within` of the room, which begins at `offset` as a whole. What is past the
    /// end of what is there becomes zeros.
    pub(super) fn fill(
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
            // What ends before its size is as good as unreadable.
            return Err(Errno::IO);
        }
        let zeros = begin.saturating_add(read.min(length))..begin.saturating_add(length);
        room.bytes_mut().get_mut(zeros).unwrap_or_default().fill(0);
        Ok(())
    }
}

/// Reads a few chunks outside of the suspects; returns whether all of them are what the session
/// has. A chunk that cannot be read is not.
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

/// A number of bytes that is never more than a batch.
pub(super) fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
