// SPDX-License-Identifier: GPL-3.0-or-later
//! Makes a file or block device what a session is. What is there already is read and named, and
//! only what differs is fetched and written; what was written is read back from the medium. So
//! every chunk of the target was read from it before the restore ends with success.

use std::ops::Range;
use std::sync::Arc;

use wyng_archive::crypto::Domain;
use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_control::{Failure, Phase, TargetKind};

use super::differences::{Batch, Compared, Comparison, Found, Place, Reading, samples_hold};
use super::walk::{WINDOW_BYTES, for_each_chunk};
use crate::archive::Archive;
use crate::bits::Bits;
use crate::outcome::report;
use crate::pool::Pool;
use crate::room::{BLOCK_BYTES, Room};
use crate::store::{ChunkReader, Wanted};
use crate::world::{Beside, Client, Errno, Parts, There, Volumes, World};

/// The parts of a restore, each borrowed for itself.
pub(super) struct Context<'a, P: Parts> {
    /// Whatever the engine meets.
    pub world: &'a mut World<P>,
    /// The archive.
    pub archive: &'a mut Archive,
    /// The workers.
    pub pool: &'a mut Pool,
    /// What fetches chunks.
    pub reader: &'a mut ChunkReader,
}

/// What is restored, and what is there.
pub(super) struct Replacement<'a> {
    /// The target's number, under which what is beside it is read too.
    pub item: u32,
    /// A file or a device.
    pub kind: TargetKind,
    /// What is there.
    pub there: Option<There>,
    /// The volume.
    pub volume: &'a VolumeEntry,
    /// The session.
    pub session: &'a SessionEntry,
    /// The session's domain.
    pub domain: &'a Arc<Domain>,
    /// The target, as it is shown to people.
    pub path: &'a str,
    /// What a base snapshot says is the same is not read.
    pub quick: bool,
}

/// What became of a target.
#[derive(Debug)]
pub(super) struct Changes {
    /// Chunks that were written, or of which a part may be.
    written: Bits,
    /// Ranges behind the session's end that were cleared.
    cleared: Vec<(u64, u64)>,
    /// What was behind the session's end may be cut off.
    cut: bool,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes that could not be read, or were not what the base snapshot said.
    pub damaged_bytes: u64,
    /// Bytes that were taken unread.
    pub unread_bytes: u64,
    /// The base snapshot says what is not so.
    pub base_is_wrong: bool,
}

impl Changes {
    /// Nothing was changed yet.
    pub(super) fn none(session: &SessionEntry) -> Self {
        Self {
            written: Bits::none(session.chunk_count()),
            cleared: Vec::new(),
            cut: false,
            written_bytes: 0,
            damaged_bytes: 0,
            unread_bytes: 0,
            base_is_wrong: false,
        }
    }

    /// Is the target still what it was, but perhaps longer?
    pub(super) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.cleared.is_empty() && !self.cut
    }
}

/// Which chunks are compared in one go.
enum Which<'a> {
    All,
    In(&'a Bits),
    /// Those of which a base snapshot says that they are the same.
    Outside(&'a Bits),
}

impl Which<'_> {
    fn run(&self, from: u64, count: u64) -> Option<Range<u64>> {
        match self {
            Self::All => (from < count).then_some(from..count),
            Self::In(bits) => bits.next_run(from),
            Self::Outside(bits) => bits.next_gap(from),
        }
    }
}

