// SPDX-License-Identifier: GPL-3.0-or-later
//! Targets of a restore: files and devices are written through the page cache and read back past
//! it; a stream is written onwards. Which bytes go where is the engine's.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use wyng_control::TargetKind;

use super::control::SharedControl;
use super::holes::Holes;
use super::stream::Stream;
use crate::keyholder::page_cache::{Behind, find_data, read_medium};

/// Length of the pieces in which zeros are written.
const ZEROS_BYTES: usize = 64 * 1024;
/// Maximum number of bytes that a device clears in one call.
const CLEAR_MAX_BYTES: u64 = 64 << 20;
/// Bytes that are looked at behind a discard.
const PROBE_BYTES: usize = 4096;

/// One target, open.
pub(super) struct Target {
    file: OwnedFd,
    kind: TargetKind,
    /// The target is changed where it is, and has its name.
    in_place: bool,
    /// The pool role made it, and gives it its name.
    named_by_pool: bool,
    /// How it is written; `None` unless it is a stream.
    stream: Option<Stream>,
    behind: Behind,
    /// Its holes, if it is a thin volume.
    holes: Option<Holes>,
    /// The range of data that was found last, bytes.
    data: Range<u64>,
}

impl Target {
    /// A target with this descriptor. `stream` says how it is written, if it is a stream.
    pub(super) fn new(
        file: OwnedFd,
        kind: TargetKind,
        in_place: bool,
        stream: Option<Stream>,
    ) -> Self {
        Self {
            file,
            kind,
            in_place,
            named_by_pool: false,
            stream,
            behind: Behind::default(),
            holes: None,
            data: 0..0,
        }
    }

    /// The target, as a thin volume whose pool has blocks of this length, bytes; 0 if it is none.
    pub(super) fn with_blocks_of(mut self, block_bytes: u32) -> Self {
        self.holes = Holes::new(block_bytes).filter(|_| self.kind == TargetKind::Device);
        self
    }

    /// The target, as a new volume of a thin pool.
    pub(super) fn named_by_pool(mut self) -> Self {
        self.named_by_pool = true;
        self
    }

    /// Whether the pool role gives it its name.
    pub(super) fn is_named_by_pool(&self) -> bool {
        self.named_by_pool
    }

    /// Whether the target is changed where it is, and has its name.
    pub(super) fn is_in_place(&self) -> bool {
        self.in_place
    }

    /// Whether it gets its name when it is complete.
    pub(super) fn gets_a_name(&self) -> bool {
        !(self.kind == TargetKind::Stream || self.in_place)
    }

    /// Writes at an offset; a stream only onwards, and hears control while its reader takes
    /// nothing.
    pub(super) fn write(
        &mut self,
        control: &SharedControl,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        match &mut self.stream {
            Some(stream) => stream.write(control, &self.file, offset, bytes),
            None => {
                self.make_hole_at(&(offset..offset.saturating_add(bytes.len() as u64)))?;
                self.write_through_cache(offset, bytes)
            }
        }
    }

