// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes the archive of dom0's files into a file without a name.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::scan::{Entry, LeftOut, Why, open_beneath};
use super::tar::{self, BLOCK_BYTES, Flag, Header};

/// Number of attempts to read a file that changes.
const ATTEMPTS: usize = 3;
/// Length of what is copied at once, bytes.
const COPIED_BYTES: usize = 256 << 10;

/// The archive, as far as it is written.
pub(super) struct Pack<'a> {
    file: &'a File,
    at_bytes: u64,
    chunk_bytes: u64,
    buffer: Vec<u8>,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// How a file was read.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// As it is.
    Whole,
    /// It changed meanwhile.
    Changed,
}

/// Why a file is not in the archive.
enum NotPacked {
    /// It cannot be read.
    Source(Errno),
    /// The archive cannot be written.
    Archive(io::Error),
}

impl From<io::Error> for NotPacked {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

impl From<Errno> for NotPacked {
    fn from(errno: Errno) -> Self {
        Self::Source(errno)
    }
}

impl<'a> Pack<'a> {
    /// Begins an archive in an empty file. Members that start a group begin at multiples of
    /// `chunk_bytes`.
    pub(super) fn new(file: &'a File, chunk_bytes: u64) -> Self {
        Self {
            file,
            at_bytes: 0,
            chunk_bytes: chunk_bytes.max(BLOCK_BYTES),
            buffer: vec![0; COPIED_BYTES],
            files: 0,
            bytes: 0,
        }
    }

    /// Appends a text of Wyng's own, in a group of its own.
    pub(super) fn text(&mut self, path: &str, text: &[u8]) -> io::Result<()> {
        self.start()?;
        let header = Header {
            flag: Flag::File,
            path: path.as_bytes().to_vec(),
            mode: 0o600,
            uid: 0,
            gid: 0,
            size_bytes: u64::try_from(text.len()).unwrap_or(u64::MAX),
            mtime_secs: 0,
            target: Vec::new(),
        };
        self.write(&tar::encode(&header))?;
        self.write(text)?;
        self.at_bytes = tar::in_blocks(self.at_bytes);
        Ok(())
    }

    /// Appends an entry. Whatever is wrong with it is returned; only an error of the archive ends
    /// it. `top` is the root folder.
    pub(super) fn entry(
        &mut self,
        top: BorrowedFd<'_>,
        entry: &Entry,
    ) -> io::Result<Option<LeftOut>> {
        if entry.starts {
            self.start()?;
        }
        let begins = self.at_bytes;
        let packed = match entry.kind {
            FileType::RegularFile => self.file(top, entry, begins),
            kind => self.other(top, entry, kind),
        };
        let why = match packed {
            Ok(Outcome::Whole) => return Ok(None),
            Ok(Outcome::Changed) => Why::Changed,
            Err(NotPacked::Archive(error)) => return Err(error),
            Err(NotPacked::Source(errno)) => {
                self.back_to(begins)?;
                match errno {
                    // It was removed meanwhile.
                    Errno::NOENT => return Ok(None),
                    Errno::LOOP | Errno::NOTDIR | Errno::AGAIN => Why::Changed,
                    errno => Why::Unreadable(errno),
                }
            }
        };
        Ok(Some(LeftOut::of(&entry.path, why)))
    }

    /// Ends the archive, at a multiple of the chunk size.
    pub(super) fn finish(self) -> io::Result<u64> {
        let ends = self.at_bytes.saturating_add(2 * BLOCK_BYTES);
        let ends = ends.next_multiple_of(self.chunk_bytes);
        self.file.set_len(ends)?;
        Ok(ends)
    }

    /// Fills up to the next multiple of the chunk size.
    fn start(&mut self) -> io::Result<()> {
        let ends = self.at_bytes.next_multiple_of(self.chunk_bytes);
        let length = ends.saturating_sub(self.at_bytes);
        if length == 0 {
            return Ok(());
        }
        let (start, last) = tar::padding(length);
        self.file.write_all_at(&start, self.at_bytes)?;
        if let Some(last) = last {
            self.file.write_all_at(&[last], ends.saturating_sub(1))?;
        }
        self.at_bytes = ends;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at_bytes)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.at_bytes = self.at_bytes.saturating_add(length);
        Ok(())
    }

