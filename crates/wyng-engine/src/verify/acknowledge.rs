// SPDX-License-Identifier: GPL-3.0-or-later
//! Damage that lasts, because no source has the lost chunks any more: a person says that it was
//! seen, and it is no failure from then on. It changes nothing in the store.

use std::collections::{BTreeSet, HashMap};

use wyng_archive::crypto::Id;
use wyng_archive::format::{PackState, SessionEntry, VolumeEntry};
use wyng_control::{ExitStatus, Failure, ToClient};

use crate::archive::{Archive, sessions_root, volume_and_session};
use crate::state::{Acknowledged, SessionKey};
use crate::store::{is_damaged, lacking_ids, packs_of, what_it_lacks};
use crate::world::{Client, Files, Parts, World};

/// Damage that this machine knows of.
#[derive(Default)]
pub(crate) struct KnownDamage {
    /// Number of damaged objects that nobody has acknowledged.
    pub new: u64,
    /// What was acknowledged, a description each.
    pub acknowledged: Vec<String>,
}

/// Acknowledges all damage that is known now, and reports what that is.
pub fn acknowledge<P: Parts>(world: &mut World<P>, name: &str) -> Result<ExitStatus, Failure> {
    let mut archive = Archive::open(&mut world.files, &mut world.secrets, name)?;
    archive.refuse_much_damage()?;
    let mut acknowledged = Acknowledged::default();
    let mut fits = true;
    let mut known = HashMap::new();
    for (_, volume) in archive.volumes(&mut world.files)? {
        let sessions = match archive.sessions(&mut world.files, &volume) {
            Err(Failure::SessionsLost { .. }) => {
                fits &= acknowledged.add_session(list_key(&volume), list_root(&volume));
                continue;
            }
            sessions => sessions?,
        };
        for session in sessions {
            if is_damaged(&mut world.files, &mut archive, &session, &mut known)?
                && let Some(lacks) = what_it_lacks(&mut world.files, &mut archive, &session)?
            {
                fits &= acknowledged.add_session(key(&volume, &session), lacks);
            }
        }
    }
    let damaged = archive
        .ledger
        .notes
        .damaged_commits(archive.head.generation);
    fits = damaged.into_iter().fold(fits, |fits, generation| {
        acknowledged.add_commit(generation) && fits
    });
    archive
        .ledger
        .notes
        .slots
        .iter()
        .for_each(|slot| acknowledged.add_slot(*slot));
    archive.ledger.acknowledged = acknowledged;
    archive.ledger.write(&mut world.files, &archive.folder)?;
    let known = known_damage(&mut world.files, &mut archive)?;
    report_acknowledged(&mut world.client, known.acknowledged)?;
    // Damage that did not fit stays a failure.
    if fits {
        Ok(ExitStatus::Done)
    } else {
        Err(Failure::ProblemsFound { count: known.new })
    }
}

/// Reports what was acknowledged, a line each.
pub(crate) fn report_acknowledged(
    client: &mut impl Client,
    acknowledged: Vec<String>,
) -> Result<(), Failure> {
    acknowledged
        .into_iter()
        .try_for_each(|what| client.tell(ToClient::Acknowledged { what }))
}

/// Finds sessions that need records of lost packs; lost packs that the next backup heals, because
/// this machine has their records; and commits and slots that are missing.
pub(crate) fn known_damage(
    files: &mut impl Files,
    archive: &mut Archive,
) -> Result<KnownDamage, Failure> {
    let mut damage = KnownDamage::default();
    let mut take = |seen: bool, what: String| {
        if seen {
            damage.acknowledged.push(what);
        } else {
            damage.new = damage.new.saturating_add(1);
        }
    };
    for slot in &archive.ledger.notes.slots {
        take(
            archive.ledger.acknowledged.has_slot(*slot),
            format!("slot {slot}"),
        );
    }
    for generation in archive
        .ledger
        .notes
        .damaged_commits(archive.head.generation)
    {
        take(
            archive.ledger.acknowledged.has_commit(generation),
            format!("commit {generation}"),
        );
    }
    let mut known: HashMap<Id, bool> = HashMap::new();
    let mut unexplained = newly_lost_packs(files, archive)?;
    for (_, volume) in archive.volumes(files)? {
        let sessions = match archive.sessions(files, &volume) {
            Err(Failure::SessionsLost { volume: name }) => {
                take(
                    is_list_acknowledged(archive, &volume),
                    format!("the list of the sessions of {name}"),
                );
                continue;
            }
            sessions => sessions?,
        };
        for session in sessions {
            if is_damaged(files, archive, &session, &mut known)? {
                take(
                    is_acknowledged(files, archive, &volume, &session)?,
                    volume_and_session(&volume.name, &session),
                );
                if !unexplained.is_empty() {
                    for id in lacking_ids(files, archive, &session)? {
                        if let Some(location) = archive.cache.index.find(files, &Id(id))? {
                            unexplained.remove(&location.pack);
                        }
                    }
                }
            }
        }
    }
    for number in unexplained {
        take(false, format!("pack {number}"));
    }
    Ok(damage)
}

