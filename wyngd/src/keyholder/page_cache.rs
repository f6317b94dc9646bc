// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading sources, and the page cache beside them: it is left as it was, so that what a backup
//! reads or a restore writes does not push out what the machine works with; and of a block device
//! it is not believed, since it does not see what others wrote to the medium.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::{Advice, FileType, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

/// `RWF_DONTCACHE`: the kernel itself drops what it had to read (since Linux 6.14, not every file
/// system and no device).
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);
/// Where the kernel does not do that, it is asked for so much of a source at once whether it is in
/// the page cache already.
const PIECE_BYTES: u64 = 64 << 10;

/// Memory for reading past the page cache, in bytes.
const DIRECT_BYTES: usize = 1 << 20;
/// The most that the kernel caches as one folio, in bytes; it drops none of which a part is to
/// stay.
const FOLIO_BYTES: u64 = 4 << 20;
/// Alignment of offsets, lengths and memory for that, in bytes: a multiple of the logical blocks of
/// nearly all devices (512 or 4096).
const DIRECT_ALIGN: usize = 4096;
/// The smallest block of any device.
const SECTOR_BYTES: usize = 512;

/// So much of a file is written before its pages are written out.
const BEHIND_BYTES: u64 = 8 << 20;
/// So many times as much may be on its way to the disk before its pages are dropped.
const BEHIND_RANGES: usize = 8;

/// A volume that is read once, from begin to end.
pub(super) struct Source {
    file: OwnedFd,
    size_bytes: u64,
    way: Way,
    /// The file system can be asked for holes: all that was written before is on the disk, or has
    /// its place there.
    knows_holes: bool,
    /// The data that was found last. To look for the end of a long range costs the kernel a look at
    /// each of its pages.
    data: Range<u64>,
}

/// How a source is read.
enum Way {
    /// A file, by pages that the kernel drops itself if it had to read them.
    Dropping,
    /// A file, of whose pages the kernel is asked which it has.
    Asking,
    /// A device, past the page cache, into this memory.
    Direct(Vec<u8>),
    /// A device that cannot be read past the page cache: what is cached is dropped first.
    Dropped,
}

impl Source {
    /// A source with a descriptor of its own. `stands_still`: it is a clone, whose data had its
    /// place on the disk when it was made.
    ///
    /// From now on the kernel reads nothing ahead by itself, which might be a hole that nobody asks
    /// for, and does not take what is read for what is in use. Data that has no place on the disk
    /// yet counts as a hole on some file systems, so a file is synced before it is asked for holes.
    pub(super) fn new(file: OwnedFd, size_bytes: u64, stands_still: bool) -> Self {
        for advice in [Advice::NoReuse, Advice::Random] {
            let _ = rustix::fs::fadvise(&file, 0, None, advice); // advice only
        }
        let mut source = Self {
            file,
            size_bytes,
            way: Way::Dropping,
            knows_holes: true,
            data: 0..0,
        };
        if source.is_device() {
            (source.way, source.knows_holes) = (Way::Dropped, false);
            let flags = rustix::fs::fcntl_getfl(&source.file);
            if flags
                .and_then(|flags| rustix::fs::fcntl_setfl(&source.file, flags | OFlags::DIRECT))
                .is_ok()
            {
                source.way = Way::Direct(vec![0; DIRECT_BYTES + DIRECT_ALIGN]);
            }
        } else if !stands_still {
            source.knows_holes =
                rustix::io::retry_on_intr(|| rustix::fs::fsync(&source.file)).is_ok();
        }
        source
    }