impl Replacement<'_> {
    /// Makes the target what the session is, durably, and reads it back. What was changed until
    /// then is in `changes` also when this fails.
    pub(super) fn write<P: Parts>(
        &self,
        parts: &mut Context<'_, P>,
        changes: &mut Changes,
    ) -> Result<(), Failure> {
        let comparison = self.comparison();
        match comparison.suspects(parts.world, parts.archive)? {
            None => self.compare_and_fetch(parts, &comparison, &Which::All, changes)?,
            Some(suspects) => {
                self.compare_and_fetch(parts, &comparison, &Which::In(&suspects), changes)?;
                if self.quick && samples_hold(parts.world, parts.archive, &comparison, &suspects)? {
                    changes.unread_bytes = self.taken_unread(parts, &suspects)?;
                } else {
                    self.compare_and_fetch(
                        parts,
                        &comparison,
                        &Which::Outside(&suspects),
                        changes,
                    )?;
                }
            }
        }
        self.clear_behind(parts, changes)?;
        changes.cut = self
            .there
            .is_some_and(|there| there.size_bytes > self.session.size_bytes);
        parts
            .world
            .volumes
            .finish_target(self.item, self.session.size_bytes)
            .map_err(|errno| self.not_written(errno))?;
        self.read_back(parts, changes)
    }

    fn comparison(&self) -> Comparison<'_> {
        let place = match self.there {
            None => Place::Nowhere,
            Some(there) if there.in_target => Place::Target,
            Some(_) => Place::Source,
        };
        Comparison {
            item: self.item,
            place,
            there_bytes: self.there.map_or(0, |there| there.size_bytes),
            base: self.there.and_then(|there| there.base),
            volume: self.volume,
            session: self.session,
            domain: self.domain,
        }
    }

    /// Reads what is there of these chunks, and writes what differs.
    fn compare_and_fetch<P: Parts>(
        &self,
        parts: &mut Context<'_, P>,
        comparison: &Comparison<'_>,
        which: &Which<'_>,
        changes: &mut Changes,
    ) -> Result<(), Failure> {
        let (count, chunk_size) = (
            self.session.chunk_count(),
            u64::from(self.session.chunk_size_bytes),
        );
        let window_chunks = usize::try_from(WINDOW_BYTES / chunk_size)
            .unwrap_or(usize::MAX)
            .max(1);
        let mut reading = Reading::of(self.session);
        let mut at_end = false;
        // Bytes that are asked for and have not come yet.
        let mut awaited_bytes = 0u64;
        loop {
            while !at_end && parts.reader.wants_more() {
                let mut window = Vec::new();
                let mut looked = 0usize;
                while window.len() < window_chunks && looked < window_chunks {
                    let runs = |from| which.run(from, count);
                    let Some(batch) =
                        reading.next(parts.world, parts.archive, parts.pool, comparison, &runs)?
                    else {
                        at_end = true;
                        break;
                    };
                    looked = looked.saturating_add(batch.chunks.len());
                    for compared in &batch.chunks {
                        let is_trusted = matches!(which, Which::Outside(_));
                        window.extend(self.take(
                            &mut parts.world.volumes,
                            &batch,
                            *compared,
                            is_trusted,
                            changes,
                        )?);
                    }
                    reading.give_back(batch);
                }
                awaited_bytes = window.iter().fold(awaited_bytes, |sum, wanted| {
                    sum.saturating_add(wanted.plain_bytes.into())
                });
                parts
                    .reader
                    .want(&mut parts.world.files, parts.archive, &window)?;
                self.show_position(&mut parts.world.client, &reading, awaited_bytes);
                stop_if_cancelled(&mut parts.world.client)?;
            }
            match parts.reader.next(&mut parts.world.store, parts.pool)? {
                Some(opened) => {
                    for chunk in opened {
                        self.put(&mut parts.world.volumes, chunk.index, &chunk.chunk, changes)?;
                        awaited_bytes = awaited_bytes.saturating_sub(chunk.chunk.len() as u64);
                        parts.reader.give_back(vec![chunk.chunk]);
                    }
                }
                None if at_end => return Ok(()),
                None => {}
            }
            self.show_position(&mut parts.world.client, &reading, awaited_bytes);
            stop_if_cancelled(&mut parts.world.client)?;
        }
    }

    fn show_position(&self, client: &mut impl Client, reading: &Reading, awaited_bytes: u64) {
        let seen_bytes = reading
            .position()
            .saturating_mul(self.session.chunk_size_bytes.into())
            .min(self.session.size_bytes);
        report(
            client,
            Phase::Restoring,
            &self.volume.name,
            seen_bytes.saturating_sub(awaited_bytes),
            self.session.size_bytes,
        );
    }

    /// What one chunk asks for: nothing, zeros, a copy of what is beside the target; or it must be
    /// fetched.
    fn take(
        &self,
        volumes: &mut impl Volumes,
        batch: &Batch,
        compared: Compared,
        is_trusted: bool,
        changes: &mut Changes,
    ) -> Result<Option<Wanted>, Failure> {
        let Compared {
            index,
            expected,
            found,
        } = compared;
        let plain_bytes = self.session.chunk_bytes(index);
        if matches!(found, Found::Unreadable(_)) || (is_trusted && found != Found::Same) {
            changes.damaged_bytes = changes.damaged_bytes.saturating_add(plain_bytes.into());
            changes.base_is_wrong |= self.there.is_some_and(|there| there.base.is_some());
        }
        match (expected, found) {
            (Some(_), Found::Same) if !self.is_in_target() => {
                self.put(volumes, index, batch.bytes(index, plain_bytes), changes)?;
                Ok(None)
            }
            (_, Found::Same) => Ok(None),
            (Some(id), _) => Ok(Some(Wanted {
                index,
                id,
                plain_bytes,
            })),
            // What is beside a target is not in it: it is a hole there.
            (None, _) if !self.is_in_target() => Ok(None),
            (None, _) => {
                changes.written.insert(index..index.saturating_add(1));
                let offset = index.saturating_mul(u64::from(self.session.chunk_size_bytes));
                volumes
                    .punch_target(self.item, offset, plain_bytes.into())
                    .map_err(|errno| self.not_written(errno))?;
                Ok(None)
            }
        }
    }

    fn put(
        &self,
        volumes: &mut impl Volumes,
        index: u64,
        bytes: &[u8],
        changes: &mut Changes,
    ) -> Result<(), Failure> {
        // Noted before: of a write that fails, a part may have been done.
        changes.written.insert(index..index.saturating_add(1));
        let offset = index.saturating_mul(u64::from(self.session.chunk_size_bytes));
        volumes
            .write_target(self.item, offset, bytes)
            .map_err(|errno| self.not_written(errno))?;
        changes.written_bytes = changes.written_bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn is_in_target(&self) -> bool {
        self.there.is_some_and(|there| there.in_target)
    }

    /// Bytes of the session's chunks outside of the suspects: holes are not among them.
    fn taken_unread<P: Parts>(
        &self,
        parts: &mut Context<'_, P>,
        suspects: &Bits,
    ) -> Result<u64, Failure> {
        let mut unread_bytes = 0u64;
        for_each_chunk(
            &mut parts.world.files,
            &mut parts.world.client,
            parts.archive,
            self.session,
            |index, _| {
                if !suspects.contains(index) {
                    unread_bytes =
                        unread_bytes.saturating_add(self.session.chunk_bytes(index).into());
                }
                Ok(())
            },
        )?;
        Ok(unread_bytes)
    }

    /// What a device has behind the end of the session becomes zeros; a file is cut there.
    fn clear_behind<P: Parts>(
        &self,
        parts: &mut Context<'_, P>,
        changes: &mut Changes,
    ) -> Result<(), Failure> {
        let end = self
            .there
            .filter(|_| self.kind == TargetKind::Device)
            .map_or(0, |there| there.size_bytes);
        let mut room = Room::default();
        let mut next = self.session.size_bytes;
        while next < end {
            let piece = self.piece_behind(next, end);
            if !self
                .is_clear(&mut parts.world.volumes, &mut room, &piece)
                .unwrap_or(false)
            {
                changes.cleared.push((piece.start, piece.end));
                let length = piece.end.saturating_sub(piece.start);
                parts
                    .world
                    .volumes
                    .punch_target(self.item, piece.start, length)
                    .map_err(|errno| self.not_written(errno))?;
            }
            next = piece.end;
            report(
                &mut parts.world.client,
                Phase::Restoring,
                &self.volume.name,
                next,
                end,
            );
            stop_if_cancelled(&mut parts.world.client)?;
        }
        Ok(())
    }

    fn piece_behind(&self, begin: u64, end: u64) -> Range<u64> {
        begin
            ..(begin / WINDOW_BYTES)
                .saturating_add(1)
                .saturating_mul(WINDOW_BYTES)
                .min(end)
    }

    /// Does the target's medium have only zeros in this range?
    fn is_clear(
        &self,
        volumes: &mut impl Volumes,
        room: &mut Room,
        range: &Range<u64>,
    ) -> Result<bool, Errno> {
        let begin = range.start / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let (before, length) = (
            range.start.saturating_sub(begin),
            range.end.saturating_sub(begin),
        );
        let as_usize = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        room.resize(as_usize(length));
        let read = volumes.read_target(self.item, begin, room.blocks_mut())?;
        let found = room.bytes().get(as_usize(before)..).unwrap_or_default();
        Ok(read >= as_usize(length) && found.iter().all(|byte| *byte == 0))
    }

    /// Reads all that was written from the target's medium, and compares it with the session.
    fn read_back<P: Parts>(
        &self,
        parts: &mut Context<'_, P>,
        changes: &Changes,
    ) -> Result<(), Failure> {
        let comparison = Comparison {
            place: Place::Target,
            there_bytes: self.session.size_bytes,
            base: None,
            ..self.comparison()
        };
        let (chunk_size, total_bytes) = (
            u64::from(self.session.chunk_size_bytes),
            self.session.size_bytes,
        );
        let mut reading = Reading::of(self.session);
        let runs = |from| changes.written.next_run(from);
        while let Some(batch) =
            reading.next(parts.world, parts.archive, parts.pool, &comparison, &runs)?
        {
            let is_lost_and_zeros = |compared: &Compared| {
                let is_lost = parts
                    .reader
                    .lost()
                    .is_some_and(|lost| lost.contains(compared.index));
                let bytes =
                    || batch.bytes(compared.index, self.session.chunk_bytes(compared.index));
                is_lost
                    && (compared.found == Found::Hole
                        || (compared.found == Found::Other
                            && bytes().iter().all(|byte| *byte == 0)))
            };
            let wrong = batch
                .chunks
                .iter()
                .find(|compared| compared.found != Found::Same && !is_lost_and_zeros(compared));
            if let Some(Compared { index, found, .. }) = wrong {
                return Err(self.not_read_back(index.saturating_mul(chunk_size), *found));
            }
            reading.give_back(batch);
            let done_bytes = reading
                .position()
                .saturating_mul(chunk_size)
                .min(total_bytes);
            report(
                &mut parts.world.client,
                Phase::ReadingBack,
                &self.volume.name,
                done_bytes,
                total_bytes,
            );
            stop_if_cancelled(&mut parts.world.client)?;
        }
        let mut room = Room::default();
        for (begin, end) in &changes.cleared {
            match self.is_clear(&mut parts.world.volumes, &mut room, &(*begin..*end)) {
                Ok(true) => {}
                Ok(false) => return Err(self.not_read_back(*begin, Found::Other)),
                Err(errno) => return Err(self.not_read_back(*begin, Found::Unreadable(errno))),
            }
            stop_if_cancelled(&mut parts.world.client)?;
        }
        Ok(())
    }

    /// A target that was changed where it is becomes again what it was; whether it did. Where it
    /// cannot be cloned back, as on a full file system, what differs is written back from the
    /// clone.
    pub(super) fn undo(
        &self,
        volumes: &mut impl Volumes,
        changes: &Changes,
    ) -> Result<bool, Failure> {
        let Some(there) = self.there.filter(|there| there.in_place) else {
            return Ok(true);
        };
        if changes.is_empty() {
            return Ok(volumes.finish_target(self.item, there.size_bytes).is_ok());
        }
        if there.beside != Some(Beside::Kept) {
            return Ok(false);
        }
        Ok(volumes.undo_target(self.item, there.size_bytes)?
            || self.write_back(volumes, there, changes).is_ok())
    }

    fn write_back(
        &self,
        volumes: &mut impl Volumes,
        there: There,
        changes: &Changes,
    ) -> Result<(), Errno> {
        volumes.finish_target(self.item, there.size_bytes)?;
        let (mut was, mut is) = (Room::default(), Room::default());
        let chunk_size = u64::from(self.session.chunk_size_bytes);
        let mut changed = Bits::none(there.size_bytes.div_ceil(chunk_size));
        let mut from = 0;
        while let Some(run) = changes.written.next_run(from) {
            from = run.end;
            changed.insert(run);
        }
        if changes.cut {
            changed.insert(self.session.size_bytes / chunk_size..u64::MAX);
        }
        // Twice: what was written back the first time is read back the second time.
        for may_write in [true, false] {
            let mut next = 0;
            while let Some(index) = changed.next(next) {
                next = index.saturating_add(1);
                let offset = index.saturating_mul(chunk_size);
                let length =
                    usize::try_from(there.size_bytes.saturating_sub(offset).min(chunk_size))
                        .unwrap_or(0);
                was.resize(length);
                is.resize(length);
                let read = volumes.read_source(self.item, offset, was.bytes_mut())?;
                let found = volumes.read_target(self.item, offset, is.blocks_mut())?;
                if read < length || found < length {
                    return Err(Errno(5));
                }
                let blocks = was
                    .bytes()
                    .chunks(BLOCK_BYTES)
                    .zip(is.bytes().chunks(BLOCK_BYTES));
                for (begin, (old, _)) in (0..)
                    .step_by(BLOCK_BYTES)
                    .zip(blocks)
                    .filter(|(_, (old, new))| old != new)
                {
                    if !may_write {
                        return Err(Errno(5));
                    }
                    volumes.write_target(self.item, offset.saturating_add(begin), old)?;
                }
            }
            volumes.finish_target(self.item, there.size_bytes)?;
        }
        Ok(())
    }

    fn not_written(&self, Errno(errno): Errno) -> Failure {
        Failure::TargetWrite {
            volume: self.volume.name.clone(),
            path: self.path.to_owned(),
            errno,
        }
    }

    fn not_read_back(&self, offset_bytes: u64, found: Found) -> Failure {
        let (volume, path) = (self.volume.name.clone(), self.path.to_owned());
        match found {
            Found::Unreadable(Errno(errno)) => Failure::TargetUnreadable {
                volume,
                path,
                offset_bytes,
                errno,
            },
            _ => Failure::TargetDiffers {
                volume,
                path,
                offset_bytes,
            },
        }
    }
}

fn stop_if_cancelled(client: &mut impl Client) -> Result<(), Failure> {
    if client.cancelled() {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}
