// SPDX-License-Identifier: GPL-3.0-or-later
//! A sorted run: ids and their places in a file that never changes, read one block at a time.
//!
//! ```text
//! entries ascend by id, then by pack
//! blocks of 4096 (block.rs)
//! fences: the first 8 bytes of each block's first id
//! the filter
//! trailer of 64: "wyngrun0" ‖ entries u64 ‖ blocks u64 ‖ filter bytes u64 ‖ H(fences ‖ filter ‖ trailer up to here)
//! ```

use wyng_archive::crypto::Id;
use wyng_archive::format::{Malformed, Reader, Writer};
use wyng_control::Failure;

use super::block::{BLOCK_BYTES, BLOCK_ENTRIES, decode_block, encode_block, fence};
use super::filter::Filter;
use super::location::Location;
use crate::world::Files;

const MAGIC: &[u8; 8] = b"wyngrun0";
const TRAILER_BYTES: u64 = 64;
/// Bytes that are written at once, about.
const WRITE_BYTES: usize = 256 * 1024;

/// One sorted run.
pub(super) struct Run {
    /// The path of its file.
    pub path: String,
    /// Number of entries in it.
    pub entries: u64,
    fences: Vec<u64>,
    filter: Filter,
}

impl Run {
    /// Opens a run; `None` when it is damaged or missing.
    pub(super) fn open(files: &mut impl Files, path: String) -> Result<Option<Self>, Failure> {
        let Some(total_bytes) = files.length(&path)? else {
            return Ok(None);
        };
        let Some(trailer_offset) = total_bytes.checked_sub(TRAILER_BYTES) else {
            return Ok(None);
        };
        let mut trailer = [0; TRAILER_BYTES as usize];
        files.read_at(&path, trailer_offset, &mut trailer)?;
        let Ok((entries, blocks, filter_bytes, hash)) = decode_trailer(&trailer) else {
            return Ok(None);
        };
        let fence_bytes = blocks.saturating_mul(8);
        let tail_bytes = fence_bytes.saturating_add(filter_bytes);
        if blocks
            .saturating_mul(BLOCK_BYTES as u64)
            .checked_add(tail_bytes)
            != Some(trailer_offset)
        {
            return Ok(None);
        }
        let (Ok(tail_len), Ok(fence_len)) =
            (usize::try_from(tail_bytes), usize::try_from(fence_bytes))
        else {
            return Ok(None);
        };
        let mut fences = vec![0; tail_len];
        files.read_at(
            &path,
            trailer_offset.saturating_sub(tail_bytes),
            &mut fences,
        )?;
        let filter = fences.split_off(fence_len.min(fences.len()));
        if tail_hash(
            &fences,
            &filter,
            trailer.first_chunk::<32>().unwrap_or(&[0; 32]),
        ) != hash
        {
            return Ok(None);
        }
        let fences = fences
            .as_chunks::<8>()
            .0
            .iter()
            .map(|fence| u64::from_be_bytes(*fence))
            .collect();
        Ok(Some(Self {
            path,
            entries,
            fences,
            filter: Filter::from_bytes(filter),
        }))
    }

    /// False if the id is not in this run. Reads no file.
    pub(super) fn may_contain(&self, id: &Id) -> bool {
        self.filter.may_contain(id)
    }

    /// Visits every place of an id. Its entries stand together, seldom in more than one block. The
    /// last block that was read stays in `at_hand`.
    pub(super) fn find(
        &self,
        files: &mut impl Files,
        id: &Id,
        at_hand: &mut BlockAtHand,
        visit: &mut dyn FnMut(Location),
    ) -> Result<(), Failure> {
        let wanted = fence(id);
        let begin = self
            .fences
            .partition_point(|fence| *fence < wanted)
            .saturating_sub(1);
        let end = self.fences.partition_point(|fence| *fence <= wanted);
        for block in begin..end {
            if at_hand.number != Some(block) {
                at_hand.number = None;
                at_hand.entries = self.read_block(files, block)?;
                at_hand.number = Some(block);
            }
            let entries = &at_hand.entries;
            let first = entries.partition_point(|(found, _)| found < id);
            entries
                .iter()
                .skip(first)
                .take_while(|(found, _)| found == id)
                .for_each(|(_, location)| visit(*location));
        }
        Ok(())
    }

