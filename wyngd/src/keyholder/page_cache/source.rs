// SPDX-License-Identifier: GPL-3.0-or-later
//! A volume that is read once, from begin to end, in the way that its file or device allows.

use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::{Advice, FileType, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::medium::find_data;
use super::pages::{drop_pages, folios};

/// `RWF_DONTCACHE`: the kernel itself drops pages that it had to read (since Linux 6.14; not on
/// every file system, and on no device).
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);
/// Length of the pieces of a source for each of which the kernel is asked whether it is in the page
/// cache already, where it does not drop pages itself.
const PIECE_BYTES: u64 = 64 << 10;

/// Memory for reading past the page cache, bytes.
const DIRECT_BYTES: usize = 1 << 20;
/// Alignment of offsets, lengths and memory for direct reads, bytes: a multiple of the logical
/// blocks of nearly all devices (512 or 4096).
const DIRECT_ALIGN: usize = 4096;

/// A volume that is read once, from begin to end.
pub(in crate::keyholder) struct Source {
    file: OwnedFd,
    size_bytes: u64,
    way: Way,
    /// The file system can be asked for holes: everything that was written before has its place on
    /// the disk.
    knows_holes: bool,
    /// The range of data that was found last, bytes. Finding the end of a long range costs the
    /// kernel a look at each of its pages.
    data: Range<u64>,
    /// For a snapshot of a device: the ranges that read as zeros, ascending and apart; `None` until
    /// they are asked for.
    holes: Option<Vec<(u64, u64)>>,
}

/// Maximum number of blocks in holes that are read to see whether they are zeros.
const HOLES_SAMPLED: usize = 32;

/// How a source is read.
enum Way {
    /// A file, whose pages the kernel drops itself if it had to read them.
    Dropping,
    /// A file; the kernel is asked which of its pages are cached.
    Asking,
    /// A device, past the page cache, into this memory.
    Direct(Vec<u8>),
    /// A device that cannot be read past the page cache: what is cached is dropped first.
    Dropped,
}

/// The next range at or after `offset` that is in no hole.
fn data_between(holes: &[(u64, u64)], offset: u64, size_bytes: u64) -> Option<(u64, u64)> {
    let ahead = holes.partition_point(|(_, end)| *end <= offset);
    let mut holes = holes.iter().skip(ahead).peekable();
    let begin = match holes.next_if(|(begin, _)| *begin <= offset) {
        Some((_, end)) => *end,
        None => offset,
    };
    let end = holes
        .next()
        .map_or(size_bytes, |(begin, _)| (*begin).min(size_bytes));
    (begin < end).then_some((begin, end))
}

