// SPDX-License-Identifier: GPL-3.0-or-later
//! The targets of a restore: checked first, created without a name, and named once they are
//! complete.

mod attributes;
mod in_use;
mod look;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use wyng_control::{
    BaseLabel, BaseOf, Remembered, TargetFault, TargetForm, TargetFound, ThinPlace, path_text,
};
use wyng_origin::{LogicalVolume, Machine};
use wyng_snapshot::Folder;

use crate::pool::InPlace;

pub(crate) use look::Existing;
use look::NewFile;

const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Maximum length of a name's part in a hidden name, bytes: the whole must fit into 255 bytes.
const NAME_PART_MAX_BYTES: usize = 235;
/// Suffix of a hidden file that does not have its final name yet.
const UNNAMED: &str = "wyng-new";
/// Suffix of the hidden file that an interrupted restore leaves.
const PARTIAL: &str = "wyng-partial";

/// The hidden name that scratch has for a moment, if the file system has no files without a name.
const SCRATCH: &str = "rehearsal";

/// The destination of a restore.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// This file.
    File(PathBuf),
    /// One file a volume in this folder.
    Folder(PathBuf),
    /// A file in this folder that never gets a name, and is gone with this process.
    Scratch(PathBuf),
    /// The same, and this process reads it once it is complete.
    Kept(PathBuf),
    /// A new volume of a thin pool, which the daemon makes.
    Thin(ThinPlace),
    /// The volumes are changed in place.
    InPlace(Places),
}

/// The places of volumes that are changed in place. A path named for this command has precedence
/// over the configuration, and the configuration over the path of the last backup.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) named: Option<PathBuf>,
    pub(crate) configured: BTreeMap<String, PathBuf>,
}

/// The place of one volume's target.
pub(crate) struct Spot {
    /// The path; `None` for standard output.
    path: Option<PathBuf>,
    /// `Some` if the user did not name the path for this command: whether it comes from the
    /// configuration, or from the last backup.
    configured: Option<bool>,
}

impl Spot {
    fn named(path: Option<PathBuf>) -> Self {
        Self {
            path,
            configured: None,
        }
    }

    /// The path as users see it.
    pub(crate) fn shown(&self) -> String {
        self.path.as_ref().map_or_else(
            || "-".to_owned(),
            |path| path_text(path.as_os_str().as_bytes()),
        )
    }

    /// The path, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The place as the daemon compares it with the remembered one.
    fn remembered(&self, path: &Path, target: &OwnedFd) -> Option<Remembered> {
        self.configured.map(|configured| Remembered {
            origin: Machine::open().origin(path, target.as_fd()),
            configured,
        })
    }
}

/// A target that was created: its form, the files of that form, and the base snapshot of its
/// volume.
pub(crate) struct Made {
    pub(crate) form: TargetForm,
    pub(crate) files: Vec<OwnedFd>,
    pub(crate) base: Option<Base>,
    pub(crate) remembered: Option<Remembered>,
}

/// The label of a base snapshot, and the snapshot.
pub(crate) type Base = (BaseLabel, OwnedFd);

/// Creates targets and gives them their names.
pub(crate) struct Targets {
    destination: Destination,
    existing: Existing,
    /// The targets that are changed in place, by [`look::identity`].
    looked: HashSet<(u64, u64)>,
    open: HashMap<u32, Target>,
    in_place: Vec<InPlace>,
    /// The file of [`Destination::Kept`].
    kept: Option<OwnedFd>,
    /// The base snapshots that were sent to the daemon, with their folders.
    bases: HashMap<u32, (Folder, BaseOf)>,
}

struct Target {
    folder: OwnedFd,
    name: OsString,
    file: OwnedFd,
    /// The temporary name, if the file system has no files without a name, or an interrupted
    /// restore left the file.
    hidden: Option<OsString>,
    /// The mode of the file that it replaces, if it replaces one.
    replaces: Option<Mode>,
}

impl Targets {
    /// The targets at `destination`. Nothing is created yet.
    pub(crate) fn new(destination: Destination, existing: Existing) -> Self {
        Self {
            destination,
            existing,
            looked: HashSet::new(),
            open: HashMap::new(),
            in_place: Vec::new(),
            kept: None,
            bases: HashMap::new(),
        }
    }