/// The packs that were found lost since the last commit, which still counts them as live.
fn newly_lost_packs(
    files: &mut impl Files,
    archive: &mut Archive,
) -> Result<BTreeSet<u64>, Failure> {
    let mut lost = archive.ledger.notes.lost_packs();
    if !lost.is_empty() {
        let packs = packs_of(files, archive)?;
        lost.retain(|number| {
            packs
                .get(number)
                .is_some_and(|pack| pack.state == PackState::Live)
        });
    }
    Ok(lost)
}

/// Whether a person has acknowledged that the session lacks exactly what it lacks.
pub(crate) fn is_acknowledged(
    files: &mut impl Files,
    archive: &mut Archive,
    volume: &VolumeEntry,
    session: &SessionEntry,
) -> Result<bool, Failure> {
    let key = key(volume, session);
    if !archive.ledger.acknowledged.may_have_session(&key) {
        return Ok(false);
    }
    let lacks = what_it_lacks(files, archive, session)?;
    Ok(lacks.is_some_and(|lacks| archive.ledger.acknowledged.has_session(&key, &lacks)))
}

/// Whether a person has acknowledged that exactly this session table is lost.
pub(super) fn is_list_acknowledged(archive: &Archive, volume: &VolumeEntry) -> bool {
    archive
        .ledger
        .acknowledged
        .has_session(&list_key(volume), &list_root(volume))
}

/// Forgets what was acknowledged and is no damage any more: should it come again, it is new.
pub(super) fn forget_what_healed(
    files: &mut impl Files,
    archive: &mut Archive,
) -> Result<(), Failure> {
    if archive.ledger.acknowledged.is_empty() {
        return Ok(());
    }
    let mut left = Acknowledged::default();
    for (_, volume) in archive.volumes(files)? {
        let sessions = match archive.sessions(files, &volume) {
            Err(Failure::SessionsLost { .. }) => {
                if is_list_acknowledged(archive, &volume) {
                    left.add_session(list_key(&volume), list_root(&volume));
                }
                continue;
            }
            sessions => sessions?,
        };
        for session in sessions {
            if is_acknowledged(files, archive, &volume, &session)?
                && let Some(lacks) = what_it_lacks(files, archive, &session)?
            {
                left.add_session(key(&volume, &session), lacks);
            }
        }
    }
    let (noted, seen) = (&archive.ledger.notes, &archive.ledger.acknowledged);
    for generation in noted
        .damaged_commits(archive.head.generation)
        .into_iter()
        .filter(|generation| seen.has_commit(*generation))
    {
        left.add_commit(generation);
    }
    noted
        .slots
        .iter()
        .filter(|slot| seen.has_slot(**slot))
        .for_each(|slot| left.add_slot(*slot));
    if left == archive.ledger.acknowledged {
        return Ok(());
    }
    archive.ledger.acknowledged = left;
    archive.ledger.write(files, &archive.folder)
}

/// The key of a lost session table: generation 0, which no session has. What it lacks is the root
/// that the table had.
fn list_key(volume: &VolumeEntry) -> SessionKey {
    (volume.id, 0)
}

fn list_root(volume: &VolumeEntry) -> [u8; 32] {
    sessions_root(volume).child.unwrap_or(Id::ZERO).0
}

fn key(volume: &VolumeEntry, session: &SessionEntry) -> SessionKey {
    (volume.id, session.generation)
}
