// SPDX-License-Identifier: GPL-3.0-or-later
//! The files of the state directory, opened below the descriptor with which the keyholder was
//! started. Every name is the engine's, none a person's.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{Access, AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use wyng_control::Failure;

use wyng_engine::world::Files;

/// Maximum length of a file that is read or written whole, bytes. The ledger and the times of
/// checks take 24 bytes a pack: enough for 11 million packs, which hold 170 TiB at the default
/// size.
const WHOLE_MAX_BYTES: u64 = 256 << 20;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const FOLDER_MODE: Mode = Mode::RWXU;

/// The files below the state directory.
pub struct StateFiles {
    root: Rc<OwnedFd>,
    /// Nothing is opened for writing, and every change fails with `EROFS`.
    only_reads: bool,
    /// Files that are appended or read in pieces stay open.
    open: HashMap<String, OwnedFd>,
    /// Files and folders whose names this process made durable. A name that it merely found may be
    /// of a process that was killed before it was durable.
    durable: HashSet<String>,
}

/// What becomes of a file that is to be opened and does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfMissing {
    /// It is created, with its folder.
    Create,
    /// `ENOENT`.
    Fail,
}

type Outcome<T> = Result<T, Errno>;

impl StateFiles {
    /// The files below `root`.
    pub fn new(root: OwnedFd) -> Self {
        Self {
            root: Rc::new(root),
            only_reads: false,
            open: HashMap::new(),
            durable: HashSet::new(),
        }
    }

    /// The files below `root`, of which none is changed.
    pub fn only_read(root: OwnedFd) -> Self {
        Self {
            only_reads: true,
            ..Self::new(root)
        }
    }

    /// Another view of the same directory, in which no file is changed.
    pub fn only_reading(&self) -> Self {
        Self {
            root: Rc::clone(&self.root),
            only_reads: true,
            open: HashMap::new(),
            durable: HashSet::new(),
        }
    }

    /// Checks whether the directory can be written now: its file system may be mounted anew, and
    /// permissions may change.
    pub fn look_whether_writable(&mut self) {
        let may_write = rustix::fs::accessat(
            self.root(),
            ".",
            Access::WRITE_OK | Access::EXEC_OK,
            AtFlags::empty(),
        )
        .is_ok();
        if self.only_reads == may_write {
            self.only_reads = !may_write;
            self.close();
        }
    }

    /// Closes the files that stay open: each is opened by its name again.
    pub fn close(&mut self) {
        self.open.clear();
    }

    /// Every change of a file passes here.
    fn may_change(&self, name: &str) -> Result<(), Failure> {
        if self.only_reads {
            Err(failure(name, Errno::ROFS))
        } else {
            Ok(())
        }
    }

    /// The directory itself, for the jail.
    pub fn root(&self) -> &OwnedFd {
        self.root.as_ref()
    }

