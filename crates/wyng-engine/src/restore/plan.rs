// SPDX-License-Identifier: GPL-3.0-or-later
//! Which sessions are restored, and where. The client looks at the targets; nothing is opened or
//! changed.

use std::collections::{HashMap, HashSet};

use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_control::{
    BaseOf, ExitStatus, Failure, Remembered, SessionChoice, TargetFound, TargetLook, ToClient,
};

use super::walk::data_bytes;
use crate::archive::{Archive, session_name};
use crate::state::{Origins, Said};
use crate::store::is_damaged;
use crate::world::{Client, Files, Parts, TargetWish, Volumes, World};

/// What a restore was asked for.
#[derive(Clone)]
pub struct RestoreRequest {
    /// The archive's name.
    pub archive: String,
    /// The volumes; empty: every volume that has the session.
    pub volumes: Vec<String>,
    /// Which session of each volume.
    pub session: SessionChoice,
    /// The targets are changed where they are.
    pub in_place: bool,
    /// What a base snapshot says is the same is not read.
    pub quick: bool,
    /// Reports what would be done; changes nothing.
    pub dry_run: bool,
    /// Ranges of lost bytes become zeros, and are reported.
    pub around_damage: bool,
    /// Where each volume was backed up from.
    pub origins: Origins,
}

/// What is to be restored.
pub(super) struct Chosen {
    /// Volumes, each with its session.
    pub sessions: Vec<(VolumeEntry, SessionEntry)>,
    /// The exit statuses of volumes whose session cannot be found.
    pub failed: Vec<ExitStatus>,
}

/// A session of a volume, and what was found where it goes.
pub(super) struct Planned {
    /// The number of the volume and of its target in this command.
    pub item: u32,
    /// The volume.
    pub volume: VolumeEntry,
    /// The session.
    pub session: SessionEntry,
    /// The target, as it is shown to people.
    pub path: String,
    /// What was found there.
    pub found: TargetFound,
}

/// Maximum length of a settings record, bytes. A longer one is not even fetched.
pub(super) const RECORD_MAX_BYTES: u64 = 1 << 20;

impl Planned {
    /// A session that goes to an empty target which the daemon makes, shown by the volume's name.
    pub(super) fn anew(item: u32, volume: VolumeEntry, session: SessionEntry) -> Self {
        Self {
            item,
            path: volume.name.clone(),
            volume,
            session,
            found: TargetFound {
                holds_bytes: false,
                free_bytes: None,
                keeps_holes: true,
                remembered: None,
            },
        }
    }
}

/// Finds the sessions that are to be restored. A volume whose session table is lost is reported,
/// and counts as failed.
pub(super) fn choose(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    request: &RestoreRequest,
) -> Result<Chosen, Failure> {
    let volumes = archive.volumes(files)?;
    let all = request.volumes.is_empty();
    let mut wanted: Vec<VolumeEntry> = Vec::new();
    let mut named = HashSet::new();
    for name in request.volumes.iter().filter(|name| named.insert(*name)) {
        let unknown = || Failure::UnknownVolume {
            volume: name.clone(),
        };
        let (_, volume) = volumes
            .iter()
            .find(|(_, volume)| volume.name == *name)
            .ok_or_else(unknown)?;
        wanted.push(volume.clone());
    }
    if all {
        wanted.extend(volumes.into_iter().map(|(_, volume)| volume));
    }
    let (mut sessions, mut failed) = (Vec::new(), Vec::new());
    for volume in wanted {
        match archive.choose(files, &volume, &request.session) {
            Ok(session) => sessions.push((volume, session)),
            Err(Failure::UnknownSession { .. }) if all => {}
            Err(failure @ Failure::SessionsLost { .. }) => {
                failed.push(failure.exit());
                client.tell(ToClient::Failed(failure))?;
            }
            Err(failure) => return Err(failure),
        }
    }
    if sessions.is_empty() && failed.is_empty() {
        return Err(Failure::NoSession {
            session: request.session.to_string(),
        });
    }
    Ok(Chosen { sessions, failed })
}

/// Finds what would end the restore of a volume later: a session that is known to be damaged, and
/// whatever the client finds at the target. Targets that were looked at before take `taken_bytes`
/// of the room there.
pub(super) fn look<P: Parts>(
    world: &mut World<P>,
    archive: &mut Archive,
    request: &RestoreRequest,
    item: u32,
    (volume, session): (VolumeEntry, SessionEntry),
    taken_bytes: &mut u64,
) -> Result<Planned, Failure> {
    if !request.around_damage
        && is_damaged(&mut world.files, archive, &session, &mut HashMap::new())?
    {
        return Err(Failure::SessionDamaged {
            volume: volume.name,
            session: session_name(session.time),
        });
    }
    let wish = wish(&world.client, archive, request, &volume, &session);
    let TargetLook { path, found } = world.volumes.look_at_target(item, &wish)?;
    let found = found.map_err(|fault| fault.of_volume(&volume.name, &path, session.size_bytes))?;
    check_place(request, &volume.name, found.remembered.as_ref())?;
    if let Some(free_bytes) = found.free_bytes {
        let free_bytes = free_bytes.saturating_sub(*taken_bytes);
        let needed_bytes = if found.keeps_holes {
            data_bytes(&mut world.files, &mut world.client, archive, &session)?
        } else {
            session.size_bytes
        };
        if needed_bytes > free_bytes {
            return Err(Failure::TargetNoRoom {
                volume: volume.name,
                path,
                free_bytes,
                needed_bytes,
            });
        }
        // A file that is replaced gives back its own room when its turn is over.
        if !found.holds_bytes {
            *taken_bytes = taken_bytes.saturating_add(needed_bytes);
        }
    }
    Ok(Planned {
        item,
        volume,
        session,
        path,
        found,
    })
}

/// Refuses a place that the person did not name for this very command, unless the volume was backed
/// up from there.
pub(super) fn check_place(
    request: &RestoreRequest,
    volume: &str,
    remembered: Option<&Remembered>,
) -> Result<(), Failure> {
    let Some(Remembered { origin, configured }) = remembered else {
        return Ok(());
    };
    let said = if *configured {
        Said::Configured
    } else {
        Said::Path
    };
    request.origins.check(volume, origin, said)
}

/// The target of a session, as it is asked for.
pub(super) fn wish<'a>(
    client: &impl Client,
    archive: &Archive,
    request: &'a RestoreRequest,
    volume: &'a VolumeEntry,
    session: &SessionEntry,
) -> TargetWish<'a> {
    TargetWish {
        volume: &volume.name,
        session: session.time,
        size_bytes: session.size_bytes,
        base_of: BaseOf {
            archive: archive.folder.id().0,
            volume: volume.id.0,
        },
        in_place: request.in_place,
        origin: request.origins.path_of(&volume.name, client.uid()),
    }
}