    /// Whether targets are changed in place.
    pub(crate) fn are_in_place(&self) -> bool {
        matches!(self.destination, Destination::InPlace(_))
    }

    /// The place of a volume that the daemon makes.
    pub(crate) fn thin(&self) -> Option<&ThinPlace> {
        match &self.destination {
            Destination::Thin(place) => Some(place),
            _ => None,
        }
    }

    /// The place of a volume's target. `origin` is the path that the daemon remembers.
    pub(crate) fn spot(&self, volume: &str, origin: Option<&[u8]>) -> Result<Spot, TargetFault> {
        Ok(match &self.destination {
            Destination::Stdout => Spot::named(None),
            Destination::File(path) | Destination::Scratch(path) | Destination::Kept(path) => {
                Spot::named(Some(path.clone()))
            }
            Destination::Thin(place) => Spot::named(Some(device_of(place))),
            Destination::Folder(folder) => Spot::named(Some(folder.join(look::file_name(volume)?))),
            Destination::InPlace(Places {
                named: Some(path), ..
            }) => Spot::named(Some(path.clone())),
            Destination::InPlace(places) => match (places.configured.get(volume), origin) {
                (Some(path), _) => Spot {
                    path: Some(path.clone()),
                    configured: Some(true),
                },
                (None, Some(path)) => Spot {
                    path: Some(PathBuf::from(OsStr::from_bytes(path))),
                    configured: Some(false),
                },
                (None, None) => return Err(TargetFault::NoOrigin),
            },
        })
    }

    /// A target that was changed in place and was replaced meanwhile, or will be.
    pub(crate) fn lost(&self) -> Option<&Path> {
        self.in_place.iter().find_map(InPlace::lost)
    }

    /// Drops everything created and remembered, because the command starts again.
    pub(crate) fn begin_anew(&mut self) {
        self.looked.clear();
        self.open.clear();
        self.in_place.clear();
        self.kept = None;
        self.bases.clear();
    }

    /// The file that this process reads, once it is complete.
    pub(crate) fn take_kept(&mut self) -> Option<OwnedFd> {
        self.kept.take()
    }

    /// Looks at the place of a volume's target. Nothing is created or changed.
    pub(crate) fn look(
        &mut self,
        spot: &Spot,
        size_bytes: u64,
        base_of: &BaseOf,
    ) -> Result<TargetFound, TargetFault> {
        let anywhere = TargetFound {
            holds_bytes: false,
            free_bytes: None,
            keeps_holes: true,
            remembered: None,
        };
        let Some(path) = spot.path() else {
            return Ok(anywhere);
        };
        if self.are_in_place() {
            let target = look::in_place(path, size_bytes)?;
            InPlace::new(path, &target, logical_volume(&target).as_ref())?;
            // Two volumes may have been backed up from one path at different times.
            if !self.looked.insert(look::identity(&target)?) {
                return Err(TargetFault::InUse {
                    how: "another volume of this restore goes to the same place".to_owned(),
                });
            }
            let free_bytes = look::room_in_place(&target)?;
            return Ok(TargetFound {
                holds_bytes: true,
                free_bytes,
                remembered: spot.remembered(path, &target),
                ..anywhere
            });
        }
        match &self.destination {
            // Whether the pool has room is for the daemon to say.
            Destination::Thin(_) => match rustix::fs::lstat(path) {
                Ok(_) => Err(TargetFault::VolumeExists),
                Err(_) => Ok(anywhere),
            },
            Destination::Scratch(folder) | Destination::Kept(folder) => {
                look::at_scratch(folder, size_bytes, base_of)
            }
            // The folder is tried with another new file.
            Destination::Folder(folder)
                if rustix::fs::stat(folder).is_err_and(|errno| errno == Errno::NOENT) =>
            {
                look::at_new_file(
                    &look::new_file(folder, Existing::Stays)?,
                    size_bytes,
                    base_of,
                )
            }
            _ => look::at_new_file(&look::new_file(path, self.existing)?, size_bytes, base_of),
        }
    }