    /// Reads the run from its beginning.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor {
            run: self,
            block: 0,
            entries: Vec::new().into_iter(),
        }
    }

    /// Visits every entry, in order.
    pub(super) fn visit<F: Files>(
        &self,
        files: &mut F,
        visit: &mut dyn FnMut(&mut F, Id, Location) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut cursor = self.cursor();
        while let Some((id, location)) = cursor.next(files)? {
            visit(files, id, location)?;
        }
        Ok(())
    }

    fn read_block(
        &self,
        files: &mut impl Files,
        block: usize,
    ) -> Result<Vec<(Id, Location)>, Failure> {
        let mut bytes = [0; BLOCK_BYTES];
        let offset = (block as u64).saturating_mul(BLOCK_BYTES as u64);
        files.read_at(&self.path, offset, &mut bytes)?;
        decode_block(&bytes).map_err(|Malformed(_)| Failure::CacheLost)
    }
}

/// The block of a run that was read last.
#[derive(Default)]
pub(super) struct BlockAtHand {
    number: Option<usize>,
    entries: Vec<(Id, Location)>,
}

/// Reads a run from its beginning.
pub(super) struct Cursor<'a> {
    run: &'a Run,
    block: usize,
    entries: std::vec::IntoIter<(Id, Location)>,
}

impl Cursor<'_> {
    /// The next entry; `None` at the end.
    pub(super) fn next(
        &mut self,
        files: &mut impl Files,
    ) -> Result<Option<(Id, Location)>, Failure> {
        if let Some(entry) = self.entries.next() {
            return Ok(Some(entry));
        }
        if self.block >= self.run.fences.len() {
            return Ok(None);
        }
        self.entries = self.run.read_block(files, self.block)?.into_iter();
        self.block = self.block.saturating_add(1);
        Ok(self.entries.next())
    }
}

/// Writes a run in ascending order of ids and packs.
pub(super) struct RunWriter {
    path: String,
    block: Vec<(Id, Location)>,
    buffer: Vec<u8>,
    fences: Vec<u8>,
    filter: Filter,
    entries: u64,
}

impl RunWriter {
    /// Begins a file for at most `count` entries.
    pub(super) fn create(
        files: &mut impl Files,
        path: String,
        count: usize,
    ) -> Result<Self, Failure> {
        files.remove(&path)?;
        let filter = Filter::for_count(count);
        Ok(Self {
            path,
            block: Vec::with_capacity(BLOCK_ENTRIES),
            buffer: Vec::new(),
            fences: Vec::new(),
            filter,
            entries: 0,
        })
    }

    /// Appends an entry; entries ascend by id, then by pack.
    pub(super) fn push(
        &mut self,
        files: &mut impl Files,
        id: Id,
        location: Location,
    ) -> Result<(), Failure> {
        if self.block.is_empty() {
            self.fences.extend_from_slice(&fence(&id).to_be_bytes());
        }
        self.filter.insert(&id);
        self.block.push((id, location));
        self.entries = self.entries.saturating_add(1);
        if self.block.len() == BLOCK_ENTRIES {
            self.write_block(files)
        } else {
            Ok(())
        }
    }

    /// Completes the file durably.
    pub(super) fn finish(mut self, files: &mut impl Files) -> Result<Run, Failure> {
        if !self.block.is_empty() {
            self.write_block(files)?;
        }
        let mut trailer = Writer::with_capacity(TRAILER_BYTES as usize);
        let blocks = (self.fences.len() / 8) as u64;
        trailer
            .bytes(MAGIC)
            .u64(self.entries)
            .u64(blocks)
            .u64(self.filter.as_bytes().len() as u64);
        let trailer = trailer.finish();
        let hash = tail_hash(&self.fences, self.filter.as_bytes(), &trailer);
        self.buffer.extend_from_slice(&self.fences);
        self.buffer.extend_from_slice(self.filter.as_bytes());
        self.buffer.extend_from_slice(&trailer);
        self.buffer.extend_from_slice(&hash);
        files.append(&self.path, &self.buffer)?;
        files.sync(&self.path)?;
        let fences = self
            .fences
            .as_chunks::<8>()
            .0
            .iter()
            .map(|fence| u64::from_be_bytes(*fence))
            .collect();
        Ok(Run {
            path: self.path,
            entries: self.entries,
            fences,
            filter: self.filter,
        })
    }

    fn write_block(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        self.buffer.extend_from_slice(&encode_block(&self.block));
        self.block.clear();
        if self.buffer.len() >= WRITE_BYTES {
            files.append(&self.path, &self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

fn tail_hash(fences: &[u8], filter: &[u8], trailer: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(fences)
        .update(filter)
        .update(trailer)
        .finalize()
        .as_bytes()
}

fn decode_trailer(bytes: &[u8]) -> Result<(u64, u64, u64, [u8; 32]), Malformed> {
    let mut reader = Reader::new(bytes);
    reader.magic(MAGIC)?;
    Ok((reader.u64()?, reader.u64()?, reader.u64()?, reader.array()?))
}
