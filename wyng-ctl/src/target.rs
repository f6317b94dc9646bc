// SPDX-License-Identifier: GPL-3.0-or-later
//! The targets of a restore: a nameless file in the target's folder, which gets its name only when it is complete.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use wyng_control::{BaseLabel, BaseOf, Remembered};
use wyng_origin::Machine;
use wyng_snapshot::Folder;

use crate::pool::InPlace;

const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Where a restore goes.
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// This file.
    File(PathBuf),
    /// A file of each volume's name in this folder.
    Folder(PathBuf),
    /// This is changed where it is.
    InPlace(Place),
}

/// Which place is changed where it is.
pub(crate) enum Place {
    /// As the person named it for this very command.
    Named(PathBuf),
    /// As the configuration names it.
    Configured(PathBuf),
    /// As it was named when the volume was backed up.
    Remembered,
}

/// A target that was made, with what stands where it goes.
pub(crate) enum Made {
    /// It alone.
    New(OwnedFd),
    /// It, the file whose place it takes, and the base snapshot of that volume.
    Replacing([OwnedFd; 2], Option<Base>),
    /// The thing itself, a new file for its clone, the base snapshot of that volume, and where it lies if the person did not name the place for
    /// this very command.
    InPlace(OwnedFd, Option<OwnedFd>, Option<Base>, Option<Remembered>),
}

/// What a base snapshot is of, and the snapshot.
pub(crate) type Base = (BaseLabel, OwnedFd);

/// Makes targets and gives them their names.
pub(crate) struct Targets {
    destination: Destination,
    overwrite: bool,
    open: HashMap<u32, Target>,
    in_place: Vec<InPlace>,
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
        Self { destination, overwrite, open: HashMap::new(), in_place: Vec::new() }
    }

    /// Makes the target of a volume. `EEXIST` when its name is taken and may not be replaced: nothing has been fetched then.
    pub(crate) fn make(&mut self, item: u32, volume: &str, base_of: &BaseOf, origin: Option<&[u8]>) -> Result<Made, Errno> {
        let path = match &self.destination {
            Destination::Stdout => return rustix::io::dup(rustix::stdio::stdout()).map(Made::New),
            Destination::InPlace(place) => {
                let (path, configured) = match place {
                    Place::Named(path) => (path.as_path(), None),
                    Place::Configured(path) => (path.as_path(), Some(true)),
                    Place::Remembered => (Path::new(OsStr::from_bytes(origin.ok_or(Errno::NOENT)?)), Some(false)),
                };
                let made = in_place(path, base_of, configured)?;
                if let Made::InPlace(target, ..) = &made {
                    self.in_place.push(InPlace::new(path, target)?);
                }
                return Ok(made);
            }
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
        let old = if self.overwrite { open_old(&folder, &name) } else { None };
        let (file, temporary) = make_file(&folder, &name)?;
        let theirs = rustix::io::fcntl_dupfd_cloexec(&file, 0)?;
        self.open.insert(item, Target { folder, name, file, temporary });
        let base = Folder::found(theirs.as_fd()).and_then(|folder| folder.base(base_of));
        // Where nothing is, most of the volume may still lie in its base snapshot.
        let old = old.or_else(|| rustix::io::fcntl_dupfd_cloexec(&base.as_ref()?.1, 0).ok());
        Ok(match old {
            Some(old) => Made::Replacing([theirs, old], base),
            None => Made::New(theirs),
        })
    }

    /// A target that was changed where it is, and is not there any more, or not for long.
    pub(crate) fn lost(&self) -> Option<&Path> {
        self.in_place.iter().find_map(InPlace::lost)
    }

    /// Closes what was made: the command begins anew.
    pub(crate) fn close(&mut self) {
        self.open.clear();
        self.in_place.clear();
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
                linked => return linked.and_then(|()| target.sync()),
            }
        }
        let Some(temporary) = target.temporary.take() else { return Err(Errno::BADF) };
        let flags = if self.overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let renamed = rustix::fs::renameat_with(&target.folder, &temporary, &target.folder, &target.name, flags);
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(&target.folder, &temporary, AtFlags::empty()); // the failure that is told is the first
        }
        renamed.and_then(|()| target.sync())
    }
}

impl Target {
    /// Once more under its name, and then the name: btrfs logs nothing of a file that has none, and with its folder no more than that it
    /// is there.
    fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.file)?;
        rustix::fs::fsync(&self.folder)
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

/// Opens what is changed where it is, and makes room for its clone. A place that was not named for this very command is looked at: the keyholder
/// knows where the volume was.
fn in_place(path: &Path, base_of: &BaseOf, configured: Option<bool>) -> Result<Made, Errno> {
    let target = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty())?;
    let remembered = configured.map(|configured| Remembered { origin: Machine::open().origin(path, target.as_fd()), configured });
    let Some(folder) = Folder::of(target.as_fd()) else { return Ok(Made::InPlace(target, None, None, remembered)) };
    let fresh = folder.fresh().ok().map(|fresh| fresh.file);
    let base = folder.base(base_of).filter(|_| fresh.is_some());
    Ok(Made::InPlace(target, fresh, base, remembered))
}

/// The file whose place a target takes, for what is the same in it.
fn open_old(folder: &OwnedFd, name: &OsStr) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let old = rustix::fs::openat(folder, name, flags, Mode::empty()).ok()?;
    let found = rustix::fs::fstat(&old).ok()?;
    (FileType::from_raw_mode(found.st_mode) == FileType::RegularFile).then_some(old)
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
