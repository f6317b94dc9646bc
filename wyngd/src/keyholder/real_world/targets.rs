// SPDX-License-Identifier: GPL-3.0-or-later
//! Targets of a restore: files and devices are written through the page cache and read back past
//! it; a stream is written onwards. Which bytes go where is the engine's.

use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use wyng_control::TargetKind;

use super::control::SharedControl;
use super::stream::Stream;
use crate::keyholder::page_cache::{Behind, find_data, read_medium};

/// Length of the pieces in which zeros are written.
const ZEROS_BYTES: usize = 64 * 1024;
/// Maximum number of bytes that a device clears in one call.
const CLEAR_MAX_BYTES: u64 = 64 << 20;

/// One target, open.
pub(super) struct Target {
    file: OwnedFd,
    kind: TargetKind,
    /// The target is changed where it is, and has its name.
    in_place: bool,
    /// How it is written; `None` unless it is a stream.
    stream: Option<Stream>,
    behind: Behind,
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
            stream,
            behind: Behind::default(),
            data: 0..0,
        }
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
            None => self.write_through_cache(offset, bytes),
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

    /// Makes a hole, where the file system has holes; zeros elsewhere. A device is not asked to
    /// discard, which promises no zeros.
    pub(super) fn punch(&mut self, offset: u64, length: u64) -> Result<(), Errno> {
        let end = offset.saturating_add(length);
        let mut next = offset;
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

    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
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