    fn is_device(&self) -> bool {
        rustix::fs::fstat(&self.file)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice)
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
        if !self.knows_holes {
            return Ok(Some((offset, self.size_bytes)));
        }
        if !self.data.contains(&offset) {
            let Some(data) = find_data(&self.file, offset, self.size_bytes)? else {
                return Ok(None);
            };
            self.data = data;
        }
        Ok(Some((self.data.start.max(offset), self.data.end)))
    }

    /// Fills `bytes` from `offset`; how many bytes, less only at the end. Pages that were not in
    /// the page cache are dropped again.
    pub(super) fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        if matches!(self.way, Way::Dropping) {
            match self.read_on(offset, bytes, DONT_CACHE) {
                Err(Errno::NOTSUP | Errno::INVAL) => self.way = Way::Asking,
                read => return read,
            }
        }
        if let Way::Direct(memory) = &mut self.way {
            match read_direct(&self.file, memory, offset, bytes) {
                // Its blocks are larger, or its driver has no such way after all.
                Err(Errno::INVAL) => self.leave_direct()?,
                read => return read,
            }
        }
        if matches!(self.way, Way::Dropped) {
            let range = folios(offset, bytes.len());
            drop_pages(&self.file, &range);
            let read = self.read_on(offset, bytes, ReadWriteFlags::empty());
            drop_pages(&self.file, &range);
            return read;
        }
        self.read_in_pieces(offset, bytes)
    }

    fn leave_direct(&mut self) -> Result<(), Errno> {
        tracing::warn!(
            "a device cannot be read past the page cache: its cached pages are dropped before they are read"
        );
        self.way = Way::Dropped;
        rustix::fs::fcntl_setfl(
            &self.file,
            rustix::fs::fcntl_getfl(&self.file)? - OFlags::DIRECT,
        )
    }

    /// What is there is taken, and the rest is asked of the disk, all at once; only then it is
    /// waited for. Of a piece of 64 KiB that is there in part, what lies behind the first page that
    /// is missing counts as missing. What the disk gives at once counts as there.
    fn read_in_pieces(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let end = offset.saturating_add(bytes.len() as u64);
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut place = offset;
        while place < end {
            let piece_end = (place / PIECE_BYTES)
                .saturating_add(1)
                .saturating_mul(PIECE_BYTES)
                .min(end);
            match self.read_once(
                place,
                part(bytes, offset, place..piece_end),
                ReadWriteFlags::NOWAIT,
            ) {
                Ok(there) => place = place.saturating_add(there as u64),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(Errno::NOTSUP) => {
                    let read = self.read_on(
                        place,
                        part(bytes, offset, place..end),
                        ReadWriteFlags::empty(),
                    )?;
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
            let read = self.read_on(
                range.start,
                part(bytes, offset, range.clone()),
                ReadWriteFlags::empty(),
            )?;
            drop_pages(&self.file, &range);
            let read_end = range.start.saturating_add(read as u64);
            if read_end < range.end {
                return Ok(length(read_end.saturating_sub(offset)));
            }
        }
        Ok(bytes.len())
    }

    fn read_once(
        &self,
        offset: u64,
        bytes: &mut [u8],
        flags: ReadWriteFlags,
    ) -> Result<usize, Errno> {
        rustix::io::preadv2(&self.file, &mut [IoSliceMut::new(bytes)], offset, flags)
    }

    fn read_on(
        &self,
        mut offset: u64,
        bytes: &mut [u8],
        flags: ReadWriteFlags,
    ) -> Result<usize, Errno> {
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

/// Fills `bytes` from `offset` past the page cache, by way of `memory`, since offset, length and
/// memory of each read must be aligned.
fn read_direct(
    file: &OwnedFd,
    memory: &mut [u8],
    offset: u64,
    bytes: &mut [u8],
) -> Result<usize, Errno> {
    let unaligned = memory.as_ptr().align_offset(DIRECT_ALIGN);
    let memory = memory
        .get_mut(unaligned..)
        .and_then(|memory| memory.get_mut(..DIRECT_BYTES))
        .ok_or(Errno::NOMEM)?;
    let align = DIRECT_ALIGN as u64;
    let mut done = 0usize;
    while done < bytes.len() {
        let place = offset.saturating_add(done as u64);
        let begin = place / align * align;
        let skipped = length(place.saturating_sub(begin));
        let wanted = skipped
            .saturating_add(bytes.len().saturating_sub(done))
            .next_multiple_of(DIRECT_ALIGN)
            .min(DIRECT_BYTES);
        let room = memory.get_mut(..wanted).unwrap_or_default();
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::preadv2(
                file,
                &mut [IoSliceMut::new(room)],
                begin,
                ReadWriteFlags::empty(),
            )
        })?;
        let found = room.get(skipped..read).unwrap_or_default();
        let Some((target, found)) = bytes.get_mut(done..).map(|rest| {
            let fits = found.len().min(rest.len());
            (
                rest.get_mut(..fits).unwrap_or_default(),
                found.get(..fits).unwrap_or_default(),
            )
        }) else {
            break;
        };
        target.copy_from_slice(found);
        done = done.saturating_add(found.len());
        if found.is_empty() || (read < wanted && !read.is_multiple_of(DIRECT_ALIGN)) {
            break; // the end
        }
    }
    Ok(done)
}

/// The next range at or after `offset` that may hold data; `None` when only holes follow.
pub(super) fn find_data(
    file: &OwnedFd,
    offset: u64,
    size_bytes: u64,
) -> Result<Option<Range<u64>>, Errno> {
    if offset >= size_bytes {
        return Ok(None);
    }
    let begin = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        // Not everything knows its holes; then all is data.
        Err(Errno::INVAL) => return Ok(Some(offset..size_bytes)),
        Err(errno) => return Err(errno),
    };
    match rustix::fs::seek(file, SeekFrom::Hole(begin)) {
        Ok(end) => Ok(Some(begin..end.max(begin.saturating_add(1)))),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Fills `bytes` from `offset` with what the medium has, and not the page cache: how many bytes,
/// less only at the end. What is dirty is written out first. `offset` and `bytes` are to be whole
/// blocks; where they are not, or where the file system has no direct reads, clean pages are
/// dropped and the rest is read through the cache.
pub(super) fn read_medium(file: &OwnedFd, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    // Some file systems take what is in the page cache for a direct read too, where an extent is
    // compressed.
    drop_pages(file, &folios(offset, bytes.len()));
    let flags = rustix::fs::fcntl_getfl(file)?;
    if rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT).is_ok() {
        let read = read_blocks(file, offset, bytes, true);
        rustix::fs::fcntl_setfl(file, flags)?;
        match read {
            Err(Errno::INVAL | Errno::NOTSUP) => {}
            read => return read,
        }
    }
    read_blocks(file, offset, bytes, false)
}

/// A direct read ends at the first number of bytes that is not whole blocks: only the end of the
/// file is there.
fn read_blocks(
    file: &OwnedFd,
    offset: u64,
    bytes: &mut [u8],
    direct: bool,
) -> Result<usize, Errno> {
    let mut done = 0usize;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::pread(file, &mut *rest, offset.saturating_add(done as u64))
        })?;
        done = done.saturating_add(read);
        if read == 0 || (direct && !read.is_multiple_of(SECTOR_BYTES)) {
            break;
        }
    }
    Ok(done)
}

