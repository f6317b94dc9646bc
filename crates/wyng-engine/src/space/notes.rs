// SPDX-License-Identifier: GPL-3.0-or-later
//! Brings all notes of damage into the pack table before packs are chosen to go: a copy in a pack
//! that is known to be lost does not count.

use wyng_control::Failure;

use crate::archive::Archive;
use crate::pool::Pool;
use crate::store::{
    Changes, CommitPoint, Packer, begun_volumes, commit, plan_healing, rewrite_metadata,
};
use crate::world::{Parts, World};

/// Commits the remains of an interrupted run, and the notes of damage. Metadata of lost packs is
/// written again from the cache, in a commit before that. A push must be open.
pub(crate) fn bring_in_notes<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
) -> Result<(), Failure> {
    let left = std::mem::take(&mut archive.uncommitted);
    let volumes = archive.volumes(&mut world.files)?;
    let begun = begun_volumes(archive, &volumes);
    let mut healing = plan_healing(&mut world.files, archive)?;
    let mut packer = Packer::after(archive, left.packs);
    let is_left = packer.closed_count() > 0 || !left.keys.is_empty();
    if healing.is_empty() && !is_left {
        return Ok(());
    }
    if healing.mark_any_lost() {
        rewrite_metadata(world, archive, pool, &mut packer)?;
    }
    let mut changes = Changes {
        begun,
        keys: left.keys,
        point: CommitPoint::EndOfRun,
        ..Changes::default()
    };
    loop {
        commit(world, archive, pool, &mut packer, changes)?;
        if healing.is_empty() {
            return Ok(());
        }
        changes = Changes {
            packs: healing.take_part(&archive.head),
            point: CommitPoint::EndOfRun,
            ..Changes::default()
        };
    }
}