    fn write_through_cache(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.behind.note(&self.file, offset, bytes.len() as u64);
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, offset))?;
            bytes = bytes.get(written..).unwrap_or_default();
            offset = offset.saturating_add(written as u64);
        }
        Ok(())
    }

    /// Makes a hole, where the file system or the thin pool has holes; zeros elsewhere. Another
    /// device is not asked to discard, which promises no zeros. The hole of a thin volume may be
    /// made later, but before anything reads or writes there.
    pub(super) fn punch(&mut self, offset: u64, length: u64) -> Result<(), Errno> {
        let hole = offset..offset.saturating_add(length);
        match &mut self.holes {
            Some(holes) => match holes.add(hole) {
                Some(before) => self.make_thin_hole(&before),
                None => Ok(()),
            },
            None => self.make_hole(&hole),
        }
    }

    /// Makes the hole of a thin volume that is still open, if it has bytes of this range.
    fn make_hole_at(&mut self, range: &Range<u64>) -> Result<(), Errno> {
        match self.holes.as_mut().and_then(|holes| holes.take_at(range)) {
            Some(hole) => self.make_thin_hole(&hole),
            None => Ok(()),
        }
    }

    /// Gives the whole blocks of a hole back to the pool, and writes zeros before and behind them.
    /// Where blocks that were given back do not read as zeros, as in a volume with an external
    /// origin, all is written, now and from now on.
    fn make_thin_hole(&mut self, hole: &Range<u64>) -> Result<(), Errno> {
        let Some(parts) = self.holes.as_ref().map(|holes| holes.parts(hole)) else {
            return self.make_hole(hole);
        };
        if !self.discard(&parts.blocks)? {
            self.holes = None;
            return self.make_hole(hole);
        }
        for zeros in [parts.before, parts.behind] {
            self.write_zeros(zeros.start, zeros.end.saturating_sub(zeros.start))?;
        }
        Ok(())
    }

    /// Discards a range; `false` if its first block does not read as zeros afterwards.
    fn discard(&self, blocks: &Range<u64>) -> Result<bool, Errno> {
        if blocks.is_empty() {
            return Ok(true);
        }
        let length = blocks.end.saturating_sub(blocks.start);
        match wyng_jail::discard(self.file.as_fd(), blocks.start, length) {
            Ok(()) => {}
            Err(error) => {
                return match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
                    Errno::OPNOTSUPP | Errno::INVAL => Ok(false),
                    errno => Err(errno),
                };
            }
        }
        let mut found = [0; PROBE_BYTES];
        let read = rustix::io::pread(&self.file, &mut found, blocks.start)?;
        Ok(found.iter().take(read).all(|byte| *byte == 0))
    }

    /// Makes a hole with the file system's help, or writes zeros.
    fn make_hole(&mut self, hole: &Range<u64>) -> Result<(), Errno> {
        let (mut next, end) = (hole.start, hole.end);
        while next < end {
            let piece = end.saturating_sub(next).min(CLEAR_MAX_BYTES);
            match rustix::fs::fallocate(
                &self.file,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                next,
                piece,
            ) {
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    self.write_zeros(next, piece)?
                }
                punched => punched?,
            }
            next = next.saturating_add(piece);
        }
        Ok(())
    }

    fn write_zeros(&mut self, offset: u64, length: u64) -> Result<(), Errno> {
        let zeros = [0; ZEROS_BYTES];
        let end = offset.saturating_add(length);
        let mut next = offset;
        while next < end {
            let piece = zeros
                .get(..part(end.saturating_sub(next)))
                .unwrap_or(&zeros);
            self.write_through_cache(next, piece)?;
            next = next.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    pub(super) fn next_data(&mut self, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        if !self.data.contains(&offset) {
            let size_bytes = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0))?;
            let Some(data) = find_data(&self.file, offset, size_bytes)? else {
                return Ok(None);
            };
            self.data = data;
        }
        Ok(Some((self.data.start.max(offset), self.data.end)))
    }

    pub(super) fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.make_hole_at(&(offset..offset.saturating_add(bytes.len() as u64)))?;
        read_medium(&self.file, offset, bytes)
    }

    /// Fills the target up to its size: a file with a hole, a stream with zeros; a device keeps its
    /// size. Makes a file or device durable.
    pub(super) fn finish(&mut self, control: &SharedControl, size_bytes: u64) -> Result<(), Errno> {
        if let Some(stream) = &mut self.stream {
            return stream.write(control, &self.file, size_bytes, &[]);
        }
        self.resize(size_bytes)?;
        self.sync()
    }

    /// Gives a file its size, with a hole; a device keeps its size.
    pub(super) fn resize(&self, size_bytes: u64) -> Result<(), Errno> {
        if self.kind == TargetKind::File {
            rustix::fs::ftruncate(&self.file, size_bytes)
        } else {
            Ok(())
        }
    }

    /// Empties a file.
    pub(super) fn empty(&self) -> Result<(), Errno> {
        rustix::fs::ftruncate(&self.file, 0)
    }

    /// Makes the target durable, and leaves nothing of it in the page cache.
    pub(super) fn sync(&mut self) -> Result<(), Errno> {
        if let Some(hole) = self.holes.as_mut().and_then(Holes::take) {
            self.make_thin_hole(&hole)?;
        }
        rustix::fs::fsync(&self.file)?;
        self.behind.drop_all(&self.file);
        self.data = 0..0;
        Ok(())
    }
}

/// A number of bytes, at most [`ZEROS_BYTES`].
fn part(bytes: u64) -> usize {
    usize::try_from(bytes)
        .unwrap_or(ZEROS_BYTES)
        .min(ZEROS_BYTES)
}
