// SPDX-License-Identifier: GPL-3.0-or-later
//! The pools of qubes that this role can reach: their folders are opened before the jail, and
//! volumes are opened beneath them, without following any link.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wyng_control::{NoQubePlace, NoSource, QubeFault, TargetKind};
use wyng_jail::PathAccess;
use wyng_qube::answer::{PoolInfo, VolumeInfo};
use wyng_qube::{Driver, NoPlace, Place, PlaceQuery, Which, ZvolAt, place};
use wyng_snapshot::{Folder, Fresh};

use super::super::open::{Trusted, open, open_beneath, open_beneath_for_writing, open_for_writing};
use super::super::thin::PoolWire;
use super::api::{Api, Found};
use super::part::Part;

const DEVICES: &str = "/dev";

/// The pools as they were when the role began.
pub(super) struct Pools {
    folders: Vec<Pool>,
    has_devices: bool,
    /// The role that makes volumes in thin pools, where this daemon has it.
    thin: Option<Rc<PoolWire>>,
}

/// The folder of a pool of files.
struct Pool {
    path: String,
    top: OwnedFd,
    /// The folder of base snapshots, where files can be cloned.
    bases: Option<Rc<Folder>>,
}

impl Pools {
    /// Asks for all pools, and opens the folders of those of files.
    pub(super) fn known(api: &Api) -> Self {
        let pools = api.pools().unwrap_or_else(|fault| {
            tracing::warn!(%fault, "the pools of qubes are not known yet");
            Vec::new()
        });
        let is_of_devices = |pool: &PoolInfo| matches!(pool.driver, Driver::LvmThin | Driver::Zfs);
        Self {
            has_devices: pools.iter().any(is_of_devices),
            folders: pools.iter().filter_map(Pool::of).collect(),
            thin: None,
        }
    }

    /// Lets it ask the role that makes volumes in thin pools.
    pub(super) fn set_thin(&mut self, thin: Rc<PoolWire>) {
        self.thin = Some(thin);
    }

    /// The wire to that role.
    pub(super) fn thin(&self) -> Option<&Rc<PoolWire>> {
        self.thin.as_ref()
    }

    pub(super) fn has_devices(&self) -> bool {
        self.has_devices
    }

    pub(super) fn reach(&self) -> Vec<(BorrowedFd<'_>, PathAccess)> {
        let read = self
            .folders
            .iter()
            .map(|pool| (pool.top.as_fd(), PathAccess::Overwrite));
        let bases = self.folders.iter().filter_map(|pool| pool.bases.as_ref());
        let kept = bases
            .flat_map(|bases| bases.descriptors())
            .map(|folder| (folder, PathAccess::ReadWrite));
        read.chain(kept).collect()
    }

    /// Whether files of a pool of files can be cloned; `None` if its folder was not there when the
    /// role began.
    pub(super) fn can_clone(&self, pool: &PoolInfo) -> Option<bool> {
        let path = pool.dir_path.as_deref();
        let mut folders = self.folders.iter();
        let found = folders.find(|folder| Some(folder.path.as_str()) == path)?;
        Some(found.bases.is_some())
    }

    /// Opens what lies at a place.
    pub(super) fn open(&self, place: &Place, trusted: Trusted) -> Result<Part, NoSource> {
        let Place::File { folder, file } = place else {
            let path = PathBuf::from(place.path());
            return Ok(Part::Device {
                source: open(&path, trusted)?,
            });
        };
        let late;
        let pool = match self.folders.iter().find(|pool| pool.path == *folder) {
            Some(pool) => pool,
            None => {
                // Without the jail of Landlock it can be reached all the same. No folder of base
                // snapshots is looked for, which the filter of calls does not allow any more.
                late = Pool::late(folder).ok_or(NoSource::OfQube(QubeFault::PoolOutOfReach))?;
                &late
            }
        };
        let source = match open_beneath(&pool.top, Path::new(file)) {
            Err(NoSource::Errno(errno)) if errno == Errno::ACCESS.raw_os_error() => {
                return Err(NoSource::OfQube(QubeFault::PoolOutOfReach));
            }
            opened => opened?,
        };
        let is_of = |bases: &Rc<Folder>| bases.is_of(source.as_fd());
        let bases = pool.bases.clone().filter(is_of);
        Ok(Part::File {
            source,
            folder: bases,
        })
    }
}

