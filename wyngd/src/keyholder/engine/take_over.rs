// SPDX-License-Identifier: GPL-3.0-or-later
//! Becoming the archive's writer: a commit that changes nothing but who writes. The machine before finds its next commit's name taken.

use wyng_control::Failure;
use wyng_wire::Service;

use super::archive::Archive;
use super::commit::{commit_change, settle_pending};
use super::pool::Pool;
use crate::keyholder::world::World;

/// Takes over.
pub fn take_over<W: World>(world: &mut W, name: &str) -> Result<(), Failure> {
    let mut archive = Archive::open(world, name)?;
    if archive.ledger.stopped {
        return Err(Failure::Stopped);
    }
    world.connect(Service::Push, &archive.toml.via, &archive.toml.store, false)?;
    settle_pending(world, &mut archive)?;
    if archive.may_write().is_err() {
        let mut pool = Pool::new(0, 0)?;
        commit_change(world, &mut archive, &mut pool, |_| {})?;
    }
    world.finish_push()
}
