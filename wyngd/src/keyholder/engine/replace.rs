// SPDX-License-Identifier: GPL-3.0-or-later
//! A restore to where something is already: only chunks that differ are fetched and written, what is to be a hole is punched, and all that
//! was written is read back and compared.

use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_control::Failure;

use super::archive::Archive;
use super::backup::name_chunk;
use super::bits::Bits;
use super::catalog::content_root;
use super::differences::{Compared, Comparison, Reading};
use super::fetch::{ChunkReader, Wanted};
use super::pool::Pool;
use super::restore::{WINDOW_BYTES, report};
use super::source::{BaseWalk, ReadStop};
use crate::keyholder::world::{Errno, There, World};

/// What is restored, and what is there.
pub struct Replacement<'a> {
    /// The target's number, under which what is there is read too.
    pub item: u32,
    /// What is there.
    pub there: &'a There,
    /// The volume.
    pub volume: &'a VolumeEntry,
    /// The session.
    pub session: &'a SessionEntry,
}

impl Replacement<'_> {
    /// Makes the target what the session is, but for its size; how many bytes were written.
    pub fn write<W: World>(&self, world: &mut W, archive: &mut Archive, pool: &mut Pool, reader: &mut ChunkReader) -> Result<u64, Failure> {
        let domain = archive.credential.domain(self.session.domain);
        let comparison = Comparison {
            item: self.item,
            there_bytes: self.there.size_bytes,
            base: self.there.base,
            volume: self.volume,
            session: self.session,
            domain: &domain,
        };
        let stopped = |stop: ReadStop| stop.of_volume(&self.volume.name, &[]);
        let suspects = comparison.suspects(world, archive).map_err(stopped)?;
        let chunk_size = u64::from(self.session.chunk_size_bytes);
        let window_chunks = usize::try_from(WINDOW_BYTES / chunk_size).unwrap_or(usize::MAX).max(1);
        let mut reading = Reading::of(self.session);
        let (mut written, mut written_bytes) = (Bits::none(self.session.chunk_count())?, 0u64);
        loop {
            while !reading.at_end && reader.wants_more() {
                let mut window = Vec::new();
                let mut looked = 0usize;
                let visit = |world: &mut W, compared: Compared<'_>| {
                    if let Some(wanted) = self.take(world, &compared, &mut written, &mut written_bytes)? {
                        window.push(wanted);
                    }
                    looked = looked.saturating_add(1);
                    Ok(window.len() < window_chunks && looked < window_chunks)
                };
                comparison.compare(world, archive, &suspects, &mut reading, visit).map_err(stopped)?;
                reader.want(world, archive, &window)?;
                report(world, &self.volume.name, self.session, reading.position().saturating_mul(chunk_size).min(self.session.size_bytes));
                if world.cancelled() {
                    return Err(Failure::Interrupted);
                }
            }
            let Some(opened) = reader.next(world, pool)? else { if reading.at_end { break } else { continue } };
            for chunk in opened {
                let offset = chunk.index.saturating_mul(chunk_size);
                world.write_target(self.item, offset, &chunk.chunk).map_err(|errno| self.not_written(errno))?;
                written.insert(chunk.index..chunk.index.saturating_add(1));
                written_bytes = written_bytes.saturating_add(chunk.chunk.len() as u64);
                reader.give_back(vec![chunk.chunk]);
            }
            if world.cancelled() {
                return Err(Failure::Interrupted);
            }
        }
        self.read_back(world, archive, &written, &comparison)?;
        Ok(written_bytes)
    }

    /// What one chunk asks for: nothing, a hole, a copy of what is beside the target; or it must be fetched.
    fn take<W: World>(
        &self,
        world: &mut W,
        compared: &Compared<'_>,
        written: &mut Bits,
        written_bytes: &mut u64,
    ) -> Result<Option<Wanted>, ReadStop> {
        let Compared { index, expected, bytes, is_same, .. } = *compared;
        let offset = index.saturating_mul(u64::from(self.session.chunk_size_bytes));
        let length = bytes.len() as u64;
        match expected {
            Some(id) if !is_same => return Ok(Some(Wanted { index, id, plain_bytes: self.session.chunk_bytes(index) })),
            Some(_) if !self.there.in_target => {
                world.write_target(self.item, offset, bytes).map_err(|errno| self.not_written(errno))?;
                *written_bytes = written_bytes.saturating_add(length);
            }
            None if !is_same && self.there.in_target => {
                world.punch_target(self.item, offset, length).map_err(|errno| self.not_written(errno))?;
            }
            _ => return Ok(None),
        }
        written.insert(index..index.saturating_add(1));
        Ok(None)
    }

    /// Reads all that was written and compares it with the session.
    fn read_back<W: World>(
        &self,
        world: &mut W,
        archive: &mut Archive,
        written: &Bits,
        comparison: &Comparison<'_>,
    ) -> Result<(), Failure> {
        let mut walk = BaseWalk::new(&content_root(self.session));
        let mut bytes = Vec::new();
        let mut next = 0;
        while let Some(index) = written.next(next) {
            next = index.saturating_add(1);
            let expected = walk.next_in(&(index..next), world, &mut archive.cache, &archive.credential)?.map(|(_, id)| id);
            let offset_bytes = index.saturating_mul(u64::from(self.session.chunk_size_bytes));
            bytes.resize(usize::try_from(self.session.chunk_bytes(index)).unwrap_or(0), 0);
            world.read_target(self.item, offset_bytes, &mut bytes).map_err(|errno| self.not_written(errno))?;
            if name_chunk(comparison.domain, &bytes) != expected {
                return Err(Failure::TargetDiffers { volume: self.volume.name.clone(), offset_bytes });
            }
        }
        Ok(())
    }

    fn not_written(&self, Errno(errno): Errno) -> Failure {
        Failure::TargetWrite { volume: self.volume.name.clone(), errno }
    }
}
