// SPDX-License-Identifier: GPL-3.0-or-later
//! The page cache is left as it was: what a backup reads or a restore writes does not push out what the machine works with.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::{Advice, FileType, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

/// `RWF_DONTCACHE`: the kernel itself drops what it had to read (since Linux 6.14, not every file system and no device).
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);
/// Where the kernel does not do that, it is asked for so much of a source at once whether it is in the page cache already.
const PIECE_BYTES: u64 = 64 << 10;

/// So much of a file is written before its pages are written out.
const BEHIND_BYTES: u64 = 8 << 20;
/// So many times as much may be on its way to the disk before its pages are dropped.
const BEHIND_RANGES: usize = 8;

/// A volume that is read once, from begin to end.
pub(super) struct Source {
    file: OwnedFd,
    size_bytes: u64,
    /// Where the kernel does not say what it has of it: a device that is read belongs to no file that others read, so its pages go; of
    /// anything else they stay.
    is_device: bool,
    /// Does the kernel drop what it had to read?
    drops_itself: bool,
    /// The data that was found last. To look for the end of a long range costs the kernel a look at each of its pages.
    data: Range<u64>,
}

impl Source {
    /// From now on the kernel reads nothing ahead by itself, which might be a hole that nobody asks for, and does not take what is read for what is in use.
    pub(super) fn new(file: OwnedFd, size_bytes: u64) -> Self {
        for advice in [Advice::NoReuse, Advice::Random] {
            let _ = rustix::fs::fadvise(&file, 0, None, advice); // advice only
        }
        let is_device = rustix::fs::fstat(&file).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice);
        Self { file, size_bytes, is_device, drops_itself: true, data: 0..0 }
    }

    /// Its size now.
    pub(super) fn current_bytes(&self) -> Result<u64, Errno> {
        rustix::fs::seek(&self.file, SeekFrom::End(0))
    }

    /// The next range at or after `offset` that may hold data; `None` when only holes follow.
    pub(super) fn next_data(&mut self, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        if offset >= self.size_bytes {
            return Ok(None);
        }
        if !self.data.contains(&offset) {
            let Some(data) = self.find_data(offset)? else { return Ok(None) };
            self.data = data;
        }
        Ok(Some((self.data.start.max(offset), self.data.end)))
    }

    fn find_data(&self, offset: u64) -> Result<Option<Range<u64>>, Errno> {
        let begin = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => return Ok(None),
            // Not everything knows its holes; then all is data.
            Err(Errno::INVAL) => return Ok(Some(offset..self.size_bytes)),
            Err(errno) => return Err(errno),
        };
        match rustix::fs::seek(&self.file, SeekFrom::Hole(begin)) {
            Ok(end) => Ok(Some(begin..end.max(begin.saturating_add(1)))),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Fills `bytes` from `offset`; how many bytes, less only at the end. Pages that were not in the page cache are dropped again.
    pub(super) fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        if self.drops_itself {
            match self.read_on(offset, bytes, DONT_CACHE) {
                Err(Errno::NOTSUP | Errno::INVAL) => self.drops_itself = false,
                read => return read,
            }
        }
        self.read_in_pieces(offset, bytes)
    }

    /// What is there is taken, and the rest is asked of the disk, all at once; only then it is waited for. Of a piece of 64 KiB that is
    /// there in part, what lies behind the first page that is missing counts as missing. What the disk gives at once counts as there.
    fn read_in_pieces(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let end = offset.saturating_add(bytes.len() as u64);
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut place = offset;
        while place < end {
            let piece_end = (place / PIECE_BYTES).saturating_add(1).saturating_mul(PIECE_BYTES).min(end);
            match self.read_once(place, part(bytes, offset, place..piece_end), ReadWriteFlags::NOWAIT) {
                Ok(there) => place = place.saturating_add(there as u64),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(Errno::NOTSUP) => {
                    let read = self.read_on(place, part(bytes, offset, place..end), ReadWriteFlags::empty())?;
                    if self.is_device {
                        drop_pages(&self.file, &(place..end));
                    }
                    return Ok(length(place.saturating_sub(offset)).saturating_add(read));
                }
                Err(errno) => return Err(errno),
            }
            if place < piece_end {
                missing.push(place..piece_end);
                place = piece_end;
            }
        }
        for range in missing {
            let read = self.read_on(range.start, part(bytes, offset, range.clone()), ReadWriteFlags::empty())?;
            drop_pages(&self.file, &range);
            let read_end = range.start.saturating_add(read as u64);
            if read_end < range.end {
                return Ok(length(read_end.saturating_sub(offset)));
            }
        }
        Ok(bytes.len())
    }

    fn read_once(&self, offset: u64, bytes: &mut [u8], flags: ReadWriteFlags) -> Result<usize, Errno> {
        rustix::io::preadv2(&self.file, &mut [IoSliceMut::new(bytes)], offset, flags)
    }

    fn read_on(&self, mut offset: u64, bytes: &mut [u8], flags: ReadWriteFlags) -> Result<usize, Errno> {
        let mut done = 0usize;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_once(offset, rest, flags) {
                Ok(0) => break,
                Ok(read) => {
                    done = done.saturating_add(read);
                    offset = offset.saturating_add(read as u64);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }
}

/// Where the bytes of a range of the source belong in the room for what begins at `offset`.
fn part(bytes: &mut [u8], offset: u64, range: Range<u64>) -> &mut [u8] {
    bytes.get_mut(length(range.start.saturating_sub(offset))..length(range.end.saturating_sub(offset))).unwrap_or_default()
}

/// Never more than the room that is filled.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The ranges of a file that were written last. Their pages are written out early and then dropped from the page cache, which stays as it
/// was; and a file does not take fresh pages for each of its bytes, which costs more than to write them.
#[derive(Default)]
pub(super) struct Behind {
    open: Range<u64>,
    open_bytes: u64,
    closed: VecDeque<Range<u64>>,
}

impl Behind {
    /// Drops the rest, which has been synced.
    pub(super) fn drop_all(&mut self, file: &OwnedFd) {
        self.closed.push_back(std::mem::take(&mut self.open));
        self.closed.drain(..).for_each(|range| drop_pages(file, &range));
    }

    /// Notes what is about to be written.
    pub(super) fn note(&mut self, file: &OwnedFd, offset: u64, bytes: u64) {
        if self.open_bytes >= BEHIND_BYTES {
            let full = std::mem::take(&mut self.open);
            self.open_bytes = 0;
            drop_pages(file, &full); // none is clean yet, so this only begins to write them
            self.closed.push_back(full);
        }
        while self.closed.len() > BEHIND_RANGES {
            let Some(old) = self.closed.pop_front() else { break };
            drop_pages(file, &old);
        }
        let end = offset.saturating_add(bytes);
        self.open = if self.open_bytes == 0 { offset..end } else { self.open.start.min(offset)..self.open.end.max(end) };
        self.open_bytes = self.open_bytes.saturating_add(bytes);
    }
}

/// Begins to write the pages of a range, and drops those that are written.
fn drop_pages(file: &OwnedFd, range: &Range<u64>) {
    let Some(length) = NonZeroU64::new(range.end.saturating_sub(range.start)) else { return }; // none would mean all
    let _ = rustix::fs::fadvise(file, range.start, Some(length), Advice::DontNeed); // advice only
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_alike_in_every_way_also_behind_its_end() {
        let path = std::env::temp_dir().join(format!("wyng-source-{}", std::process::id()));
        let content: Vec<u8> = (0..300_001u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect();
        std::fs::write(&path, &content).unwrap();
        for drops_itself in [true, false] {
            let file = std::fs::File::open(&path).unwrap();
            file.sync_all().unwrap();
            drop_pages(&file.try_clone().unwrap().into(), &(70_000..200_000));
            let mut source = Source { drops_itself, ..Source::new(file.into(), 300_001) };
            for (offset, length) in [(0, 300_001), (1, 65_536), (65_536, 131_072), (200_000, 200_000), (400_000, 10)] {
                let mut bytes = vec![0; length];
                let read = source.read(offset as u64, &mut bytes).unwrap();
                let expected = content.get(offset..content.len().min(offset + length)).unwrap_or_default();
                assert!(bytes[..read] == *expected, "{length} from {offset}");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