    /// Creates the target of a volume.
    pub(crate) fn make(
        &mut self,
        item: u32,
        spot: &Spot,
        size_bytes: u64,
        base_of: &BaseOf,
    ) -> Result<Made, TargetFault> {
        let Some(path) = spot.path() else {
            let files = vec![rustix::io::dup(rustix::stdio::stdout()).map_err(look::unavailable)?];
            return Ok(Made {
                form: TargetForm::Stream,
                files,
                base: None,
                remembered: None,
            });
        };
        if self.are_in_place() {
            let target = look::in_place(path, size_bytes)?;
            let logical = logical_volume(&target);
            self.in_place
                .push(InPlace::new(path, &target, logical.as_ref())?);
            let remembered = spot.remembered(path, &target);
            let discards_bytes = logical.map_or(0, |logical| logical.discards_bytes);
            return Ok(Made {
                remembered,
                ..self.made_in_place(item, target, discards_bytes, base_of)
            });
        }
        if let Destination::Scratch(folder) | Destination::Kept(folder) = &self.destination {
            let made = make_scratch(folder)?;
            if matches!(self.destination, Destination::Kept(_)) {
                self.kept = made.files.first().map(duplicate).transpose()?;
            }
            return Ok(made);
        }
        self.make_folder()?;
        let NewFile { folder, name, old } = look::new_file(path, self.existing)?;
        let partial = hidden_name(&name, PARTIAL);
        if let Some(file) = open_partial(&folder, &partial).filter(|_| old.is_none()) {
            let theirs = duplicate(&file)?;
            self.open.insert(
                item,
                Target {
                    folder,
                    name,
                    file,
                    hidden: Some(partial),
                    replaces: None,
                },
            );
            return Ok(Made {
                form: TargetForm::Resumed,
                files: vec![theirs],
                base: None,
                remembered: None,
            });
        }
        let (file, hidden) = make_file(&folder, &name).map_err(look::unavailable)?;
        let theirs = duplicate(&file)?;
        let mut target = Target {
            folder,
            name,
            file,
            hidden,
            replaces: None,
        };
        if let Some(old) = &old {
            attributes::take_over(old, &target.file).map_err(|what| TargetFault::Loses { what })?;
            target.replaces = Some(attributes::mode(&target.file).map_err(look::unavailable)?);
        }
        self.open.insert(item, target);
        let base = self.base(item, Folder::found(theirs.as_fd()), base_of);
        // Even for a new file, most of the volume may still be in its base snapshot.
        let old = old.or_else(|| rustix::io::fcntl_dupfd_cloexec(&base.as_ref()?.1, 0).ok());
        let form = if old.is_some() {
            TargetForm::Replacing
        } else {
            TargetForm::New
        };
        Ok(Made {
            form,
            files: [theirs].into_iter().chain(old).collect(),
            base,
            remembered: None,
        })
    }

    fn made_in_place(
        &mut self,
        item: u32,
        target: OwnedFd,
        discards_bytes: u32,
        base_of: &BaseOf,
    ) -> Made {
        let folder = Folder::of(target.as_fd());
        let fresh = folder
            .as_ref()
            .and_then(|folder| folder.fresh().ok())
            .map(|fresh| fresh.file);
        let base = self.base(item, folder.filter(|_| fresh.is_some()), base_of);
        let form = TargetForm::InPlace {
            clones: fresh.is_some(),
            discards_bytes,
        };
        Made {
            form,
            files: [target].into_iter().chain(fresh).collect(),
            base,
            remembered: None,
        }
    }

    fn base(&mut self, item: u32, folder: Option<Folder>, base_of: &BaseOf) -> Option<Base> {
        let folder = folder?;
        let base = folder.base(base_of)?;
        self.bases.insert(item, (folder, *base_of));
        Some(base)
    }

    /// Removes the base snapshot that was sent with a target, because it does not match its label.
    pub(crate) fn drop_base(&mut self, item: u32) -> Option<Result<(), Errno>> {
        self.bases
            .remove(&item)
            .map(|(folder, base_of)| folder.drop_base(&base_of))
    }

