// SPDX-License-Identifier: GPL-3.0-or-later
//! One restore as a straight line, the mirror of a backup: choose the sessions, look at every
//! target, ask for the passphrase, and restore one volume after the other. A target gets its name
//! only when every byte of it is right and durable.

use std::sync::Arc;

use wyng_control::{ExitStatus, Failure, RestoreReport, ToClient, Warning};
use wyng_wire::Service;

use super::around;
use super::estimate::estimate;
use super::older::hope_for_older_versions;
use super::plan::{Chosen, RestoreRequest, choose, look};
use super::system::{OF_DOM0, show_system};
use super::volume::{Ended, Openers, restore_volume};
use crate::archive::Archive;
use crate::outcome::exit_of;
use crate::pool::Pool;
use crate::store::{keys_of, packs_of};
use crate::world::{Client, Parts, Store, World};

/// Restores volumes. A volume that fails is reported and leaves no target; the others go on. Every
/// target is looked at before the passphrase is asked for.
pub fn restore<P: Parts>(
    world: &mut World<P>,
    request: &RestoreRequest,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, &request.archive)?;
    let mut request = request.clone();
    let mut named = request.volumes.iter();
    let is_of_dom0 = named.any(|volume| volume.starts_with(OF_DOM0));
    if archive.toml.unproven && is_of_dom0 {
        world.client.tell(ToClient::Warned(Warning::Unproven))?;
    }
    request.origins.follow(&archive.volumes(&mut world.files)?);
    let request = &request;
    let Chosen { sessions, failed } =
        choose(&mut world.files, &mut world.client, &mut archive, request)?;
    let mut tally = Tally {
        asked: sessions.len().saturating_add(failed.len()),
        failed,
        went_around: false,
    };
    if request.around_damage {
        around::begin(&mut archive);
    }
    hope_for_older_versions(world, &mut archive)?;
    let mut planned = Vec::new();
    // New files of one command lie in one folder, so they share its room.
    let mut taken_bytes = 0;
    for (item, session) in (0..).zip(sessions) {
        match look(
            world,
            &mut archive,
            request,
            item,
            session,
            &mut taken_bytes,
        ) {
            Ok(plan) => planned.push(plan),
            Err(failure) => tally.go_on_after(&mut world.client, failure.into())?,
        }
    }
    if planned.is_empty() {
        return Ok(tally.exit());
    }
    let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    if request.dry_run {
        for plan in &planned {
            match estimate(world, &mut archive, &mut pool, request, plan) {
                Ok(report) => world.client.tell(ToClient::Restored(report))?,
                Err(failure) => tally.go_on_after(&mut world.client, failure.into())?,
            }
        }
        return Ok(tally.exit());
    }
    let openers = openers(world, &mut archive)?;
    archive.connect(&mut world.store, Service::Fetch)?;
    for plan in &planned {
        match restore_volume(world, &mut archive, &mut pool, &openers, request, plan) {
            Ok(report) => tally.report(&mut world.client, report)?,
            Err(ended) => tally.go_on_after(&mut world.client, ended)?,
        }
    }
    if is_of_dom0 {
        let parts = (&mut *world, &mut archive, &mut pool);
        show_system(parts, &openers, &request.session)?;
    }
    world.store.finish_fetch()?;
    Ok(tally.exit())
}

/// Asks for the passphrase, unless the data key is kept, and opens the session keys.
pub(super) fn openers<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
) -> Result<Openers, Failure> {
    let data_key = archive.data_key(world)?;
    let keys = keys_of(
        &mut world.files,
        &mut world.clock,
        &mut world.client,
        archive,
        &data_key,
    )?
    .keys;
    Ok(Openers {
        packs: Arc::new(packs_of(&mut world.files, archive)?),
        keys: Arc::new(keys),
    })
}

/// What became of the volumes of a command.
struct Tally {
    /// Number of volumes that were asked for.
    asked: usize,
    /// The exit statuses of those that failed.
    failed: Vec<ExitStatus>,
    /// At least one volume has zeros for lost bytes.
    went_around: bool,
}

impl Tally {
    /// Reports a volume that failed, if the others can go on; otherwise the command ends with its
    /// failure.
    fn go_on_after(&mut self, client: &mut impl Client, ended: Ended) -> Result<(), Failure> {
        if !ended.others_go_on {
            return Err(ended.failure);
        }
        self.failed.push(ended.failure.exit());
        client.tell(ToClient::Failed(ended.failure))
    }

    /// Reports a volume that was restored, and that it has zeros for lost bytes if it has.
    fn report(&mut self, client: &mut impl Client, report: RestoreReport) -> Result<(), Failure> {
        let (volume, lost_bytes) = (report.name.clone(), report.lost_bytes);
        client.tell(ToClient::Restored(report))?;
        if lost_bytes > 0 {
            self.went_around = true;
            client.tell(ToClient::Failed(Failure::RestoredAround {
                volume,
                lost_bytes,
            }))?;
        }
        Ok(())
    }

    fn exit(&self) -> ExitStatus {
        if self.went_around {
            ExitStatus::Damage
        } else {
            exit_of(&self.failed, self.asked)
        }
    }
}