/// The whole folios in which so many bytes from `offset` may be cached.
fn folios(offset: u64, length: usize) -> Range<u64> {
    let end = offset
        .saturating_add(length as u64)
        .checked_next_multiple_of(FOLIO_BYTES)
        .unwrap_or(u64::MAX);
    offset / FOLIO_BYTES * FOLIO_BYTES..end
}

/// Where the bytes of a range of the source belong in the room for what begins at `offset`.
fn part(bytes: &mut [u8], offset: u64, range: Range<u64>) -> &mut [u8] {
    bytes
        .get_mut(
            length(range.start.saturating_sub(offset))..length(range.end.saturating_sub(offset)),
        )
        .unwrap_or_default()
}

/// Never more than the room that is filled.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The ranges of a file that were written last. Their pages are written out early and then dropped
/// from the page cache, which stays as it was; and a file does not take fresh pages for each of its
/// bytes, which costs more than to write them.
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
        self.closed
            .drain(..)
            .for_each(|range| drop_pages(file, &range));
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
            let Some(old) = self.closed.pop_front() else {
                break;
            };
            drop_pages(file, &old);
        }
        let end = offset.saturating_add(bytes);
        self.open = if self.open_bytes == 0 {
            offset..end
        } else {
            self.open.start.min(offset)..self.open.end.max(end)
        };
        self.open_bytes = self.open_bytes.saturating_add(bytes);
    }
}

/// Begins to write the pages of a range, and drops those that are written.
fn drop_pages(file: &OwnedFd, range: &Range<u64>) {
    let Some(length) = NonZeroU64::new(range.end.saturating_sub(range.start)) else {
        return;
    }; // none would mean all
    let _ = rustix::fs::fadvise(file, range.start, Some(length), Advice::DontNeed); // advice only
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_alike_in_every_way_also_behind_its_end() {
        let path = std::env::temp_dir().join(format!("wyng-source-{}", std::process::id()));
        let content: Vec<u8> = (0..300_001u32)
            .map(|number| number.to_le_bytes()[number as usize % 3])
            .collect();
        std::fs::write(&path, &content).unwrap();
        let ways: [fn(&OwnedFd) -> Option<Way>; 4] = [
            |_| Some(Way::Dropping),
            |_| Some(Way::Asking),
            |_| Some(Way::Dropped),
            // Not every file system has it.
            |file| {
                rustix::fs::fcntl_setfl(file, OFlags::DIRECT)
                    .ok()
                    .map(|()| Way::Direct(vec![0; DIRECT_BYTES + DIRECT_ALIGN]))
            },
        ];
        for way in ways {
            let file = std::fs::File::open(&path).unwrap();
            file.sync_all().unwrap();
            drop_pages(&file.try_clone().unwrap().into(), &(70_000..200_000));
            let mut source = Source::new(file.into(), 300_001, false);
            let Some(way) = way(&source.file) else {
                continue;
            };
            source.way = way;
            for (offset, length) in [
                (0, 300_001),
                (1, 65_536),
                (65_536, 131_072),
                (200_000, 200_000),
                (400_000, 10),
            ] {
                let mut bytes = vec![0; length];
                let read = source.read(offset as u64, &mut bytes).unwrap();
                let expected = content
                    .get(offset..content.len().min(offset + length))
                    .unwrap_or_default();
                assert!(bytes[..read] == *expected, "{length} from {offset}");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
