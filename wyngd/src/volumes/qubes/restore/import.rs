// SPDX-License-Identifier: GPL-3.0-or-later
//! The import of a volume: begun and ended at qubesd, and opened at the one path that the pool's
//! driver gives, whatever qubesd names.

use std::os::fd::OwnedFd;

use wyng_control::{NoQubePlace, QubeFault, TargetKind};
use wyng_qube::plan::{ImportEnd, Step, import_end};
use wyng_qube::{NoPlace, Place, PlaceQuery, answer, import_place};

use super::super::api::Api;
use super::clean::send;
use super::ground::Ground;

/// Begins an import, and opens what is to be written. After an error the import is ended.
pub(super) fn begin(ground: Ground<'_>, step: &Step) -> Result<(OwnedFd, TargetKind), QubeFault> {
    let (api, pools, trusted) = ground;
    let place = begin_at(ground, step)?;
    let opened = pools.open_import(&place, trusted);
    if let (Err(_), Step::Import { qube, volume, .. }) = (&opened, step) {
        end_unsuccessfully(api, qube, volume);
    }
    opened
}

/// Begins an import, and returns where its bytes are to be. After an error the import is ended.
pub(super) fn begin_at((api, ..): Ground<'_>, step: &Step) -> Result<Place, QubeFault> {
    let Step::Import {
        qube,
        volume,
        size_bytes,
    } = step
    else {
        return Err(QubeFault::Replaced);
    };
    let found = api.find(qube)?;
    let info = api.volume(qube, volume)?;
    let pool = api.pool(&info.pool)?;
    let query = PlaceQuery {
        qube,
        class: found.class(),
        volume: &info,
        pool: &pool,
        is_halted: found.is_halted(),
    };
    let place = import_place(&query).map_err(|why| {
        QubeFault::NoPlace(match why {
            NoPlace::UnknownDriver => NoQubePlace::UnknownDriver,
            NoPlace::NotKept | NoPlace::NothingCommitted => NoQubePlace::NotKept,
            NoPlace::BadPool => NoQubePlace::BadPool,
            NoPlace::BadId => NoQubePlace::BadId,
        })
    })?;
    let text = send(api, step.request())?;
    let target = answer::import_target(&text)
        .ok()
        .filter(|target| target.path == place.path() && target.size_bytes == *size_bytes);
    match target {
        Some(_) => Ok(place),
        None => {
            end_unsuccessfully(api, qube, volume);
            Err(QubeFault::OtherPlace)
        }
    }
}

/// Makes what was written the volume.
pub(super) fn end(api: &Api, qube: &str, volume: &str) -> Result<(), QubeFault> {
    send(api, import_end(qube, volume, ImportEnd::Ok)).map(drop)
}

/// Ends an import without its volume. The answer is an error although it has ended as asked.
pub(super) fn end_unsuccessfully(api: &Api, qube: &str, volume: &str) {
    let _ = send(api, import_end(qube, volume, ImportEnd::Fail));
}
