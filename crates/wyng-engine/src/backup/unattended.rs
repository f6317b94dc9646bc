// SPDX-License-Identifier: GPL-3.0-or-later
//! A backup that a timer started: it is left out if the profile's last one began too short a time
//! ago. Timers fire on both clocks, and a wall clock that jumps fires them at each jump.

use wyng_archive::plan::unattended::{NotNow, Start, may_start};
use wyng_control::{ExitStatus, Failure, ToClient, Unattended, Warning};

use super::back_up::back_up;
use super::request::BackupRequest;
use crate::kept::local_clock;
use crate::state::{ArchiveFolder, Starts};
use crate::world::{Client, Parts, World};

/// Makes a run, unless it comes too soon: that is reported as a warning, and is no failure. Only a
/// run that did its work holds the next one up: one that failed or was cut is tried again at once.
pub fn back_up_unattended<P: Parts>(
    world: &mut World<P>,
    request: &BackupRequest,
    unattended: &Unattended,
) -> Result<ExitStatus, Failure> {
    let folder = ArchiveFolder::find(&mut world.files, &request.archive)?;
    let mut starts = Starts::read(&mut world.files, &folder)?;
    let local = local_clock(&mut world.files, &mut world.clock)?;
    let last = starts.of(&unattended.profile);
    if let Err(NotNow::TooSoon { left_secs }) = may_start(&local, last, unattended.interval_secs) {
        world
            .client
            .tell(ToClient::Warned(Warning::TooSoon { left_secs }))?;
        return Ok(ExitStatus::Done);
    }
    let exit = back_up(world, request)?;
    if matches!(exit, ExitStatus::Done | ExitStatus::Partial) && !request.dry_run {
        starts.set(&unattended.profile, Start::now(&local));
        starts.write(&mut world.files, &folder)?;
    }
    Ok(exit)
}