    /// Gives a complete target its name, durably.
    /// Scratch has served its purpose.
    pub(crate) fn place(&mut self, item: u32) -> Result<(), Errno> {
        if matches!(
            self.destination,
            Destination::Scratch(_) | Destination::Kept(_)
        ) {
            return Ok(());
        }
        let mut target = self.open.remove(&item).ok_or(Errno::BADF)?;
        if let Some(mode) = target.replaces {
            attributes::set_mode(&target.file, mode)?;
        }
        match (target.hidden.take(), target.replaces.is_some()) {
            (None, false) => link_nameless(&target, &target.name)?,
            (None, true) => {
                // Another name would remain after a kill; the next restore finds this one.
                let hidden = hidden_name(&target.name, UNNAMED);
                remove_left_over(&target.folder, &hidden)?;
                link_nameless(&target, &hidden)?;
                target.hidden = Some(hidden.clone());
                replace(&target, &hidden)?;
            }
            (Some(hidden), replaces) => {
                target.hidden = Some(hidden.clone());
                if replaces {
                    replace(&target, &hidden)?
                } else {
                    name_once(&target, &hidden)?
                }
            }
        }
        target.hidden = None;
        // Sync the file again under its name, then the folder: btrfs logs nothing of a file without
        // a name, and with the folder only its existence.
        rustix::fs::fsync(&target.file)?;
        rustix::fs::fsync(&target.folder)
    }

    /// Keeps incomplete new files, with which the same command continues. Returns their paths.
    pub(crate) fn keep_partial(&mut self) -> Vec<PathBuf> {
        let targets = std::mem::take(&mut self.open).into_values();
        targets
            .filter(|target| target.replaces.is_none())
            .filter_map(keep_partial)
            .collect()
    }

    fn make_folder(&self) -> Result<(), TargetFault> {
        let Destination::Folder(folder) = &self.destination else {
            return Ok(());
        };
        match rustix::fs::mkdirat(CWD, folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(look::unavailable(errno)),
        }
    }
}

/// The path at which a volume appears once it has its name.
fn device_of(place: &ThinPlace) -> PathBuf {
    Path::new("/dev").join(&place.pool.group).join(&place.name)
}

impl Drop for Target {
    /// Removes a target that did not get its name.
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _ = rustix::fs::unlinkat(&self.folder, hidden, AtFlags::empty());
        }
    }
}

/// The logical volume that a target is.
fn logical_volume(target: &OwnedFd) -> Option<LogicalVolume> {
    Machine::unopened().logical_volume(target.as_fd())
}

