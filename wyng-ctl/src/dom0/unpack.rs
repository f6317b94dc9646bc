// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads an archive of dom0's files, whoever wrote it, and writes its files into a new folder. All
//! of it is checked before anything is written. Whatever is not a plain file or folder is only
//! listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::scan::{ENTRIES_MAX, LeftOut, Why};
use super::tar::{self, BLOCK_BYTES, Bad, Flag, HEADER_BYTES};

/// Maximum length of the fields that a header cannot hold, bytes.
const FIELDS_MAX_BYTES: u64 = 64 << 10;
/// Maximum length of a path, bytes, and of a name in it.
const PATH_MAX_BYTES: usize = 4096;
const NAME_MAX_BYTES: usize = 255;
/// Maximum number of names in a path.
const NAMES_MAX: usize = 128;
/// Length of what is copied at once, bytes.
const COPIED_BYTES: usize = 256 << 10;
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A file or folder of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    path: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Folder,
    File {
        at_bytes: u64,
        size_bytes: u64,
        runs: bool,
    },
    Link(Vec<u8>),
}

/// What is in an archive, checked.
#[derive(Debug)]
pub(super) struct Contents(Vec<Member>);

/// Why a restore ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The archive is not one of Wyng's. Nothing was written.
    Bad(Bad),
    /// The archive cannot be read.
    Unreadable(io::Error),
    /// The folder, or something in it, cannot be written.
    Unwritable(Errno),
}

impl From<Bad> for Ended {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<Errno> for Ended {
    fn from(errno: Errno) -> Self {
        Self::Unwritable(errno)
    }
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Links, which are not made: paths and targets.
    pub(super) links: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Reads all headers of an archive.
pub(super) fn read(archive: &File) -> Result<Contents, Ended> {
    let length = archive.metadata()?.len();
    let mut reader = Reader {
        archive,
        at_bytes: 0,
        length,
    };
    let (mut members, mut fields) = (Vec::new(), None);
    while let Some(mut header) = tar::decode(&reader.block()?)? {
        let begins = reader.at_bytes;
        let size_bytes = header.size_bytes;
        reader.skip(tar::in_blocks(size_bytes))?;
        match header.flag {
            // Padding is not read: nothing in it means anything.
            Flag::Padding if fields.is_none() => continue,
            Flag::Fields if fields.is_none() && size_bytes <= FIELDS_MAX_BYTES => {
                fields = Some(reader.bytes(begins, size_bytes)?);
                continue;
            }
            Flag::Padding | Flag::Fields => return Err(Bad::Field.into()),
            Flag::Folder | Flag::Link if size_bytes > 0 => return Err(Bad::Form.into()),
            _ => {}
        }
        if let Some(fields) = fields.take() {
            tar::apply(&fields, &mut header)?;
        }
        let path = match header.flag {
            Flag::Folder => header.path.strip_suffix(b"/").ok_or(Bad::Path)?.to_vec(),
            _ => header.path,
        };
        if !is_within(&path) {
            return Err(Bad::Path.into());
        }
        let kind = match header.flag {
            Flag::Folder => Kind::Folder,
            Flag::Link => Kind::Link(header.target),
            _ => Kind::File {
                at_bytes: begins,
                size_bytes,
                runs: header.mode & 0o100 != 0,
            },
        };
        members.push(Member { path, kind });
        if members.len() > ENTRIES_MAX.saturating_add(2) {
            return Err(Bad::Count.into());
        }
    }
    if fields.is_some() {
        return Err(Bad::Field.into());
    }
    reader.check_end()?;
    check_paths(&members)?;
    Ok(Contents(members))
}

struct Reader<'a> {
    archive: &'a File,
    at_bytes: u64,
    length: u64,
}

impl Reader<'_> {
    fn block(&mut self) -> Result<[u8; HEADER_BYTES], Ended> {
        let at_bytes = self.at_bytes;
        self.skip(BLOCK_BYTES)?;
        let mut block = [0; HEADER_BYTES];
        self.archive.read_exact_at(&mut block, at_bytes)?;
        Ok(block)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Bad> {
        let after = self.at_bytes.checked_add(bytes).ok_or(Bad::Length)?;
        if after > self.length {
            return Err(Bad::Length);
        }
        self.at_bytes = after;
        Ok(())
    }

    /// Bytes that were skipped.
    fn bytes(&self, at_bytes: u64, size_bytes: u64) -> Result<Vec<u8>, Ended> {
        let mut bytes = vec![0; usize::try_from(size_bytes).map_err(|_| Bad::Length)?];
        self.archive.read_exact_at(&mut bytes, at_bytes)?;
        Ok(bytes)
    }

    /// After the first block of zeros there is nothing else.
    fn check_end(&mut self) -> Result<(), Ended> {
        let mut buffer = vec![0; COPIED_BYTES];
        loop {
            let count = self.archive.read_at(&mut buffer, self.at_bytes)?;
            let read = buffer.get(..count).unwrap_or_default();
            if read.is_empty() {
                return Ok(());
            }
            if read.iter().any(|byte| *byte != 0) {
                return Err(Bad::End.into());
            }
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.at_bytes = self.at_bytes.saturating_add(count);
        }
    }
}

/// Whether a path is relative, and each of its names is one of a file.
fn is_within(path: &[u8]) -> bool {
    let names = || path.split(|byte| *byte == b'/');
    let is_name = |name: &[u8]| {
        !matches!(name, b"" | b"." | b"..") && name.len() <= NAME_MAX_BYTES && !name.contains(&0)
    };
    path.len() <= PATH_MAX_BYTES && names().count() <= NAMES_MAX && names().all(is_name)
}

/// No path is there twice, and only folders have something below them.
fn check_paths(members: &[Member]) -> Result<(), Bad> {
    let mut known = BTreeMap::new();
    for member in members {
        let is_folder = member.kind == Kind::Folder;
        if known.insert(member.path.as_slice(), is_folder).is_some() {
            return Err(Bad::Twice);
        }
    }
    for member in members {
        for folder in folders_above(&member.path) {
            if known.get(folder) == Some(&false) {
                return Err(Bad::Twice);
            }
        }
    }
    Ok(())
}

/// The folders of a path, the outermost first.
fn folders_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.filter_map(|(end, _)| path.get(..end))
}

