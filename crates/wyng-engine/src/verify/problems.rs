// SPDX-License-Identifier: GPL-3.0-or-later
//! Reports what a verify found, each problem with the sessions that need the object; damage that a
//! person has acknowledged is shown on, and is no failure.

use std::collections::{BTreeSet, HashMap, HashSet};

use wyng_archive::Class;
use wyng_archive::crypto::{Id, slot_name};
use wyng_archive::format::{PackState, VolumeEntry};
use wyng_control::{Failure, ObjectClass, Problem, ToClient};

use super::acknowledge::{is_acknowledged, is_list_acknowledged};
use super::findings::Found;
use super::scope::reached;
use crate::archive::{Archive, Packs, sessions_root, volume_and_session};
use crate::older::with_older;
use crate::outcome::class_of;
use crate::state::to_hex;
use crate::world::{Client, Files};

/// Maximum number of sessions that are named with a problem.
const NAMED_MAX: usize = 100;

/// Numbers of problems that were reported.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Reported {
    /// Problems that no person has acknowledged.
    pub new: u64,
    /// Problems that were acknowledged.
    pub acknowledged: u64,
}

impl Reported {
    /// Reports a problem and counts it.
    fn report(&mut self, client: &mut impl Client, problem: Problem) -> Result<(), Failure> {
        let count = if problem.acknowledged {
            &mut self.acknowledged
        } else {
            &mut self.new
        };
        *count = count.saturating_add(1);
        client.tell(ToClient::Problem(problem))
    }
}

/// The sessions that need an object.
#[derive(Default)]
struct Needs {
    sessions: BTreeSet<String>,
    /// Nobody has acknowledged yet, for at least one of the sessions, that it lacks what it lacks.
    is_new: bool,
}

/// Reports each problem with the sessions that need the object, and whether all of that was
/// acknowledged. What a pack that is marked lost already lacks is a problem only where a session
/// needs it: all else was sent again.
pub(super) fn report_problems(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    packs: &Packs,
    mut problems: Vec<Found>,
) -> Result<Reported, Failure> {
    let mut reported = Reported::default();
    if problems.is_empty() {
        return Ok(reported);
    }
    let needs = needs_of(files, client, archive, packs, &problems)?;
    problems.retain(|Found { damage, pack, .. }| {
        let was_lost = pack
            .and_then(|number| packs.get(&number))
            .is_some_and(|pack| pack.state == PackState::Lost);
        !was_lost
            || needs
                .get(&damage.object)
                .is_some_and(|needs| !needs.sessions.is_empty())
    });
    let seen = acknowledged_blobs(archive);
    for Found {
        damage, has_older, ..
    } in &problems
    {
        let needs = needs.get(&damage.object);
        let acknowledged = match damage.class {
            Class::Slot | Class::Commit => seen.contains(&damage.object),
            _ => needs.is_some_and(|needs| !needs.sessions.is_empty() && !needs.is_new),
        };
        let fault = damage.fault.to_string();
        let problem = Problem {
            object: to_hex(&damage.object),
            class: class_of(damage.class),
            problem: if *has_older {
                with_older(&fault)
            } else {
                fault
            },
            volumes: needs
                .map(|needs| needs.sessions.iter().take(NAMED_MAX).cloned().collect())
                .unwrap_or_default(),
            acknowledged,
        };
        reported.report(client, problem)?;
    }
    Ok(reported)
}

/// Names of the slots and commits whose damage was acknowledged.
fn acknowledged_blobs(archive: &Archive) -> HashSet<[u8; 32]> {
    let seen = &archive.ledger.acknowledged;
    let slots = archive
        .head
        .slots
        .iter()
        .filter(|slot| seen.has_slot(slot.number))
        .map(|slot| slot_name(slot.number));
    let commits = (1..=archive.head.generation).filter(|generation| seen.has_commit(*generation));
    slots
        .chain(commits.map(|generation| archive.credential.commit_name(generation)))
        .map(|name| name.0)
        .collect()
}

/// The sessions that need each of the objects in question, and have it nowhere else.
fn needs_of(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    packs: &Packs,
    problems: &[Found],
) -> Result<HashMap<[u8; 32], Needs>, Failure> {
    let mut needs: HashMap<[u8; 32], Needs> = problems
        .iter()
        .map(|found| (found.damage.object, Needs::default()))
        .collect();
    for (_, volume) in archive.volumes(files)? {
        for session in archive.sessions_at_hand(files, &volume)? {
            if client.cancelled() {
                return Err(Failure::Interrupted);
            }
            let is_new = !is_acknowledged(files, archive, &volume, &session)?;
            for id in reached(files, archive, &session)? {
                if archive.cache.index.find_sound(files, &id)?.is_some() {
                    continue;
                }
                let pack = archive
                    .cache
                    .index
                    .find(files, &id)?
                    .and_then(|location| packs.get(&location.pack).copied());
                let objects = [
                    Some(id.0),
                    pack.map(|pack| pack.name.0),
                    pack.map(|pack| pack.directory.0),
                ];
                for object in objects.into_iter().flatten() {
                    if let Some(needs) = needs.get_mut(&object) {
                        needs
                            .sessions
                            .insert(volume_and_session(&volume.name, &session));
                        needs.is_new |= is_new;
                    }
                }
            }
        }
    }
    Ok(needs)
}

/// Reports the volumes whose session table is lost.
pub(super) fn report_lost_lists(
    client: &mut impl Client,
    archive: &Archive,
    volumes: &[VolumeEntry],
) -> Result<Reported, Failure> {
    let mut reported = Reported::default();
    for volume in volumes {
        let root = sessions_root(volume).child.unwrap_or(Id::ZERO);
        let problem = Problem {
            object: to_hex(&root.0),
            class: ObjectClass::Node,
            problem: "it holds the list of the sessions, and is missing".into(),
            volumes: vec![volume.name.clone()],
            acknowledged: is_list_acknowledged(archive, volume),
        };
        reported.report(client, problem)?;
    }
    Ok(reported)
}

/// Reports the nodes of the key table that are lost, whichever sessions need their keys.
pub(super) fn report_lost_keys(
    client: &mut impl Client,
    archive: &Archive,
) -> Result<Reported, Failure> {
    let mut reported = Reported::default();
    for id in &archive.lost_keys.nodes {
        let problem = Problem {
            object: to_hex(&id.0),
            class: ObjectClass::Node,
            problem: "it holds a part of the key table, and is missing".into(),
            volumes: Vec::new(),
            acknowledged: false,
        };
        reported.report(client, problem)?;
    }
    Ok(reported)
}

/// Reports the newer generation that this machine passed over, until a person has it go on from
/// the older one.
pub(super) fn report_passed_over(
    client: &mut impl Client,
    archive: &Archive,
) -> Result<Reported, Failure> {
    let mut reported = Reported::default();
    let Some(passed) = archive.ledger.passed_over else {
        return Ok(reported);
    };
    let opened = archive.head.generation;
    let what = if passed.sound {
        "was passed over"
    } else {
        "is damaged"
    };
    let problem = Problem {
        object: to_hex(&archive.credential.commit_name(passed.newest).0),
        class: ObjectClass::Commit,
        problem: format!(
            "generation {} {what}, and the archive is open as generation {opened} left it",
            passed.newest
        ),
        volumes: Vec::new(),
        acknowledged: false,
    };
    reported.report(client, problem)?;
    Ok(reported)
}
