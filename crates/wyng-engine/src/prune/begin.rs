// SPDX-License-Identifier: GPL-3.0-or-later
//! Steps before a prune decides anything: the connection, the remains of earlier runs, and the
//! notes of damage.

use wyng_control::Failure;

use crate::archive::Archive;
use crate::locking::connect_to_push;
use crate::pool::Pool;
use crate::store::{
    Changes, CommitPoint, PackChanges, Packer, begun_volumes, commit, confirm_head, plan_healing,
    push_missing, rewrite_metadata, settle_pending,
};
use crate::world::{Parts, World};

/// Opens an archive from which sessions may be removed.
pub(super) fn open<P: Parts>(world: &mut World<P>, name: &str) -> Result<Archive, Failure> {
    let archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    archive.refuse_much_damage()?;
    Ok(archive)
}

/// Connects to the store, and settles the commit that an earlier run left pending.
pub(super) fn connect<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<(), Failure> {
    archive.may_write()?;
    archive.tidy_cache(&mut world.files)?;
    connect_to_push(world, archive)?;
    settle_pending(&mut world.files, &mut world.store, archive)?;
    push_missing(&mut world.files, &mut world.store, archive)?;
    confirm_head(&mut world.files, &mut world.store, archive)
}

/// Brings all notes of damage into the pack table, so that healed packs are in the archive before
/// any record is marked. A dry run only finds the changes.
pub(super) fn heal<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
    dry_run: bool,
) -> Result<PackChanges, Failure> {
    let mut healing = plan_healing(&mut world.files, archive)?;
    if dry_run || healing.is_empty() {
        return Ok(healing);
    }
    let mut packer = take_packer(archive);
    if healing.mark_any_lost() {
        rewrite_metadata(world, archive, pool, &mut packer)?;
    }
    // What was lost needs free space; the commits without which nothing is removed do not.
    let mut packer = packer.use_reserve();
    let changes = left_over(world, archive)?;
    commit(world, archive, pool, &mut packer, changes)?;
    while !healing.is_empty() {
        let packs = healing.take_part(&archive.head);
        let changes = Changes {
            packs,
            ..Changes::default()
        };
        commit(world, archive, pool, &mut packer, changes)?;
    }
    Ok(PackChanges::default())
}

/// A packer that continues after the packs of an interrupted run.
pub(super) fn take_packer<P: Parts>(archive: &mut Archive) -> Packer<P> {
    let left = std::mem::take(&mut archive.uncommitted.packs);
    Packer::after(archive, left)
}

/// Begun volumes and session keys of an interrupted run: they go into the next commit, which would
/// forget them otherwise.
pub(super) fn left_over<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<Changes, Failure> {
    let volumes = archive.volumes(&mut world.files)?;
    Ok(Changes {
        begun: begun_volumes(archive, &volumes),
        keys: std::mem::take(&mut archive.uncommitted.keys),
        point: CommitPoint::MidRun,
        ..Changes::default()
    })
}