/// Replaces a file by one with a hidden name.
fn replace(target: &Target, hidden: &OsStr) -> Result<(), Errno> {
    // A file that took the name meanwhile is not the one that was looked at.
    match rustix::fs::statat(&target.folder, &target.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile => {
            return Err(Errno::EXIST);
        }
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::renameat(&target.folder, hidden, &target.folder, &target.name)
}

/// Gives a file with a hidden name a free name. On file systems with neither exclusive renames nor
/// links, an empty file takes the name first.
fn name_once(target: &Target, hidden: &OsStr) -> Result<(), Errno> {
    let Target { folder, name, .. } = target;
    match rustix::fs::renameat_with(folder, hidden, folder, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        renamed => return renamed,
    }
    match rustix::fs::linkat(folder, hidden, folder, name, AtFlags::empty()) {
        Ok(()) => return rustix::fs::unlinkat(folder, hidden, AtFlags::empty()),
        Err(Errno::EXIST) => return Err(Errno::EXIST),
        Err(_) => {}
    }
    rustix::fs::openat(
        folder,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
        MODE,
    )?;
    let renamed = rustix::fs::renameat(folder, hidden, folder, name);
    if renamed.is_err() {
        // The first failure is the one to report.
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
    renamed
}

/// A file without a name if the file system supports it, so that even a kill leaves nothing;
/// otherwise a file with a hidden name.
fn make_file(folder: &OwnedFd, name: &OsStr) -> Result<(OwnedFd, Option<OsString>), Errno> {
    let hidden = hidden_name(name, UNNAMED);
    remove_left_over(folder, &hidden)?;
    let (file, hidden) = match rustix::fs::openat(
        folder,
        ".",
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        MODE,
    ) {
        Ok(file) => (file, None),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            (
                rustix::fs::openat(folder, &hidden, flags, MODE)?,
                Some(hidden),
            )
        }
        Err(errno) => return Err(errno),
    };
    if is_locked(&file) {
        Err(Errno::BUSY)
    } else {
        Ok((file, hidden))
    }
}

/// A new file without a name. Nothing that this machine has of the volume is offered with it: all
/// of it must come from the store.
fn make_scratch(folder: &Path) -> Result<Made, TargetFault> {
    let folder = look::open_folder(folder)?;
    let (file, hidden) = make_file(&folder, OsStr::new(SCRATCH)).map_err(look::unavailable)?;
    if let Some(hidden) = hidden {
        rustix::fs::unlinkat(&folder, hidden, AtFlags::empty()).map_err(look::unavailable)?;
    }
    Ok(Made {
        form: TargetForm::New,
        files: vec![file],
        base: None,
        remembered: None,
    })
}

/// Removes the hidden file of a killed restore. Fails with `EBUSY` while another restore uses it.
fn remove_left_over(folder: &OwnedFd, hidden: &OsStr) -> Result<(), Errno> {
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::fs::openat(folder, hidden, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        Ok(file) if is_locked(&file) => return Err(Errno::BUSY),
        // A file that cannot be opened does not belong to a running restore.
        _ => {}
    }
    rustix::fs::unlinkat(folder, hidden, AtFlags::empty())
}

/// The file that an interrupted restore left, if it is the caller's and not in use.
fn open_partial(folder: &OwnedFd, partial: &OsStr) -> Option<OwnedFd> {
    let flags =
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(folder, partial, flags, Mode::empty()).ok()?;
    (is_own(&rustix::fs::fstat(&file).ok()?) && !is_locked(&file)).then_some(file)
}

/// Whether another restore uses the file. If not, it is now locked. Some file systems have no
/// locks.
fn is_locked(file: &OwnedFd) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::AGAIN)
}

/// Whether only the caller can have created the file, and can write to it.
fn is_own(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && found.st_nlink == 1
        && is_closed(found)
}

/// Whether only the caller can write to the file.
fn is_closed(found: &Stat) -> bool {
    let by_others = Mode::from_raw_mode(found.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    !by_others && found.st_uid == rustix::process::geteuid().as_raw()
}

fn keep_partial(mut target: Target) -> Option<PathBuf> {
    let partial = hidden_name(&target.name, PARTIAL);
    let found = rustix::fs::fstat(&target.file).ok()?;
    if found.st_blocks == 0 || !is_closed(&found) {
        return None;
    }
    match target.hidden.take() {
        None => link_nameless(&target, &partial).ok()?,
        Some(hidden) if hidden == partial => {}
        Some(hidden) => {
            target.hidden = Some(hidden.clone());
            rustix::fs::renameat(&target.folder, &hidden, &target.folder, &partial).ok()?;
            target.hidden = None;
        }
    }
    let folder = rustix::fs::readlink(
        format!("/proc/self/fd/{}", target.folder.as_raw_fd()),
        Vec::new(),
    )
    .ok()?;
    Some(PathBuf::from(OsString::from_vec(folder.into_bytes())).join(partial))
}

fn link_nameless(target: &Target, name: &OsStr) -> Result<(), Errno> {
    let own = format!("/proc/self/fd/{}", target.file.as_raw_fd());
    rustix::fs::linkat(CWD, own, &target.folder, name, AtFlags::SYMLINK_FOLLOW)
}

/// A hidden name: `.NAME.SUFFIX`.
fn hidden_name(name: &OsStr, suffix: &str) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(OsStr::from_bytes(
        name.as_bytes()
            .get(..NAME_PART_MAX_BYTES)
            .unwrap_or(name.as_bytes()),
    ));
    hidden.push(format!(".{suffix}"));
    hidden
}

fn duplicate(file: &OwnedFd) -> Result<OwnedFd, TargetFault> {
    rustix::io::fcntl_dupfd_cloexec(file, 0).map_err(look::unavailable)
}

/// Whether standard output is a terminal, to which no volume is written.
pub(crate) fn stdout_is_terminal() -> bool {
    rustix::termios::isatty(std::io::stdout().as_fd())
}
