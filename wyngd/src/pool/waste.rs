// SPDX-License-Identifier: GPL-3.0-or-later
//! What this program has in the pools of this machine, and its removal by a person. Bases that the
//! next backup replaces are not this file's.

use std::path::Path;

use wyng_control::{
    LogicalName, OwnName, THIN_VOLUMES_MAX, ThinPage, ThinPool, ThinRemoval, ThinVolume,
};

use super::journal::Journal;
use super::kernel::{self, PoolStatus};
use super::listed::{Listed, Listing, Own};
use super::names::{DmUuid, OwnVolume};
use super::programs::{Call, LVM};
use super::trouble::Trouble;
use super::zfs;

/// A part of our volumes, from this number on, and with the first part the pools that they lie in.
/// Those in pools of ZFS follow those of LVM. Nothing is changed. `None` if LVM or ZFS failed.
pub(super) fn listed(from: u32) -> Option<ThinPage> {
    let thin = if Path::new(LVM).exists() {
        Listing::take()
    } else {
        Ok(Listing::default())
    };
    let of_zfs = if zfs::is_there() {
        zfs::shown()
    } else {
        Ok(Vec::new())
    };
    match thin.and_then(|listing| Ok((listing, of_zfs?))) {
        Ok((listing, of_zfs)) => Some(page(&listing, of_zfs, &Journal::unmade(), from)),
        Err(trouble) => {
            tracing::warn!(%trouble, "pools are not listed");
            None
        }
    }
}

fn page(listing: &Listing, of_zfs: Vec<ThinVolume>, journal: &Journal, from: u32) -> ThinPage {
    let ours = listing.all_ours();
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let count = ours.len().saturating_add(of_zfs.len());
    // A line of LVM's costs a program, so that only those of this part are made.
    let of_lvm = ours.iter().skip(from).take(THIN_VOLUMES_MAX);
    let of_lvm = of_lvm.filter_map(|(own, listed)| line(own, listed, listing));
    let room = THIN_VOLUMES_MAX.saturating_sub(ours.len().saturating_sub(from));
    let behind = from.saturating_sub(ours.len());
    let volumes = of_lvm.chain(of_zfs.into_iter().skip(behind).take(room));
    let pools = listing.pools().filter(|_| from == 0).filter_map(|pool| {
        let holds_ours = ours.iter().any(|(_, found)| found.pool_uuid == pool.uuid);
        let shown = shown(pool, journal)?;
        (holds_ours || shown.metadata_left || shown.bases_dropped > 0).then_some(shown)
    });
    ThinPage {
        // A machine with more pools of ours than fit into a message has none.
        pools: pools.take(THIN_VOLUMES_MAX).collect(),
        volumes: volumes.collect(),
        more: count > from.saturating_add(THIN_VOLUMES_MAX),
    }
}

fn line(own: &Own, listed: &Listed, listing: &Listing) -> Option<ThinVolume> {
    let device = listed.device_uuid()?;
    let is_active = kernel::active(&device).is_some();
    Some(ThinVolume {
        volume: OwnName::Logical(LogicalName::new(&listed.group, own.volume.name())?),
        pool: listing
            .pool(&listed.pool_uuid)
            .map_or_else(String::new, |pool| pool.name.clone()),
        size_bytes: listed.size_bytes,
        mapped_bytes: is_active.then(|| kernel::mapped_bytes(&device)).flatten(),
        exclusive_bytes: None,
        label: own.label.as_ref().map(|label| label.base),
        kept: own.is_kept,
    })
}

fn shown(pool: &Listed, journal: &Journal) -> Option<ThinPool> {
    let device = DmUuid::of_pool(&pool.group_uuid, &pool.uuid)?;
    let status = kernel::active(&device).and_then(|_| PoolStatus::of(&device).ok());
    Some(ThinPool {
        pool: LogicalName::new(&pool.group, &pool.name)?,
        used_percent: status.as_ref().map(PoolStatus::used_percent),
        bases_dropped: journal.dropped(&pool.uuid).ok().flatten().unwrap_or(0),
        metadata_left: status.is_some_and(|status| {
            status.held.is_some() && is_uncertain(journal, &pool.uuid).unwrap_or(false)
        }),
    })
}

/// Whether a run noted that it would take a pool's metadata snapshot, not which one it got, and is
/// not at work.
fn is_uncertain(journal: &Journal, pool_uuid: &str) -> Result<bool, Trouble> {
    let noted = journal.read(pool_uuid)?;
    let is_unknown = noted.is_some_and(|noted| noted.held.is_none());
    Ok(is_unknown && journal.lock_reservations()?.is_some())
}

/// Removes one of our volumes. An unfinished one stays while any daemon has snapshots.
pub(super) fn remove(journal: &Journal, volume: &OwnVolume) -> Result<ThinRemoval, Trouble> {
    let find = |listing: &Listing| {
        let ours = listing.all_ours();
        let found = ours.into_iter().find(|(own, _)| own.volume == *volume);
        found.map(|(own, _)| own)
    };
    let finished = match find(&Listing::take()?) {
        None => return Ok(ThinRemoval::Removed),
        // It is given up by whoever gives up the way back.
        Some(own) if own.is_kept => return Ok(ThinRemoval::InUse),
        Some(own) => own.label.is_some(),
    };
    let is_left = |own: Own| own.label.is_none() && !own.is_kept;
    let alone = if finished {
        None
    } else {
        match journal.lock_leftovers()? {
            None => return Ok(ThinRemoval::InUse),
            alone => alone,
        }
    };
    // A run may have finished it, or removed it, before the lock.
    if alone.is_some() && !find(&Listing::take()?).is_some_and(is_left) {
        return Ok(ThinRemoval::InUse);
    }
    Call::Remove(volume).run()?;
    Ok(ThinRemoval::Removed)
}

/// Releases the metadata snapshot of a pool, of which only a person can know that no other program
/// holds it. One that no note is about is never released.
pub(super) fn release_metadata(
    journal: &Journal,
    name: &LogicalName,
) -> Result<ThinRemoval, Trouble> {
    let listing = Listing::take()?;
    let mut pools = listing.pools();
    let pool = pools.find(|pool| pool.group == name.group && pool.name == name.name);
    let Some(pool) = pool else {
        return Err(Trouble::Answer("there is no such pool"));
    };
    let device = DmUuid::of_pool(&pool.group_uuid, &pool.uuid)
        .ok_or(Trouble::Answer("a pool's UUID is not as LVM prints it"))?;
    let Some(_alone) = journal.lock_reservations()? else {
        return Ok(ThinRemoval::InUse);
    };
    match journal.read(&pool.uuid)? {
        Some(noted) if noted.held.is_none() => {}
        _ => return Ok(ThinRemoval::InUse),
    }
    if PoolStatus::of(&device)?.held.is_some() {
        Call::Unreserve(&device).run()?;
    }
    journal.remove(&pool.uuid)?;
    Ok(ThinRemoval::Removed)
}
