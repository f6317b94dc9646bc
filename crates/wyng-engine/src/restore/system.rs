// SPDX-License-Identifier: GPL-3.0-or-later
//! The settings of the whole system, beside a restore of qubes or of dom0's files: their record is
//! restored to memory, and whoever knows this system says what differs. Nothing is applied.

use wyng_control::{Failure, SessionChoice, ToClient};

use super::plan::{Planned, RECORD_MAX_BYTES};
use super::volume::{Openers, restore_into};
use crate::archive::Archive;
use crate::pool::Pool;
use crate::world::{Client, Parts, Volumes, World};

/// The beginning of the names of dom0's own volumes.
pub(super) const OF_DOM0: &str = "dom0:";
/// The volume of the record.
const SETTINGS: &str = "dom0:settings";
/// The number of the record's target, which no volume of a restore has.
const ITEM: u32 = u32::MAX;

/// Shows what differs, where the archive has the record and this system is one of qubes. A record
/// that cannot be restored is reported, and the rest of the command continues.
pub(super) fn show_system<P: Parts>(
    (world, archive, pool): (&mut World<P>, &mut Archive, &mut Pool),
    openers: &Openers,
    session: &SessionChoice,
) -> Result<(), Failure> {
    let volumes = archive.volumes(&mut world.files)?;
    let Some((_, volume)) = volumes
        .into_iter()
        .find(|(_, known)| known.name == SETTINGS)
    else {
        return Ok(());
    };
    let session = match archive.choose(&mut world.files, &volume, session) {
        Err(Failure::UnknownSession { .. }) => return Ok(()),
        chosen => chosen?,
    };
    if session.size_bytes > RECORD_MAX_BYTES {
        return world.client.tell(ToClient::Failed(Failure::QubeRecord {
            volume: volume.name,
            why: "it is longer than 1 MiB".into(),
        }));
    }
    let shape = match world.volumes.open_record(ITEM, &volume.name) {
        Err(Failure::NoQubesHere) => return Ok(()),
        opened => opened?,
    };
    let plan = Planned::anew(ITEM, volume, session);
    match restore_into((world, archive, pool), openers, &plan, (shape, false, None)) {
        Ok(_) => {}
        Err(ended) if ended.others_go_on => {
            return world.client.tell(ToClient::Failed(ended.failure));
        }
        Err(ended) => return Err(ended.failure),
    }
    let lines = world.volumes.system_commands(ITEM)?;
    if lines.is_empty() {
        return Ok(());
    }
    world.client.tell(ToClient::QubePlan(lines))
}
