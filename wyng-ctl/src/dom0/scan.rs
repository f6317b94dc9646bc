// SPDX-License-Identifier: GPL-3.0-or-later
//! What there is of dom0's files: folders are walked without following a link or leaving a file
//! system. Nothing is read but names and sizes.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use wyng_control::path_text;

use super::roots::{Never, Root};

/// Maximum number of folders above a file.
const DEPTH_MAX: usize = 100;
/// Maximum number of files, folders and links.
pub(super) const ENTRIES_MAX: usize = 1_000_000;
/// Maximum length of a path, bytes.
const PATH_MAX_BYTES: usize = 4000;
/// No path leads out of the folder that it is opened beneath, and none through a link.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// A file, folder or link that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path, relative to the root folder.
    pub(super) path: Vec<u8>,
    pub(super) kind: FileType,
    /// It begins at a multiple of the chunk size.
    pub(super) starts: bool,
}

/// Why something is not, or not soundly, in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The system's error.
    Unreadable(Errno),
    /// It changed during each of several attempts to read it, and is there as last read.
    Changed,
    /// It is neither a file, nor a folder, nor a link.
    Special,
    /// It is on another file system.
    OtherFileSystem,
    /// A link is on its path.
    Link,
    /// Its path is too long, or has too many folders.
    TooDeep,
    /// It belongs to what is never taken.
    Never,
    /// No program for packages is there.
    NoPackages,
    /// The program for packages failed.
    PackagesFailed,
    /// A restore does not write it: its name has control characters.
    Name,
}

impl Why {
    /// A short word for scripts, stable over versions.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Changed => "changed",
            Self::Special => "special",
            Self::OtherFileSystem => "other-file-system",
            Self::Link => "link",
            Self::TooDeep => "too-deep",
            Self::Never => "never",
            Self::NoPackages => "no-packages",
            Self::PackagesFailed => "packages-failed",
            Self::Name => "name",
        }
    }

    /// The reason, which completes "NAME: ".
    pub(crate) fn phrase(self) -> String {
        match self {
            Self::Unreadable(errno) => std::io::Error::from(errno).to_string(),
            Self::Changed => "it changed while it was read".to_owned(),
            Self::Special => "neither a file, nor a folder, nor a link".to_owned(),
            Self::OtherFileSystem => "it is on another file system".to_owned(),
            Self::Link => "a link is on its path".to_owned(),
            Self::TooDeep => "its path is too long".to_owned(),
            Self::Never => "it is never taken".to_owned(),
            Self::NoPackages => "neither rpm nor dpkg-query is there".to_owned(),
            Self::PackagesFailed => "the program for packages failed".to_owned(),
            Self::Name => "its name has control characters".to_owned(),
        }
    }

    /// Whether the archive lacks something that was asked for.
    pub(crate) fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Unreadable(_) | Self::TooDeep | Self::PackagesFailed | Self::Name
        )
    }
}

/// A path, as text, that is not, or not soundly, in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) path: String,
    pub(crate) why: Why,
}

impl LeftOut {
    pub(super) fn of(path: &[u8], why: Why) -> Self {
        let path = path_text(path);
        Self { path, why }
    }
}

/// Everything is larger than the bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) bytes: u64,
    /// The smallest folder that has half of it, or else the largest one; and its bytes.
    pub(super) folder: (Vec<u8>, u64),
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// In the order of the archive.
    pub(super) entries: Vec<Entry>,
    pub(super) left_out: Vec<LeftOut>,
    /// The bytes in each folder and below.
    folders: BTreeMap<Vec<u8>, u64>,
    bytes: u64,
}

/// The rules of a scan.
pub(super) struct Rules<'a> {
    pub(super) never: &'a Never,
    /// The size of a chunk: files of half of it begin at a multiple of it, and so does each folder
    /// with its smaller files.
    pub(super) chunk_bytes: u64,
    /// Maximum of all files together, bytes.
    pub(super) bytes_max: u64,
}

/// A name in a folder.
struct Child {
    path: Vec<u8>,
    kind: FileType,
    size_bytes: u64,
}

/// Finds everything below the roots. `top` is the root folder.
pub(super) fn scan(
    top: BorrowedFd<'_>,
    roots: &[Root],
    rules: &Rules<'_>,
) -> Result<Scan, TooLarge> {
    let mut scan = Scan::default();
    for root in roots {
        scan.root(top, root, rules);
    }
    match scan.bytes > rules.bytes_max {
        true => Err(TooLarge {
            bytes: scan.bytes,
            folder: scan.largest(),
        }),
        false => Ok(scan),
    }
}

/// Opens a path beneath a folder, through no link. With [`OFlags::PATH`], a link at its end is
/// opened itself.
pub(super) fn open_beneath(
    folder: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    on_one_file_system: bool,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let flags = match flags.contains(OFlags::PATH) {
        true => flags,
        false => flags | OFlags::NONBLOCK | OFlags::NOCTTY,
    };
    let resolve = match on_one_file_system {
        true => BENEATH | ResolveFlags::NO_XDEV,
        false => BENEATH,
    };
    let path = std::ffi::OsStr::from_bytes(path);
    rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve)
}