/// Writes the files and folders into a new folder, which only the caller can enter. A file is
/// readable for the caller alone, and can be run if its owner could run it.
pub(super) fn write(archive: &File, contents: &Contents, to: &Path) -> Result<Written, Ended> {
    rustix::fs::mkdir(to, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(to, flags, Mode::empty())?;
    let mut writer = Writer {
        archive,
        top,
        made: BTreeSet::new(),
        written: Written::default(),
    };
    for member in &contents.0 {
        writer.member(member)?;
    }
    rustix::fs::syncfs(&writer.top)?;
    Ok(writer.written)
}

struct Writer<'a> {
    archive: &'a File,
    top: OwnedFd,
    made: BTreeSet<Vec<u8>>,
    written: Written,
}

impl Writer<'_> {
    fn member(&mut self, member: &Member) -> Result<(), Ended> {
        let path = &member.path;
        if path.iter().any(u8::is_ascii_control) {
            self.written.left_out.push(LeftOut::of(path, Why::Name));
            return Ok(());
        }
        match &member.kind {
            Kind::Link(target) => self.written.links.push((path.clone(), target.clone())),
            Kind::Folder => self.folder(path)?,
            Kind::File {
                at_bytes,
                size_bytes,
                runs,
            } => {
                let mode = if *runs { Mode::RWXU } else { PRIVATE };
                let file = self.make(path, mode)?;
                self.copy(&file, *at_bytes, *size_bytes)?;
                self.written.files = self.written.files.saturating_add(1);
                self.written.bytes = self.written.bytes.saturating_add(*size_bytes);
            }
        }
        Ok(())
    }

    /// Makes a folder, and those above it, where they are not made yet.
    fn folder(&mut self, path: &[u8]) -> Result<(), Errno> {
        for folder in folders_above(path).chain([path]) {
            if self.made.contains(folder) {
                continue;
            }
            let (above, name) = split(folder);
            let above = self.open(above, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            rustix::fs::mkdirat(&above, name, Mode::RWXU)?;
            self.made.insert(folder.to_vec());
        }
        Ok(())
    }

    fn make(&mut self, path: &[u8], mode: Mode) -> Result<File, Errno> {
        let (above, _) = split(path);
        if above != b"." {
            self.folder(above)?;
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
        self.open(path, flags, mode).map(File::from)
    }

    fn open(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = std::ffi::OsStr::from_bytes(path);
        rustix::fs::openat2(self.top.as_fd(), path, flags, mode, resolve)
    }

    fn copy(&self, file: &File, at_bytes: u64, size_bytes: u64) -> Result<(), Ended> {
        let unwritable =
            |error: io::Error| Ended::Unwritable(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let mut buffer = vec![0; COPIED_BYTES];
        let mut done_bytes = 0_u64;
        while done_bytes < size_bytes {
            let left = size_bytes.saturating_sub(done_bytes);
            let length = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(COPIED_BYTES);
            let part = buffer.get_mut(..length).unwrap_or_default();
            self.archive
                .read_exact_at(part, at_bytes.saturating_add(done_bytes))?;
            file.write_all_at(part, done_bytes).map_err(unwritable)?;
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            done_bytes = done_bytes.saturating_add(length);
        }
        Ok(())
    }
}

/// The folder and the name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    match slash.and_then(|slash| path.split_at_checked(slash)) {
        Some((folder, name)) => (folder, name.get(1..).unwrap_or_default()),
        None => (b".", path),
    }
}
