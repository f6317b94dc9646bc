// SPDX-License-Identifier: GPL-3.0-or-later
//! The sessions of each volume as candidates, judged by the volume's rules. It removes nothing.

use std::collections::{BTreeMap, HashMap};

use wyng_archive::crypto::Id;
use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_archive::plan::retention::{Candidate, Fate, Policy, Reason, Removal, judge};
use wyng_control::{Failure, KeepReason, RemovedFor, SessionFate};

use super::plan::{Judged, JudgedVolume};
use super::request::{PruneRequest, policy_of};
use crate::archive::Archive;
use crate::store::is_damaged;
use crate::world::{Client, Files};

/// Volumes that could be judged, and the failures of those that could not.
pub(super) struct Judgement {
    /// Judged volumes, in the order of the volume table.
    pub volumes: Vec<JudgedVolume>,
    /// A volume whose session table is lost keeps everything.
    pub failed: Vec<Failure>,
}

/// Judges the requested volumes for which there is a rule. `now_kept_secs` is the chain's kept
/// clock. A damaged session fills no place of a rule, and goes by a person's word alone: a store
/// that hides a pack for a while must not have a timer remove the sessions that need it.
pub(super) fn judge_volumes(
    files: &mut impl Files,
    client: &mut impl Client,
    archive: &mut Archive,
    request: &PruneRequest,
    now_kept_secs: u64,
) -> Result<Judgement, Failure> {
    let (names, rules) = (&request.volumes, &request.rules);
    let all = archive.volumes(files)?;
    if let Some(unknown) = names
        .iter()
        .find(|name| all.iter().all(|(_, volume)| volume.name != **name))
    {
        return Err(Failure::UnknownVolume {
            volume: unknown.clone(),
        });
    }
    let (mut volumes, mut failed, mut known) = (Vec::new(), Vec::new(), HashMap::new());
    let minimum_age_secs = archive.head.settings.minimum_age_secs;
    for (number, entry) in all {
        if client.cancelled() {
            return Err(Failure::Interrupted);
        }
        let is_asked = names.is_empty() || names.contains(&entry.name);
        let policy = policy_of(rules, &entry.name, minimum_age_secs).filter(|_| is_asked);
        let Some(policy) = policy else { continue };
        let sessions = match archive.numbered_sessions(files, &entry) {
            Err(failure @ Failure::SessionsLost { .. }) => {
                failed.push(failure);
                continue;
            }
            sessions => sessions?,
        };
        let candidates = candidates(files, archive, &sessions, &mut known)?;
        let mut judged = judge_volume(
            (number, entry),
            sessions,
            &candidates,
            (&policy, now_kept_secs),
        );
        if request.unattended {
            keep_damaged(&mut judged);
        }
        volumes.push(judged);
    }
    Ok(Judgement { volumes, failed })
}

/// The sessions of a volume as the rules see them. `known` is kept from one volume to the next.
pub(super) fn candidates(
    files: &mut impl Files,
    archive: &mut Archive,
    sessions: &[(u64, SessionEntry)],
    known: &mut HashMap<Id, bool>,
) -> Result<Vec<Candidate>, Failure> {
    let candidate = |(number, session): &(u64, SessionEntry)| {
        Ok(Candidate {
            number: *number,
            wall_secs: session.time,
            kept_secs: session.kept_secs,
            tags: session.tags.clone(),
            pinned: session.pinned,
            damaged: is_damaged(files, archive, session, known)?,
        })
    };
    sessions.iter().map(candidate).collect()
}

fn judge_volume(
    (number, entry): (u64, VolumeEntry),
    sessions: Vec<(u64, SessionEntry)>,
    candidates: &[Candidate],
    (policy, now_kept_secs): (&Policy, u64),
) -> JudgedVolume {
    let mut fates: BTreeMap<u64, Fate> = judge(candidates, policy, now_kept_secs)
        .into_iter()
        .map(|verdict| (verdict.number, verdict.fate))
        .collect();
    let judged = |(index, session)| Judged {
        // A session without a verdict would be kept: nothing is removed on a guess.
        fate: fates
            .remove(&index)
            .map_or_else(|| SessionFate::Kept(Vec::new()), fate_of),
        index,
        session,
    };
    JudgedVolume {
        number,
        entry,
        sessions: sessions.into_iter().map(judged).collect(),
        is_removed: false,
    }
}

fn keep_damaged(volume: &mut JudgedVolume) {
    for session in &mut volume.sessions {
        if session.fate == SessionFate::Removed(RemovedFor::Damaged) {
            session.fate = SessionFate::Kept(vec![KeepReason::Damaged]);
        }
    }
}

fn fate_of(fate: Fate) -> SessionFate {
    match fate {
        Fate::Kept(reasons) => SessionFate::Kept(reasons.into_iter().map(reason_of).collect()),
        Fate::Removed(Removal::Damaged) => SessionFate::Removed(RemovedFor::Damaged),
        Fate::Removed(Removal::NoRule { .. }) => SessionFate::Removed(RemovedFor::NoRule),
    }
}

fn reason_of(reason: Reason) -> KeepReason {
    match reason {
        Reason::Newest => KeepReason::Newest,
        Reason::NewestSound => KeepReason::NewestSound,
        Reason::Pinned => KeepReason::Pinned,
        Reason::Young => KeepReason::Young,
        Reason::Tag(tag) => KeepReason::Tag(tag),
        Reason::Within => KeepReason::Within,
        Reason::Last => KeepReason::Last,
        Reason::Hourly => KeepReason::Hourly,
        Reason::Daily => KeepReason::Daily,
        Reason::Weekly => KeepReason::Weekly,
        Reason::Monthly => KeepReason::Monthly,
        Reason::Yearly => KeepReason::Yearly,
    }
}
