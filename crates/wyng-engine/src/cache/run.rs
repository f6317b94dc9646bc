// SPDX-License-Identifier: GPL-3.0-or-later
//! A sorted run: ids and their places in a file that never changes, read one block at a time.
//!
//! ```text
//! entries ascend by id, then by pack
//! blocks of 4096: the first 8 bytes of H(the rest of the block) ‖ count u32 ‖ 52 zero bytes ‖ 63 entries of 64
//! fences: the first 8 bytes of each block's first id
//! the filter
//! trailer of 64: "wyngrun0" ‖ entries u64 ‖ blocks u64 ‖ filter bytes u64 ‖ H(fences ‖ filter ‖ trailer up to here)
//! entry: id (32) ‖ pack u64 ‖ offset u32 ‖ length u32 ‖ key u32 ‖ node bytes u32 ‖ node offset u64
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wyng_archive::crypto::Id;
use wyng_archive::format::{Malformed, Reader, Writer};
use wyng_control::Failure;

use super::filter::Filter;
use crate::world::Files;

const MAGIC: &[u8; 8] = b"wyngrun0";
const BLOCK_BYTES: usize = 4096;
const ENTRY_BYTES: usize = 64;
const BLOCK_ENTRIES: usize = 63;
const TRAILER_BYTES: u64 = 64;
/// So many bytes are written at once.
const WRITE_BYTES: usize = 256 * 1024;

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// A chunk under this session key.
    Chunk {
        /// The number in the key table.
        key: u32,
    },
    /// A node, whose plain bytes the cache has too.
    Node {
        /// Where in the cache's file.
        offset: u64,
        /// How many plain bytes.
        plain_bytes: u32,
    },
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The number of its pack.
    pub pack: u64,
    /// Where it begins.
    pub offset_bytes: u32,
    /// How long it is.
    pub length_bytes: u32,
    /// What it is.
    pub stored: Stored,
}

/// One file.
pub(super) struct Run {
    /// Its path in the state.
    pub path: String,
    /// Entries in it.
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

    /// False: the id is not in this run. Asks no file.
    pub(super) fn may_contain(&self, id: &Id) -> bool {
        self.filter.may_contain(id)
    }

    /// Visits every place of an id. They stand together, seldom in more than one block.
    pub(super) fn find(
        &self,
        files: &mut impl Files,
        id: &Id,
        visit: &mut dyn FnMut(Location),
    ) -> Result<(), Failure> {
        let wanted = fence(id);
        let begin = self
            .fences
            .partition_point(|fence| *fence < wanted)
            .saturating_sub(1);
        let end = self.fences.partition_point(|fence| *fence <= wanted);
        for block in begin..end {
            let entries = self.read_block(files, block)?;
            let first = entries.partition_point(|(found, _)| found < id);
            entries
                .iter()
                .skip(first)
                .take_while(|(found, _)| found == id)
                .for_each(|(_, location)| visit(*location));
        }
        Ok(())
    }

    /// Visits every entry, in order.
    pub(super) fn visit<F: Files>(
        &self,
        files: &mut F,
        visit: &mut dyn FnMut(&mut F, Id, Location) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut cursor = Cursor {
            run: self,
            block: 0,
            entries: Vec::new().into_iter(),
        };
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

    /// Appends an entry.
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

/// Makes one run of several.
pub(super) fn merge(files: &mut impl Files, runs: &[Run], path: String) -> Result<Run, Failure> {
    let count = runs
        .iter()
        .fold(0u64, |sum, run| sum.saturating_add(run.entries));
    let mut writer = RunWriter::create(files, path, usize::try_from(count).unwrap_or(usize::MAX))?;
    let mut cursors = Vec::with_capacity(runs.len());
    let mut heap = BinaryHeap::with_capacity(runs.len());
    for (number, run) in runs.iter().enumerate() {
        let mut cursor = Cursor {
            run,
            block: 0,
            entries: Vec::new().into_iter(),
        };
        if let Some((id, location)) = cursor.next(files)? {
            heap.push(Reverse((id, location.pack, number, Opaque(location))));
        }
        cursors.push(cursor);
    }
    let mut last = None;
    while let Some(Reverse((id, _, number, Opaque(location)))) = heap.pop() {
        // A pack that was indexed twice, by a cut run and by the next one, stands in two runs.
        if last != Some((id, location.pack)) {
            writer.push(files, id, location)?;
            last = Some((id, location.pack));
        }
        if let Some(cursor) = cursors.get_mut(number)
            && let Some((id, location)) = cursor.next(files)?
        {
            heap.push(Reverse((id, location.pack, number, Opaque(location))));
        }
    }
    writer.finish(files)
}

/// Rides along in the heap without taking part in its order.
struct Opaque(Location);

impl PartialEq for Opaque {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Opaque {}
impl PartialOrd for Opaque {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Opaque {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// Reads a run from its begin.
struct Cursor<'a> {
    run: &'a Run,
    block: usize,
    entries: std::vec::IntoIter<(Id, Location)>,
}

impl Cursor<'_> {
    fn next(&mut self, files: &mut impl Files) -> Result<Option<(Id, Location)>, Failure> {
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

fn fence(id: &Id) -> u64 {
    id.0.first_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
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

fn encode_block(entries: &[(Id, Location)]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(BLOCK_BYTES);
    writer
        .u32(u32::try_from(entries.len()).unwrap_or(u32::MAX))
        .zeros_to(ENTRY_BYTES - 8);
    for (id, location) in entries {
        let (key, node_bytes, node_offset) = match location.stored {
            Stored::Chunk { key } => (key, 0, 0),
            Stored::Node {
                offset,
                plain_bytes,
            } => (0, plain_bytes, offset),
        };
        writer
            .bytes(&id.0)
            .u64(location.pack)
            .u32(location.offset_bytes)
            .u32(location.length_bytes);
        writer.u32(key).u32(node_bytes).u64(node_offset);
    }
    writer.zeros_to(BLOCK_BYTES - 8);
    let rest = writer.finish();
    let mut block = block_check(&rest).to_vec();
    block.extend_from_slice(&rest);
    block
}

fn decode_block(bytes: &[u8; BLOCK_BYTES]) -> Result<Vec<(Id, Location)>, Malformed> {
    let (check, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed("block"))?;
    if block_check(rest) != *check {
        return Err(Malformed("block checksum"));
    }
    let mut reader = Reader::new(rest);
    let count = reader.u32()?;
    reader.slice(ENTRY_BYTES - 12)?;
    let mut entries = Vec::with_capacity(BLOCK_ENTRIES);
    for _ in 0..count {
        let (id, pack, offset_bytes, length_bytes) = (
            Id(reader.array()?),
            reader.u64()?,
            reader.u32()?,
            reader.u32()?,
        );
        let (key, plain_bytes, offset) = (reader.u32()?, reader.u32()?, reader.u64()?);
        let stored = if plain_bytes == 0 {
            Stored::Chunk { key }
        } else {
            Stored::Node {
                offset,
                plain_bytes,
            }
        };
        entries.push((
            id,
            Location {
                pack,
                offset_bytes,
                length_bytes,
                stored,
            },
        ));
    }
    Ok(entries)
}

fn block_check(rest: &[u8]) -> [u8; 8] {
    blake3::hash(rest)
        .as_bytes()
        .first_chunk::<8>()
        .copied()
        .unwrap_or_default()
}