impl Pools {
    /// The folder of clones of the pool that keeps its files here.
    pub(super) fn bases_of(&self, folder: &str) -> Option<&Folder> {
        let pool = self.folders.iter().find(|pool| pool.path == folder)?;
        pool.bases.as_deref()
    }

    /// Opens the place of an import for writing.
    pub(super) fn open_import(
        &self,
        place: &Place,
        trusted: Trusted,
    ) -> Result<(OwnedFd, TargetKind), QubeFault> {
        let fault = |why: NoSource| match why {
            NoSource::OfQube(fault) => fault,
            NoSource::Errno(errno) if errno == Errno::ACCESS.raw_os_error() => {
                QubeFault::PoolOutOfReach
            }
            NoSource::Errno(errno) => QubeFault::NotOpened { errno },
            _ => QubeFault::OtherPlace,
        };
        let Place::File { folder, file } = place else {
            let path = PathBuf::from(place.path());
            let device = open_for_writing(&path, trusted).map_err(fault)?;
            return Ok((device, TargetKind::Device));
        };
        let mut pools = self.folders.iter();
        let pool = pools.find(|pool| pool.path == *folder);
        let top = &pool.ok_or(QubeFault::PoolOutOfReach)?.top;
        let file = open_beneath_for_writing(top, Path::new(file)).map_err(fault)?;
        Ok((file, TargetKind::File))
    }
}

impl Pool {
    fn of(pool: &PoolInfo) -> Option<Self> {
        match pool.driver {
            Driver::FileReflink | Driver::File => Self::at(pool.dir_path.as_deref()?),
            _ => None,
        }
    }

    fn at(path: &str) -> Option<Self> {
        let bases = Folder::above(Path::new(path)).map(Rc::new);
        Some(Self {
            bases,
            ..Self::late(path)?
        })
    }

    /// A pool that was not there when the role began.
    fn late(path: &str) -> Option<Self> {
        if path.starts_with(DEVICES) {
            return None;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        Some(Self {
            path: path.to_owned(),
            top,
            bases: None,
        })
    }
}

/// Where a volume lies now.
pub(super) fn place_of(
    api: &Api,
    found: &Found,
    info: &VolumeInfo,
    which: Which,
) -> Result<Place, NoSource> {
    let pool = api.pool(&info.pool).map_err(NoSource::OfQube)?;
    let query = PlaceQuery {
        qube: &found.listed.name,
        class: found.class(),
        volume: info,
        pool: &pool,
        is_halted: found.is_halted(),
    };
    let no_place = |why| NoSource::OfQube(QubeFault::NoPlace(why));
    let place = place(&query, which).map_err(|why| match why {
        NoPlace::NothingCommitted => NoSource::QubeRuns,
        NoPlace::UnknownDriver => no_place(NoQubePlace::UnknownDriver),
        NoPlace::NotKept => no_place(NoQubePlace::NotKept),
        NoPlace::BadPool => no_place(NoQubePlace::BadPool),
        NoPlace::BadId => no_place(NoQubePlace::BadId),
    })?;
    match place {
        Place::Zvol {
            at: ZvolAt::CleanSnapshot,
            ..
        } => Err(no_place(NoQubePlace::ZfsSnapshot)),
        place => Ok(place),
    }
}

/// A clone in a file without a name; `None` where the file system does not clone it.
pub(super) fn clone_of(source: &OwnedFd, folder: &Folder) -> Option<Fresh> {
    let fresh = folder.fresh().ok()?;
    rustix::fs::ioctl_ficlone(&fresh.file, source).ok()?;
    Some(fresh)
}
