// SPDX-License-Identifier: GPL-3.0-or-later
//! Deletes orphans: blobs that this machine pushed in an interrupted run and that no commit has. A
//! blob that this machine never named itself stays; otherwise a store that hides the newest commits
//! would have their packs deleted.

use std::collections::BTreeSet;

use wyng_archive::BlobName;
use wyng_control::Failure;
use wyng_wire::Service;

use super::guard::{Candidate, Guard};
use super::tidy::DELETES_AHEAD;
use crate::archive::Archive;
use crate::locking::connect_to_push;
use crate::outcome::is_refusal;
use crate::pool::Pool;
use crate::store::{commit_change, packs_of};
use crate::world::{Deleted, Parts, Store, World};

/// Deletes the orphans; returns the number of blobs that are gone. Nothing may be pending,
/// uncommitted or in flight.
///
/// A commit comes first. A state directory that was copied in the middle of a run, and is put back
/// after that run, takes the packs of the run for orphans: only the name of the next commit, which
/// is taken, tells otherwise.
pub(super) fn delete_orphans<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    pool: &mut Pool,
) -> Result<u64, Failure> {
    let packs = packs_of(&mut world.files, archive)?;
    let needed: BTreeSet<[u8; 32]> = packs.values().map(|entry| entry.name.0).collect();
    archive.dropped.retain(|name| !needed.contains(&name.0));
    if archive.dropped.is_empty() || !archive.uncommitted.packs.is_empty() {
        return Ok(0);
    }
    connect_to_push(world, archive)?;
    commit_change(world, archive, pool, |_| {})?;
    world.store.finish_push()?;
    match archive.connect(&mut world.store, Service::Prune) {
        Ok(()) => {}
        Err(failure) if is_refusal(&failure) => return Ok(0),
        Err(failure) => return Err(failure),
    }
    let guard = Guard::of(&mut world.files, archive)?;
    let orphans: Vec<BlobName> = archive.dropped.clone();
    let (mut gone, mut count) = (BTreeSet::new(), 0u64);
    for some in orphans.chunks(DELETES_AHEAD) {
        for name in some {
            let doomed = guard.check(Candidate::Orphan(*name))?;
            world.store.delete(doomed)?;
        }
        let mut refused = false;
        for name in some {
            match world.store.deleted()? {
                Deleted::Gone => {
                    count = count.saturating_add(1);
                    gone.insert(name.0);
                }
                Deleted::Absent => drop(gone.insert(name.0)),
                Deleted::Refused => refused = true,
            }
        }
        if refused {
            break;
        }
    }
    world.store.finish_prune()?;
    archive.dropped.retain(|name| !gone.contains(&name.0));
    archive.begin_journal(&mut world.files, archive.head.generation)?;
    Ok(count)
}
