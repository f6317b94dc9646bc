// SPDX-License-Identifier: GPL-3.0-or-later
//! A rehearsal: a session is drawn at random, restored to scratch, and compared when the restore
//! would name its target. The ledger holds the time of the last success. The client removes the
//! scratch.

use std::collections::HashMap;

use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_archive::plan::rehearsal;
use wyng_control::{ExitStatus, Failure, SessionChoice, ToClient};

use super::plan::{RestoreRequest, look};
use super::run::openers;
use super::volume::restore_volume;
use crate::archive::{Archive, session_name};
use crate::kept::moment_now;
use crate::pool::Pool;
use crate::state::Origins;
use crate::store::is_damaged;
use crate::world::{Client, Files, Parts, Random, Store, World};

/// A volume and its sound sessions.
type Candidate = (VolumeEntry, Vec<SessionEntry>);

/// Restores a random session, of `volume` or of any volume of the archive called `name`, to the
/// target that the client gives. The session is reported before anything is fetched.
pub fn rehearse<P: Parts>(
    world: &mut World<P>,
    name: &str,
    volume: Option<&str>,
) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    let candidates = candidates(&mut world.files, &mut archive, volume)?;
    let random: [u8; 24] = world.random.draw()?;
    let (words, _) = random.as_chunks::<8>();
    let (volume, session) = draw(candidates, words).ok_or(Failure::NothingToRehearse)?;
    world.client.tell(ToClient::Rehearsing {
        volume: volume.name.clone(),
        session: session.time,
    })?;
    let request = RestoreRequest {
        archive: name.to_owned(),
        volumes: vec![volume.name.clone()],
        session: SessionChoice::Prefix(session_name(session.time)),
        in_place: false,
        quick: false,
        dry_run: false,
        around_damage: false,
        origins: Origins::default(),
    };
    let plan = look(world, &mut archive, &request, 0, (volume, session), &mut 0)?;
    let mut pool = Pool::for_machine(archive.head.settings.zstd_level)?;
    let openers = openers(world, &mut archive)?;
    archive.connect_to_verify(&mut world.store)?;
    let report = restore_volume(world, &mut archive, &mut pool, &openers, &request, &plan)
        .map_err(|ended| ended.failure)?;
    world.store.finish_fetch()?;
    let now = moment_now(&mut world.files, &mut world.clock, &mut archive)?;
    archive.ledger.rehearsed = Some(now);
    archive.ledger.write(&mut world.files, &archive.folder)?;
    world.client.tell(ToClient::Restored(report))?;
    Ok(ExitStatus::Done)
}

/// The volumes that have a sound session. A volume whose session table is lost has no sound
/// session, which `status` reports; if the person named that volume, the rehearsal fails.
fn candidates(
    files: &mut impl Files,
    archive: &mut Archive,
    only: Option<&str>,
) -> Result<Vec<Candidate>, Failure> {
    let mut volumes = archive.volumes(files)?;
    if let Some(only) = only {
        volumes.retain(|(_, volume)| volume.name == only);
        if volumes.is_empty() {
            return Err(Failure::UnknownVolume {
                volume: only.to_owned(),
            });
        }
    }
    let (mut candidates, mut known) = (Vec::new(), HashMap::new());
    for (_, volume) in volumes {
        let sessions = match archive.sessions(files, &volume) {
            Err(Failure::SessionsLost { .. }) if only.is_none() => continue,
            sessions => sessions?,
        };
        let mut sound = Vec::new();
        for session in sessions {
            if !is_damaged(files, archive, &session, &mut known)? {
                sound.push(session);
            }
        }
        if !sound.is_empty() {
            candidates.push((volume, sound));
        }
    }
    Ok(candidates)
}

/// A volume and one of its sessions, drawn with three random numbers.
fn draw(mut candidates: Vec<Candidate>, random: &[[u8; 8]]) -> Option<(VolumeEntry, SessionEntry)> {
    let [of_volume, of_class, of_session] = random else {
        return None;
    };
    let count = u64::try_from(candidates.len()).ok()?;
    let place = u64::from_le_bytes(*of_volume).checked_rem(count)?;
    let (volume, sessions) = candidates.swap_remove(usize::try_from(place).ok()?);
    let numbers: Vec<u64> = sessions.iter().map(|session| session.generation).collect();
    let random = [of_class, of_session].map(|word| u64::from_le_bytes(*word));
    let drawn = rehearsal::rehearse(&numbers, random)?;
    let session = sessions
        .into_iter()
        .find(|session| session.generation == drawn)?;
    Some((volume, session))
}