    /// Takes back what was written since `begins`.
    fn back_to(&mut self, begins: u64) -> io::Result<()> {
        self.file.set_len(begins)?;
        self.at_bytes = begins;
        Ok(())
    }

    fn other(
        &mut self,
        top: BorrowedFd<'_>,
        entry: &Entry,
        kind: FileType,
    ) -> Result<Outcome, NotPacked> {
        let place = open_beneath(top, &entry.path, OFlags::PATH, false)?;
        let found = rustix::fs::fstat(&place)?;
        let (flag, target) = match FileType::from_raw_mode(found.st_mode) {
            now if now != kind => return Err(Errno::AGAIN.into()),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&place, c"", Vec::new())?;
                (Flag::Link, target.into_bytes())
            }
            _ => (Flag::Folder, Vec::new()),
        };
        let header = header(flag, &entry.path, &found, target);
        self.write(&tar::encode(&header))?;
        Ok(Outcome::Whole)
    }

    fn file(
        &mut self,
        top: BorrowedFd<'_>,
        entry: &Entry,
        begins: u64,
    ) -> Result<Outcome, NotPacked> {
        let mut read = Outcome::Changed;
        for _ in 0..ATTEMPTS {
            self.back_to(begins)?;
            let file = File::from(open_beneath(top, &entry.path, OFlags::RDONLY, false)?);
            let before = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
                return Err(Errno::AGAIN.into());
            }
            let header = header(Flag::File, &entry.path, &before, Vec::new());
            self.write(&tar::encode(&header))?;
            let copied_bytes = self.copy(&file, header.size_bytes)?;
            self.at_bytes = tar::in_blocks(
                self.at_bytes
                    .saturating_add(header.size_bytes.saturating_sub(copied_bytes)),
            );
            let after = rustix::fs::fstat(&file)?;
            let is_same = version(&before) == version(&after) && copied_bytes == header.size_bytes;
            if is_same {
                read = Outcome::Whole;
                self.bytes = self.bytes.saturating_add(copied_bytes);
                break;
            }
        }
        self.files = self.files.saturating_add(1);
        Ok(read)
    }

    /// Copies at most `size_bytes`, and returns how many there were.
    fn copy(&mut self, file: &File, size_bytes: u64) -> Result<u64, NotPacked> {
        let mut copied_bytes = 0_u64;
        let mut buffer = std::mem::take(&mut self.buffer);
        let copied = loop {
            let left = size_bytes.saturating_sub(copied_bytes);
            let length = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let part = buffer.get_mut(..length).unwrap_or_default();
            match (&*file).read(part) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    let read = part.get(..count).unwrap_or_default();
                    if let Err(error) = self.write(read) {
                        break Err(NotPacked::Archive(error));
                    }
                    let count = u64::try_from(count).unwrap_or(u64::MAX);
                    copied_bytes = copied_bytes.saturating_add(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    break Err(Errno::from_io_error(&error).unwrap_or(Errno::IO).into());
                }
            }
        };
        self.buffer = buffer;
        copied.map(|()| copied_bytes)
    }
}

/// What changes with a file's content.
fn version(found: &Stat) -> (i64, i64, i64, i64, i64) {
    (
        found.st_size,
        found.st_mtime,
        found.st_mtime_nsec as i64,
        found.st_ctime,
        found.st_ctime_nsec as i64,
    )
}

fn header(flag: Flag, path: &[u8], found: &Stat, target: Vec<u8>) -> Header {
    let size = u64::try_from(found.st_size).unwrap_or(0);
    Header {
        flag,
        path: path.to_vec(),
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        size_bytes: if flag == Flag::File { size } else { 0 },
        mtime_secs: u64::try_from(found.st_mtime).unwrap_or(0),
        target,
    }
}
