// SPDX-License-Identifier: GPL-3.0-or-later
//! Skips a run that a timer started too soon after the start of the profile's last run. Timers fire
//! on both clocks, and a wall clock that jumps fires them at each jump.

use wyng_archive::plan::unattended::{NotNow, Start, may_start};
use wyng_control::{ExitStatus, Failure, ToClient, Unattended, Warning};

use crate::kept::local_clock;
use crate::state::{ArchiveFolder, Starts};
use crate::world::{Client, Parts, World};

/// The kind of a run. The kinds of one profile do not hold each other up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Backup,
    Verify,
}

/// Does `work`, unless a timer started it too soon: that is reported as a warning, and is no
/// failure. Only a run that did its work holds up the next run; a run that failed or was
/// interrupted is tried again at once.
pub(crate) fn unless_too_soon<P: Parts>(
    world: &mut World<P>,
    archive: &str,
    run: Run,
    unattended: Option<&Unattended>,
    work: impl FnOnce(&mut World<P>) -> Result<ExitStatus, Failure>,
) -> Result<ExitStatus, Failure> {
    let Some(unattended) = unattended else {
        return work(world);
    };
    let folder = ArchiveFolder::find(&mut world.files, archive)?;
    let profile = match run {
        Run::Backup => format!("backup {}", unattended.profile),
        Run::Verify => format!("verify {}", unattended.profile),
    };
    let mut starts = Starts::read(&mut world.files, &folder)?;
    let local = local_clock(&mut world.files, &mut world.clock)?;
    let last = starts.of(&profile);
    if let Err(NotNow::TooSoon { left_secs }) = may_start(&local, last, unattended.interval_secs) {
        world
            .client
            .tell(ToClient::Warned(Warning::TooSoon { left_secs }))?;
        return Ok(ExitStatus::Done);
    }
    let outcome = work(world);
    let exit = outcome.as_ref().map_or_else(Failure::exit, |exit| *exit);
    if matches!(
        exit,
        ExitStatus::Done | ExitStatus::Partial | ExitStatus::Damage
    ) {
        starts.set(&profile, Start::now(&local));
        starts.write(&mut world.files, &folder)?;
    }
    outcome
}