fn why(errno: Errno) -> Why {
    match errno {
        Errno::XDEV => Why::OtherFileSystem,
        Errno::LOOP => Why::Link,
        errno => Why::Unreadable(errno),
    }
}

impl Scan {
    fn root(&mut self, top: BorrowedFd<'_>, root: &Root, rules: &Rules<'_>) {
        if rules.never.has(&root.path) {
            return self.leave_out(&root.path, Why::Never);
        }
        let found = open_beneath(top, &root.path, OFlags::PATH, false)
            .and_then(|place| Ok((rustix::fs::fstat(&place)?, place)));
        let (found, _place) = match found {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) if !root.named => return,
            Err(errno) => return self.leave_out(&root.path, why(errno)),
        };
        let child = Child::of(root.path.clone(), &found);
        match child.kind {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                match open_beneath(top, &child.path, flags, false) {
                    Ok(folder) => self.folder(child.path, &folder, rules, 0),
                    Err(errno) => self.leave_out(&child.path, why(errno)),
                }
            }
            _ => self.take(child, &found, rules, true),
        }
    }

    /// Takes a folder: itself and its smaller files as one group, its larger files, and what is in
    /// its folders.
    fn folder(&mut self, path: Vec<u8>, folder: &OwnedFd, rules: &Rules<'_>, depth: usize) {
        if depth > DEPTH_MAX || path.len() > PATH_MAX_BYTES || self.entries.len() > ENTRIES_MAX {
            return self.leave_out(&path, Why::TooDeep);
        }
        let children = match self.children(&path, folder, rules) {
            Ok(children) => children,
            Err(errno) => return self.leave_out(&path, why(errno)),
        };
        self.entries.push(Entry {
            path,
            kind: FileType::Directory,
            starts: true,
        });
        let half = rules.chunk_bytes / 2;
        let (folders, files): (Vec<_>, Vec<_>) = children
            .into_iter()
            .partition(|(child, _)| child.kind == FileType::Directory);
        let (large, small): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|(child, _)| child.size_bytes >= half);
        for (child, found) in small {
            self.take(child, &found, rules, false);
        }
        for (child, found) in large {
            self.take(child, &found, rules, true);
        }
        for (child, _) in folders {
            let name = child.path.rsplit(|byte| *byte == b'/').next();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            match open_beneath(folder.as_fd(), name.unwrap_or_default(), flags, true) {
                Ok(below) => self.folder(child.path, &below, rules, depth.saturating_add(1)),
                Err(errno) => self.leave_out(&child.path, why(errno)),
            }
        }
    }

    /// What is in a folder, sorted by name, without what is never taken.
    fn children(
        &mut self,
        path: &[u8],
        folder: &OwnedFd,
        rules: &Rules<'_>,
    ) -> Result<Vec<(Child, Stat)>, Errno> {
        let mut children = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = [path, b"/", name.to_bytes()].concat();
            if rules.never.has(&path) {
                continue;
            }
            match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if rules.never.has_inode(found.st_dev, found.st_ino) => {}
                Ok(found) => children.push((Child::of(path, &found), found)),
                // It was removed meanwhile.
                Err(Errno::NOENT) => {}
                Err(errno) => self.leave_out(&path, why(errno)),
            }
            if children.len() > ENTRIES_MAX {
                return Err(Errno::FBIG);
            }
        }
        children.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        Ok(children)
    }

    /// Takes a file or link, and counts its bytes.
    fn take(&mut self, child: Child, found: &Stat, rules: &Rules<'_>, starts: bool) {
        let Child {
            path,
            kind,
            size_bytes,
        } = child;
        if rules.never.has_inode(found.st_dev, found.st_ino) {
            return;
        }
        if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
            return self.leave_out(&path, Why::Special);
        }
        if path.len() > PATH_MAX_BYTES || self.entries.len() > ENTRIES_MAX {
            return self.leave_out(&path, Why::TooDeep);
        }
        if kind == FileType::RegularFile {
            self.bytes = self.bytes.saturating_add(size_bytes);
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            for folder in ends.filter_map(|(end, _)| path.get(..end)) {
                let sum = self.folders.entry(folder.to_vec()).or_default();
                *sum = sum.saturating_add(size_bytes);
            }
        }
        self.entries.push(Entry { path, kind, starts });
    }

    /// The smallest folder that has half of all bytes, or else the largest one.
    fn largest(&self) -> (Vec<u8>, u64) {
        let half = self.bytes / 2;
        let with_half = self.folders.iter().filter(|(_, sum)| **sum >= half);
        let deepest = with_half.max_by_key(|(path, _)| path.len());
        let found = deepest.or_else(|| self.folders.iter().max_by_key(|(_, sum)| **sum));
        found
            .map(|(path, sum)| (path.clone(), *sum))
            .unwrap_or_default()
    }

    fn leave_out(&mut self, path: &[u8], why: Why) {
        self.left_out.push(LeftOut::of(path, why));
    }
}

impl Child {
    fn of(path: Vec<u8>, found: &Stat) -> Self {
        Self {
            path,
            kind: FileType::from_raw_mode(found.st_mode),
            size_bytes: u64::try_from(found.st_size).unwrap_or(0),
        }
    }
}
