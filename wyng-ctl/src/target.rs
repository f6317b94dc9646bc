// SPDX-License-Identifier: GPL-3.0-or-later
//! The targets of a restore: a nameless file in the target's folder, which gets its name only when it is complete.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Where a restore goes.
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// This file.
    File(PathBuf),
    /// A file of each volume's name in this folder.
    Folder(PathBuf),
}

/// Makes targets and gives them their names.
pub(crate) struct Targets {
    destination: Destination,
    overwrite: bool,
    open: HashMap<u32, Target>,
}

struct Target {
    folder: OwnedFd,
    name: OsString,
    file: OwnedFd,
    /// Where the folder's file system knows no nameless files.
    temporary: Option<OsString>,
}

impl Targets {
    /// Targets at `destination`. Nothing is made yet.
    pub(crate) fn new(destination: Destination, overwrite: bool) -> Self {
        Self { destination, overwrite, open: HashMap::new() }
    }

    /// Makes the target of a volume. `EEXIST` when its name is taken and may not be replaced: nothing has been fetched then.
    pub(crate) fn make(&mut self, item: u32, volume: &str) -> Result<OwnedFd, Errno> {
        let path = match &self.destination {
            Destination::Stdout => return rustix::io::dup(rustix::stdio::stdout()),
            Destination::File(path) => path.clone(),
            Destination::Folder(folder) => {
                make_folder(folder)?;
                folder.join(file_name(volume)?)
            }
        };
        let name = path.file_name().ok_or(Errno::ISDIR)?.to_owned();
        let folder = open_folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        if !self.overwrite && rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Errno::EXIST);
        }
        let (file, temporary) = make_file(&folder, &name)?;
        let theirs = rustix::io::fcntl_dupfd_cloexec(&file, 0)?;
        self.open.insert(item, Target { folder, name, file, temporary });
        Ok(theirs)
    }

    /// Gives a complete target its name, durably.
    pub(crate) fn place(&mut self, item: u32) -> Result<(), Errno> {
        let mut target = self.open.remove(&item).ok_or(Errno::BADF)?;
        if target.temporary.is_none() {
            match link_nameless(&target, &target.name) {
                Err(Errno::EXIST) if self.overwrite => {
                    // A name of its own would stay after a kill; this one is found again by the next restore.
                    let temporary = hidden_name(&target.name, "wyng-new");
                    let _ = rustix::fs::unlinkat(&target.folder, &temporary, AtFlags::empty());
                    link_nameless(&target, &temporary)?;
                    target.temporary = Some(temporary);
                }
                linked => return linked.and_then(|()| rustix::fs::fsync(&target.folder)),
            }
        }
        let Some(temporary) = target.temporary.take() else { return Err(Errno::BADF) };
        let flags = if self.overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let renamed = rustix::fs::renameat_with(&target.folder, &temporary, &target.folder, &target.name, flags);
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(&target.folder, &temporary, AtFlags::empty()); // the failure that is told is the first
        }
        renamed.and_then(|()| rustix::fs::fsync(&target.folder))
    }
}

impl Drop for Target {
    /// A target that was not placed leaves nothing behind.
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = rustix::fs::unlinkat(&self.folder, temporary, AtFlags::empty());
        }
    }
}

/// A volume's name comes from an archive: it is checked again before it names a file.
fn file_name(volume: &str) -> Result<&OsStr, Errno> {
    let fine = !volume.is_empty() && !volume.starts_with(['.', '-']) && volume.chars().all(|char| char != '/' && !char.is_control());
    if fine { Ok(OsStr::new(volume)) } else { Err(Errno::INVAL) }
}

fn make_folder(folder: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdirat(CWD, folder, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn open_folder(folder: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A file without a name where the file system has that, so that even a kill leaves nothing; else a hidden one.
fn make_file(folder: &OwnedFd, name: &OsStr) -> Result<(OwnedFd, Option<OsString>), Errno> {
    match rustix::fs::openat(folder, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, MODE) {
        Ok(file) => Ok((file, None)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let temporary = hidden_name(name, &format!("wyng-{}", std::process::id()));
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            Ok((rustix::fs::openat(folder, &temporary, flags, MODE)?, Some(temporary)))
        }
        Err(errno) => Err(errno),
    }
}

fn link_nameless(target: &Target, name: &OsStr) -> Result<(), Errno> {
    let own = format!("/proc/self/fd/{}", target.file.as_raw_fd());
    rustix::fs::linkat(CWD, own, &target.folder, name, AtFlags::SYMLINK_FOLLOW)
}

/// `.NAME.SUFFIX`
fn hidden_name(name: &OsStr, suffix: &str) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{suffix}"));
    hidden
}

/// Is standard output a terminal? A volume there helps nobody.
pub(crate) fn stdout_is_terminal() -> bool {
    rustix::termios::isatty(std::io::stdout().as_fd())
}
