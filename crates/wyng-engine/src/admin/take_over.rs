// SPDX-License-Identifier: GPL-3.0-or-later
//! Becoming the archive's writer: a commit that changes nothing but who writes. The machine before
//! finds its next commit's name taken.

use wyng_control::Failure;
use wyng_wire::Service;

use crate::archive::Archive;
use crate::pool::Pool;
use crate::store::{commit_change, settle_pending};
use crate::world::{Client, Parts, Store, World};

/// Behind generations that were passed over, so many commits at most are made at once to reach
/// beyond them.
const COMMITS_MAX: usize = 64;

/// Takes over. Behind damaged generations it writes on until it is past them, so that the archive
/// opens elsewhere as it is here.
pub fn take_over<P: Parts>(world: &mut World<P>, name: &str) -> Result<(), Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    if archive.ledger.stopped {
        return Err(Failure::Stopped);
    }
    archive.connect(&mut world.store, Service::Push)?;
    settle_pending(&mut world.files, &mut world.store, &mut archive)?;
    match archive.ledger.passed_over {
        Some(passed) if passed.sound => {
            return Err(Failure::NewerSound {
                generation: archive.head.generation,
                newest: passed.newest,
            });
        }
        // Nobody has asked for an older generation yet.
        Some(passed) if !passed.requested => archive.may_write()?,
        _ => {}
    }
    for _ in 0..COMMITS_MAX {
        if archive.may_write().is_ok() {
            break;
        }
        if world.client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let mut pool = Pool::new(0, 0)?;
        commit_change(world, &mut archive, &mut pool, |_| {})?;
    }
    world.store.finish_push()
}
