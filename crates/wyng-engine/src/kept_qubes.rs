// SPDX-License-Identifier: GPL-3.0-or-later
//! What qubes were before restores in place: it is given up or put back when a person says so, and
//! given up after 14 days of the kept clock. What is kept is known to the role `volumes` alone.

use wyng_control::{ExitStatus, Failure, InPlaceEnd, ToClient, Warning};

use crate::kept::local_clock;
use crate::outcome::exit_of;
use crate::state::{ArchiveFolder, KeptQubes};
use crate::world::{Client, Clock, Files, Parts, Volumes, World};

/// Gives up what these qubes were, or puts it back. One that fails is reported, and the others go
/// on.
pub(crate) fn settle_qubes<P: Parts>(
    world: &mut World<P>,
    archive: &str,
    qubes: &[String],
    end: InPlaceEnd,
) -> Result<ExitStatus, Failure> {
    ArchiveFolder::find(&mut world.files, archive)?;
    let mut failed = Vec::new();
    for qube in qubes {
        let (settled, failure) = match world.volumes.settle_qube(qube, end) {
            Err(failure @ Failure::NoQubesHere) => return Err(failure),
            settled => settled?,
        };
        world.client.tell(ToClient::QubeRestored(settled))?;
        if let Some(failure) = failure {
            failed.push(failure.exit());
            world.client.tell(ToClient::Failed(failure))?;
        }
    }
    follow_kept(world)?;
    Ok(exit_of(&failed, qubes.len()))
}

/// Notes which qubes are kept, and gives up those whose time is over. One that cannot be given up
/// now is tried again by the next run.
pub(crate) fn follow_kept<P: Parts>(world: &mut World<P>) -> Result<(), Failure> {
    let kept = match world.volumes.kept_qubes() {
        Err(Failure::NoQubesHere) => return Ok(()),
        kept => kept?,
    };
    let known = KeptQubes::read(&mut world.files)?;
    if kept.is_empty() && known.0.is_empty() {
        return Ok(());
    }
    let now_secs = local_clock(&mut world.files, &mut world.clock)?.kept_secs;
    let mut qubes = known.clone();
    for qube in qubes.follow(kept, now_secs) {
        let (_, failure) = world.volumes.settle_qube(&qube, InPlaceEnd::Accept)?;
        if failure.is_none() {
            qubes.0.retain(|kept| kept.qube != qube);
        }
    }
    if qubes == known {
        return Ok(());
    }
    qubes.write(&mut world.files)
}

/// Reports which qubes are kept, and for how long.
pub(crate) fn tell_kept(
    files: &mut impl Files,
    clock: &mut impl Clock,
    client: &mut impl Client,
) -> Result<(), Failure> {
    let qubes = KeptQubes::read(files)?.0;
    if qubes.is_empty() {
        return Ok(());
    }
    let now_secs = local_clock(files, clock)?.kept_secs;
    qubes.into_iter().try_for_each(|kept| {
        client.tell(ToClient::Warned(Warning::QubeKept {
            left_secs: kept.until_secs.saturating_sub(now_secs),
            qube: kept.qube,
        }))
    })
}