    fn try_replace(&mut self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let temporary = format!("{name}.new");
        self.make_parents(name)?;
        let file = self.open_at(&temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        write_all(&file, bytes)?;
        rustix::fs::fsync(&file)?;
        rustix::fs::renameat(self.root(), temporary, self.root(), name)?;
        self.sync_parent(name)
    }

    fn remove_folder(&mut self, name: &str) -> Result<(), Failure> {
        for entry in self.list(name)? {
            self.remove(&format!("{name}/{entry}"))?;
        }
        rustix::fs::unlinkat(self.root(), name, AtFlags::REMOVEDIR)
            .and_then(|()| self.sync_parent(name))
            .map_err(|errno| failure(name, errno))
    }

    /// Opens a file without waiting for whatever may lie in its place, such as a pipe.
    fn open_at(&self, name: &str, flags: OFlags) -> Outcome<OwnedFd> {
        rustix::fs::openat(
            self.root(),
            name,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK,
            FILE_MODE,
        )
    }

    /// The descriptor of a file that stays open.
    fn handle(&mut self, name: &str, missing: IfMissing) -> Outcome<&OwnedFd> {
        if !self.open.contains_key(name) {
            let flags = if self.only_reads {
                OFlags::RDONLY
            } else {
                OFlags::RDWR | OFlags::APPEND
            };
            let file = match self.open_at(name, flags) {
                Err(Errno::NOENT) if missing == IfMissing::Create => {
                    self.make_parents(name)?;
                    self.open_at(name, flags | OFlags::CREATE)?
                }
                opened => opened?,
            };
            self.open.insert(name.to_owned(), file);
        }
        self.open.get(name).ok_or(Errno::BADF)
    }

    fn make_parents(&mut self, name: &str) -> Outcome<()> {
        for (end, _) in name.match_indices('/') {
            let parent = name.get(..end).unwrap_or_default();
            match rustix::fs::mkdirat(self.root(), parent, FOLDER_MODE) {
                Ok(()) | Err(Errno::EXIST) => self.make_name_durable(parent)?,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn make_name_durable(&mut self, name: &str) -> Outcome<()> {
        if !self.durable.contains(name) {
            self.sync_parent(name)?;
            self.durable.insert(name.to_owned());
        }
        Ok(())
    }

    /// A name is durable when its folder is synced.
    fn sync_parent(&self, name: &str) -> Outcome<()> {
        match name.rsplit_once('/') {
            Some((parent, _)) => rustix::fs::fsync(
                self.open_at(parent, OFlags::RDONLY | OFlags::DIRECTORY)?
                    .as_fd(),
            ),
            None => rustix::fs::fsync(self.root()),
        }
    }
}

impl Files for StateFiles {
    fn only_looks(&self) -> bool {
        self.only_reads
    }

    fn look_anew(&mut self) {
        self.close();
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let file = match self.open_at(name, OFlags::RDONLY) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.map_err(|errno| failure(name, errno))?,
        };
        let length = rustix::fs::fstat(&file)
            .map_err(|errno| failure(name, errno))?
            .st_size;
        let length = u64::try_from(length)
            .ok()
            .filter(|length| *length <= WHOLE_MAX_BYTES);
        let length = length
            .and_then(|length| usize::try_from(length).ok())
            .ok_or_else(|| failure(name, Errno::FBIG))?;
        let mut bytes = vec![0; length];
        read_exact_at(&file, 0, &mut bytes).map_err(|errno| failure(name, errno))?;
        Ok(Some(bytes))
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.may_change(name)?;
        if bytes.len() as u64 > WHOLE_MAX_BYTES {
            return Err(failure(name, Errno::FBIG)); // what could not be read again is not written
        }
        self.open.remove(name);
        self.try_replace(name, bytes)
            .map_err(|errno| failure(name, errno))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.may_change(name)?;
        self.handle(name, IfMissing::Create)
            .and_then(|file| write_all(file, bytes))
            .map_err(|errno| failure(name, errno))
    }

    fn sync(&mut self, name: &str) -> Result<(), Failure> {
        self.may_change(name)?;
        self.handle(name, IfMissing::Create)
            .and_then(rustix::fs::fdatasync)
            .map_err(|errno| failure(name, errno))?;
        self.make_name_durable(name)
            .map_err(|errno| failure(name, errno))
    }

    fn truncate(&mut self, name: &str, length_bytes: u64) -> Result<(), Failure> {
        self.may_change(name)?;
        let cut = |file: &OwnedFd| {
            rustix::fs::ftruncate(file, length_bytes).and_then(|()| rustix::fs::fsync(file))
        };
        self.handle(name, IfMissing::Fail)
            .and_then(cut)
            .map_err(|errno| failure(name, errno))
    }

    fn length(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        match rustix::fs::statat(self.root(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failure(name, errno)),
            Ok(found) => Ok(u64::try_from(found.st_size).ok()),
        }
    }

    fn free_bytes(&mut self) -> Option<u64> {
        let space = rustix::fs::fstatvfs(self.root()).ok()?;
        // A file system without blocks states no limit.
        (space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn read_at(&mut self, name: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        self.handle(name, IfMissing::Fail)
            .and_then(|file| read_exact_at(file, offset, bytes))
            .map_err(|errno| failure(name, errno))
    }

    fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.may_change(name)?;
        let stays = |kept: &str| kept != name && !kept.starts_with(&format!("{name}/"));
        self.open.retain(|open, _| stays(open));
        self.durable.retain(|durable| stays(durable));
        match rustix::fs::unlinkat(self.root(), name, AtFlags::empty()) {
            Ok(()) => self.sync_parent(name).map_err(|errno| failure(name, errno)),
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => self.remove_folder(name),
            Err(errno) => Err(failure(name, errno)),
        }
    }

    fn list(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let folder = match self.open_at(name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            opened => opened.map_err(|errno| failure(name, errno))?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(|errno| failure(name, errno))? {
            let entry = entry.map_err(|errno| failure(name, errno))?;
            if let Ok(text) = entry.file_name().to_str()
                && text != "."
                && text != ".."
            {
                names.push(text.to_owned());
            }
        }
        Ok(names)
    }

    fn link(&mut self, name: &str, target: &str) -> Result<(), Failure> {
        self.may_change(name)?;
        let temporary = temporary_link(name);
        self.make_parents(name)
            .map_err(|errno| failure(name, errno))?;
        self.remove(&temporary)?;
        rustix::fs::symlinkat(target, self.root(), &temporary)
            .and_then(|()| rustix::fs::renameat(self.root(), &temporary, self.root(), name))
            .and_then(|()| self.sync_parent(name))
            .map_err(|errno| failure(name, errno))
    }

    fn read_link(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match rustix::fs::readlinkat(self.root(), name, Vec::new()) {
            Ok(target) => Ok(target.into_string().ok()),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(failure(name, errno)),
        }
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Outcome<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn read_exact_at(file: &OwnedFd, mut offset: u64, mut bytes: &mut [u8]) -> Outcome<()> {
    while !bytes.is_empty() {
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *bytes, offset))?;
        if read == 0 {
            return Err(Errno::NODATA);
        }
        offset = offset.saturating_add(read as u64);
        bytes = bytes.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

/// Where a link is made before it is renamed to `name`. The leading dot keeps it apart from the
/// names of archives, which are links too: a link that a cut leaves behind must not count as an
/// archive, and an archive called `NAME.new` must not be overwritten.
fn temporary_link(name: &str) -> String {
    match name.rsplit_once('/') {
        Some((folder, last)) => format!("{folder}/.{last}.new"),
        None => format!(".{name}.new"),
    }
}

fn failure(name: &str, errno: Errno) -> Failure {
    Failure::StateIo {
        file: name.to_owned(),
        errno: errno.raw_os_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, StateFiles) {
        let folder = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(
            folder.path(),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap();
        (folder, StateFiles::new(root))
    }

    #[test]
    fn linking_a_name_leaves_every_other_archive_name_alone() {
        let (_folder, mut files) = files();
        files.link("archives/home.new", "first").unwrap();
        files.link("archives/home", "second").unwrap();
        assert_eq!(
            files.read_link("archives/home.new").unwrap().as_deref(),
            Some("first")
        );
        assert_eq!(
            files.read_link("archives/home").unwrap().as_deref(),
            Some("second")
        );
    }

    #[test]
    fn a_link_under_way_has_no_name_that_an_archive_may_have() {
        let temporary = temporary_link("archives/home");
        assert!(
            !wyng_control::is_archive_name(temporary.strip_prefix("archives/").unwrap()),
            "{temporary}"
        );
    }

    #[test]
    fn what_two_million_packs_have_noted_is_read_again() {
        let (_folder, mut files) = files();
        let noted: Vec<u8> = (0..2_000_000_u64)
            .flat_map(|number| [number.to_le_bytes(), [7; 8]])
            .flatten()
            .collect();
        files.replace("ledger", &noted).unwrap();
        assert!(files.read("ledger").unwrap().unwrap() == noted);
    }

    #[test]
    fn a_file_that_could_not_be_read_again_is_not_written() {
        let (_folder, mut files) = files();
        files.replace("ledger", b"old").unwrap();
        let too_long = vec![0; usize::try_from(WHOLE_MAX_BYTES).unwrap() + 1];
        assert_eq!(
            files.replace("ledger", &too_long),
            Err(Failure::StateIo {
                file: "ledger".into(),
                errno: Errno::FBIG.raw_os_error()
            })
        );
        assert_eq!(files.read("ledger").unwrap().unwrap(), b"old");
    }
}
