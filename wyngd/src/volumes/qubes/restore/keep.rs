// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes as they are before a restore in place changes them: clones beside the base snapshots,
//! which nothing but a person's word or the end of their time removes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use wyng_control::{NoSource, QubeFault};
use wyng_qube::answer::VolumeInfo;
use wyng_qube::plan::{InPlaceNote, KeptVolume};
use wyng_qube::{Driver, Which};
use wyng_snapshot::AsideName;

use super::super::super::open::Trusted;
use super::super::api::{Api, Found};
use super::super::part::Part;
use super::super::reach::{Pools, clone_of, place_of};

/// qubesd, the pools, and whom this process trusts.
pub(in crate::volumes::qubes) type Ground<'a> = (&'a Api, &'a Pools, Trusted);

/// The folder of the pool in which a volume can be kept; else why it cannot, the end of a sentence.
pub(super) fn keepable(
    (api, pools, trusted): Ground<'_>,
    found: &Found,
    info: &VolumeInfo,
) -> Result<String, String> {
    let pool = api
        .pool(&info.pool)
        .map_err(|fault: QubeFault| fault.to_string())?;
    if pool.driver != Driver::FileReflink {
        let (name, driver) = (&pool.name, &pool.driver);
        return Err(format!(
            "its pool {name} is of the driver {driver}, and only volumes of file-reflink are kept"
        ));
    }
    let place =
        place_of(api, found, info, Which::Committed).map_err(|why| fault_of(&why).to_string())?;
    let is_cloneable = match pools.open(&place, trusted) {
        Ok(Part::File {
            folder: Some(folder),
            ..
        }) => folder.fresh().is_ok(),
        Ok(_) => false,
        Err(why) => return Err(fault_of(&why).to_string()),
    };
    match pool.dir_path.filter(|_| is_cloneable) {
        Some(folder) => Ok(folder),
        None => Err(format!(
            "the file system of its pool {} does not clone files, or its folder .wyng cannot be used",
            pool.name
        )),
    }
}

/// Clones a volume, and gives the clone its name.
pub(super) fn keep(
    ground: Ground<'_>,
    (found, info): (&Found, &VolumeInfo),
    name: &AsideName,
) -> Result<(), QubeFault> {
    let (source, folder) = committed(ground, found, info)?;
    let fresh = clone_of(&source, &folder).ok_or(QubeFault::PoolOutOfReach)?;
    let size = |file: &OwnedFd| rustix::fs::fstat(file).map(|found| found.st_size);
    // Some kernels report success although there was no room for all of it.
    if size(&fresh.file).map_err(opened)? != size(&source).map_err(opened)? {
        return Err(opened(Errno::NOSPC));
    }
    folder.set_aside(fresh.file.as_fd(), name).map_err(opened)
}

/// The committed volume, and the folder of clones.
pub(super) fn committed(
    (api, pools, trusted): Ground<'_>,
    found: &Found,
    info: &VolumeInfo,
) -> Result<(OwnedFd, std::rc::Rc<wyng_snapshot::Folder>), QubeFault> {
    let place = place_of(api, found, info, Which::Committed).map_err(|why| fault_of(&why))?;
    match pools.open(&place, trusted).map_err(|why| fault_of(&why))? {
        Part::File {
            source,
            folder: Some(folder),
        } => Ok((source, folder)),
        _ => Err(QubeFault::PoolOutOfReach),
    }
}

/// The clone of a volume that was kept; `None` if there is none.
pub(super) fn kept(
    pools: &Pools,
    note: &InPlaceNote,
    volume: &KeptVolume,
) -> Result<Option<OwnedFd>, QubeFault> {
    let folder = pools
        .bases_of(&volume.pool_folder)
        .ok_or(QubeFault::PoolOutOfReach)?;
    let name = name_of(note, &volume.volume).ok_or(QubeFault::OtherPlace)?;
    match folder.open_aside(&name) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(opened(errno)),
    }
}

/// Removes all clones of a restore.
pub(super) fn give_up(pools: &Pools, note: &InPlaceNote) -> Result<(), QubeFault> {
    for volume in &note.volumes {
        let folder = pools
            .bases_of(&volume.pool_folder)
            .ok_or(QubeFault::PoolOutOfReach)?;
        let name = name_of(note, &volume.volume).ok_or(QubeFault::OtherPlace)?;
        folder.remove_aside(&name).map_err(opened)?;
    }
    Ok(())
}

/// The name of the clone of a volume.
pub(super) fn name_of(note: &InPlaceNote, volume: &str) -> Option<AsideName> {
    AsideName::of(&note.uuid, volume, &note.nonce)
}

pub(super) fn opened(errno: Errno) -> QubeFault {
    QubeFault::NotOpened {
        errno: errno.raw_os_error(),
    }
}

fn fault_of(why: &NoSource) -> QubeFault {
    match why {
        NoSource::OfQube(fault) => fault.clone(),
        NoSource::Errno(errno) => QubeFault::NotOpened { errno: *errno },
        NoSource::QubeRuns => QubeFault::NotHalted,
        _ => QubeFault::OtherPlace,
    }
}
