// SPDX-License-Identifier: GPL-3.0-or-later
//! Volumes as they are before a restore in place changes them: clones beside the base snapshots, and
//! snapshots in thin pools, which nothing but a person's word or the end of their time removes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use wyng_control::QubeFault;
use wyng_qube::answer::VolumeInfo;
use wyng_qube::plan::{InPlaceNote, KeptVolume};
use wyng_qube::{Driver, Which};
use wyng_snapshot::AsideName;

use super::super::api::Found;
use super::super::part::Part;
use super::super::reach::{Pools, clone_of, place_of};
use super::ground::{Ground, fault_of};
use super::thin;

/// Where a volume can be kept; else why it cannot, the end of a sentence. `nonce` is of the restore.
pub(super) fn keepable(
    ground: Ground<'_>,
    found: &Found,
    info: &VolumeInfo,
    nonce: &str,
) -> Result<KeptVolume, String> {
    let (api, pools, trusted) = ground;
    let pool = api
        .pool(&info.pool)
        .map_err(|fault: QubeFault| fault.to_string())?;
    match pool.driver {
        Driver::LvmThin => return thin::keepable(ground, found, (info, nonce)),
        Driver::FileReflink => {}
        driver => {
            return Err(format!(
                "its pool {} is of the driver {driver}, and only volumes of file-reflink and \
                 lvm_thin are kept",
                pool.name
            ));
        }
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
        Some(folder) => Ok(KeptVolume {
            volume: info.name.clone(),
            pool_folder: Some(folder),
            thin: None,
        }),
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
    let folder = folder_of(pools, volume)?;
    let name = name_of(note, &volume.volume).ok_or(QubeFault::OtherPlace)?;
    match folder.open_aside(&name) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(opened(errno)),
    }
}

fn folder_of<'a>(
    pools: &'a Pools,
    volume: &KeptVolume,
) -> Result<&'a wyng_snapshot::Folder, QubeFault> {
    let folder = volume.pool_folder.as_deref();
    folder
        .and_then(|folder| pools.bases_of(folder))
        .ok_or(QubeFault::PoolOutOfReach)
}

/// Removes everything that a restore has kept.
pub(super) fn give_up(pools: &Pools, note: &InPlaceNote) -> Result<(), QubeFault> {
    for volume in &note.volumes {
        if let Some(thin) = &volume.thin {
            thin::give_up(pools, thin::of(note, &volume.volume, thin))?;
            continue;
        }
        let folder = folder_of(pools, volume)?;
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
