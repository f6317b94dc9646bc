// SPDX-License-Identifier: GPL-3.0-or-later
//! Sessions and volumes that a person removes, whatever their age. Pinned sessions stay until they
//! are unpinned. The hold-off holds as for a prune.

use std::collections::{BTreeSet, HashMap};

use wyng_archive::format::VolumeEntry;
use wyng_archive::plan::retention::Candidate;
use wyng_control::{Failure, RemovedFor, SessionChoice, SessionFate};

use super::begin::{connect, heal, open};
use super::freed::find_freed;
use super::judge::candidates;
use super::plan::{Judged, JudgedVolume, PrunePlan, removed_of};
use super::run::carry_out;
use crate::archive::{Archive, session_name};
use crate::kept::kept_now;
use crate::pool::Pool;
use crate::state::Origins;
use crate::store::PackChanges;
use crate::world::{Files, Parts, Store, World};

/// Removes these sessions of a volume.
pub fn remove_sessions<P: Parts>(
    world: &mut World<P>,
    name: &str,
    volume: &str,
    choices: &[SessionChoice],
    dry_run: bool,
) -> Result<(), Failure> {
    remove(world, name, dry_run, &mut |files, archive| {
        let (number, entry) = find(files, archive, volume)?;
        let mut indices = BTreeSet::new();
        for choice in choices {
            indices.insert(archive.choose_numbered(files, &entry, choice)?.0);
        }
        judge_by_hand(files, archive, (number, entry), Some(&indices))
    })
}

/// Removes a volume with all of its sessions.
pub fn remove_volume<P: Parts>(
    world: &mut World<P>,
    name: &str,
    volume: &str,
    dry_run: bool,
) -> Result<(), Failure> {
    remove(world, name, dry_run, &mut |files, archive| {
        let found = find(files, archive, volume)?;
        judge_by_hand(files, archive, found, None)
    })?;
    if dry_run {
        return Ok(());
    }
    let mut archive = open(world, name)?;
    forget_origin(&mut world.files, &mut archive, volume)
}

/// Carries out a person's removal from the volume that they named.
type Judge<'a, F> = dyn FnMut(&mut F, &mut Archive) -> Result<JudgedVolume, Failure> + 'a;

fn remove<P: Parts>(
    world: &mut World<P>,
    name: &str,
    dry_run: bool,
    judge: &mut Judge<'_, P::Files>,
) -> Result<(), Failure> {
    let mut archive = open(world, name)?;
    if !dry_run {
        connect(world, &mut archive)?;
    }
    // Refused before anything changes.
    judge(&mut world.files, &mut archive)?;
    let mut pool = Pool::new(0, 0)?;
    let healing: PackChanges = heal(world, &mut archive, &mut pool, dry_run)?;
    let volumes = vec![judge(&mut world.files, &mut archive)?];
    let now_kept_secs = kept_now(&mut world.files, &mut world.clock, &mut archive)?;
    let freed = find_freed(
        &mut world.files,
        &mut world.client,
        &mut archive,
        (&removed_of(&volumes), &healing),
        now_kept_secs,
    )?;
    let plan = PrunePlan { volumes, freed };
    carry_out(world, &mut archive, &mut pool, plan, dry_run)?;
    if dry_run {
        Ok(())
    } else {
        world.store.finish_push()
    }
}

/// Removes the sessions at these indices, or the whole volume. [`Failure::SessionPinned`] if one of
/// them is pinned.
fn judge_by_hand(
    files: &mut impl Files,
    archive: &mut Archive,
    (number, entry): (u64, VolumeEntry),
    indices: Option<&BTreeSet<u64>>,
) -> Result<JudgedVolume, Failure> {
    let sessions = match archive.numbered_sessions(files, &entry) {
        // The volume goes even if its session table is lost.
        Err(Failure::SessionsLost { .. }) if indices.is_none() => Vec::new(),
        sessions => sessions?,
    };
    let candidates = candidates(files, archive, &sessions, &mut HashMap::new())?;
    let is_removed = |index: u64| indices.is_none_or(|indices| indices.contains(&index));
    let newest = candidates.last().map(|candidate| candidate.number);
    let stays_sound = |candidate: &Candidate| !candidate.damaged && !is_removed(candidate.number);
    let no_sound_stays = !candidates.iter().any(stays_sound);
    let newest_sound = candidates.iter().rfind(|candidate| !candidate.damaged);
    let newest_sound = newest_sound.map(|candidate| candidate.number);
    let mut judged = Vec::new();
    for (index, session) in sessions {
        let mut fate = SessionFate::Kept(Vec::new());
        if is_removed(index) {
            if session.pinned {
                return Err(Failure::SessionPinned {
                    volume: entry.name,
                    session: session_name(session.time),
                });
            }
            fate = SessionFate::Removed(RemovedFor::Asked {
                newest: newest == Some(index),
                last_sound: no_sound_stays && newest_sound == Some(index),
            });
        }
        judged.push(Judged {
            index,
            session,
            fate,
        });
    }
    Ok(JudgedVolume {
        number,
        entry,
        sessions: judged,
        is_removed: indices.is_none(),
    })
}

fn find(
    files: &mut impl Files,
    archive: &mut Archive,
    name: &str,
) -> Result<(u64, VolumeEntry), Failure> {
    archive
        .volumes(files)?
        .into_iter()
        .find(|(_, volume)| volume.name == name)
        .ok_or_else(|| Failure::UnknownVolume {
            volume: name.to_owned(),
        })
}

/// Forgets where a removed volume was backed up from: another volume may have its name.
fn forget_origin(
    files: &mut impl Files,
    archive: &mut Archive,
    volume: &str,
) -> Result<(), Failure> {
    let mut origins = Origins::read(files, &archive.folder)?;
    origins.forget(volume);
    origins.write(files, &archive.folder)
}