impl Source {
    /// A source with a descriptor of its own. `stands_still`: it is a clone, whose data had its
    /// place on the disk when it was made.
    ///
    /// From now on the kernel reads nothing ahead, which might be a hole that nobody asks for, and
    /// does not count what is read as in use. Some file systems report data that has no place on
    /// the disk yet as a hole, so a file is synced before it is asked for holes.
    pub(in crate::keyholder) fn new(file: OwnedFd, size_bytes: u64, stands_still: bool) -> Self {
        for advice in [Advice::NoReuse, Advice::Random] {
            let _ = rustix::fs::fadvise(&file, 0, None, advice); // advice only
        }
        let mut source = Self {
            file,
            size_bytes,
            way: Way::Dropping,
            knows_holes: true,
            data: 0..0,
            holes: Some(Vec::new()),
        };
        if source.is_device() {
            source.holes = (!stands_still).then(Vec::new);
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

    /// Its size now, bytes.
    pub(in crate::keyholder) fn current_bytes(&self) -> Result<u64, Errno> {
        rustix::fs::seek(&self.file, SeekFrom::End(0))
    }

    /// Whether the ranges that read as zeros should be asked for: it is a snapshot of a device,
    /// which cannot be asked itself.
    pub(in crate::keyholder) fn wants_holes(&self) -> bool {
        self.holes.is_none()
    }

    /// Takes the ranges of a snapshot that read as zeros. Some of them are read: if one does not
    /// read as zeros, none of them is believed.
    pub(in crate::keyholder) fn learn_holes(
        &mut self,
        holes: Vec<(u64, u64)>,
    ) -> Result<(), Errno> {
        self.holes = Some(Vec::new());
        let step = holes.len().div_ceil(HOLES_SAMPLED).max(1);
        let mut block = vec![0; DIRECT_ALIGN];
        for (begin, end) in holes.iter().step_by(step) {
            let middle = begin.midpoint(*end) / DIRECT_ALIGN as u64 * DIRECT_ALIGN as u64;
            let at = middle.max(*begin);
            let read = self.read(at, &mut block)?;
            let in_hole = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            if block.iter().take(read.min(in_hole)).any(|byte| *byte != 0) {
                tracing::error!(at, "a range that was never written has data: all is read");
                return Ok(());
            }
        }
        self.holes = Some(holes);
        Ok(())
    }

    /// The next range at or after `offset` that may hold data; `None` when only holes follow.
    pub(in crate::keyholder) fn next_data(
        &mut self,
        offset: u64,
    ) -> Result<Option<(u64, u64)>, Errno> {
        if offset >= self.size_bytes {
            return Ok(None);
        }
        if !self.knows_holes {
            let holes = self.holes.as_deref().unwrap_or_default();
            return Ok(data_between(holes, offset, self.size_bytes));
        }
        if !self.data.contains(&offset) {
            let Some(data) = find_data(&self.file, offset, self.size_bytes)? else {
                return Ok(None);
            };
            self.data = data;
        }
        Ok(Some((self.data.start.max(offset), self.data.end)))
    }

    /// Fills `bytes` from `offset`; returns how many bytes, less only at the end. Pages that were
    /// not in the page cache are dropped again.
    pub(in crate::keyholder) fn read(
        &mut self,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<usize, Errno> {
        if matches!(self.way, Way::Dropping) {
            match self.read_on(offset, bytes, DONT_CACHE) {
                Err(Errno::NOTSUP | Errno::INVAL) => self.way = Way::Asking,
                read => return read,
            }
        }
        if let Way::Direct(memory) = &mut self.way {
            match read_direct(&self.file, memory, offset, bytes) {
                // Its blocks are larger, or its driver has no direct reads after all.
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

    /// Takes what is cached, asks the disk for all the rest at once, and only then waits for it. In
    /// a piece that is cached in part, everything behind the first missing page counts as missing.
    /// What the disk gives at once counts as cached.
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

/// Fills `bytes` from `offset` past the page cache, by way of `memory`: offset, length and memory
/// of each read must be aligned. Returns how many bytes, less only at the end.
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

/// The part of `bytes`, which begin at `offset` of the source, that belongs to a range of it.
fn part(bytes: &mut [u8], offset: u64, range: Range<u64>) -> &mut [u8] {
    bytes
        .get_mut(
            length(range.start.saturating_sub(offset))..length(range.end.saturating_sub(offset)),
        )
        .unwrap_or_default()
}

/// A number of bytes that is never more than the memory that is filled.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
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
            let stands_still = false;
            let mut source = Source::new(file.into(), 300_001, stands_still);
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

    #[test]
    fn data_lies_between_holes_and_holes_are_passed_over() {
        let holes = [(0, 10), (20, 30), (40, 50)];
        let at = |offset| data_between(&holes, offset, 50);
        assert_eq!(at(0), Some((10, 20)));
        assert_eq!(at(15), Some((15, 20)));
        assert_eq!(at(20), Some((30, 40)));
        assert_eq!(at(39), Some((39, 40)));
        assert_eq!(at(40), None, "only a hole follows");
        assert_eq!(data_between(&[], 7, 50), Some((7, 50)));
        assert_eq!(data_between(&[(20, 30)], 25, 50), Some((30, 50)));
    }
}
