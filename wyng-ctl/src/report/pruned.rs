// SPDX-License-Identifier: GPL-3.0-or-later
//! The fates of sessions: in JSON, as rows of a table, and the line below it.

use serde::Serialize;
use wyng_control::{JudgedSession, KeepReason, PruneReport, RemovedFor, SessionFate, ToClient};

use super::table::{Cell, State};
use crate::plain::plain;
use crate::quantity::{session_name, show_bytes};

/// `prune`, `session remove`, `volume remove`, `pin` and `unpin`.
#[derive(Default, Serialize)]
pub(super) struct Pruned {
    pub(super) volumes: Vec<PrunedVolume>,
    #[serde(flatten)]
    totals: Option<Totals>,
    /// What was deleted of the packs that waited.
    #[serde(flatten)]
    deleted: Option<Deleted>,
}

#[derive(Serialize)]
struct Deleted {
    deleted_packs: u64,
    deleted_bytes: u64,
}

/// A volume with the fates of its sessions, oldest first.
#[derive(Serialize)]
pub(super) struct PrunedVolume {
    name: String,
    kept: Vec<KeptSession>,
    removed: Vec<String>,
    /// The removed sessions that were damaged.
    damaged: Vec<String>,
}

#[derive(Serialize)]
struct KeptSession {
    session: String,
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct Totals {
    dry_run: bool,
    freed_bytes: u64,
    waiting_bytes: u64,
    unknown_objects: u64,
}

impl Pruned {
    /// Whether nothing was pruned.
    pub(super) fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.totals.is_none()
    }

    /// Number of removed sessions.
    pub(super) fn removed_count(&self) -> usize {
        self.volumes
            .iter()
            .map(|volume| volume.removed.len())
            .fold(0, usize::saturating_add)
    }

    /// Takes one result.
    pub(super) fn take(&mut self, event: &ToClient) {
        match event {
            ToClient::Judged(judged) => self.add(judged),
            ToClient::Pruned(report) => {
                self.totals = Some(Totals {
                    dry_run: report.dry_run,
                    freed_bytes: report.freed_bytes,
                    waiting_bytes: report.waiting_bytes,
                    unknown_objects: report.unknown_objects,
                });
            }
            ToClient::Deleted(report) => {
                self.deleted = Some(Deleted {
                    deleted_packs: report.packs,
                    deleted_bytes: report.bytes,
                });
            }
            _ => {}
        }
    }

    fn add(&mut self, judged: &JudgedSession) {
        let is_last = |volume: &PrunedVolume| volume.name == judged.volume;
        if !self.volumes.last().is_some_and(is_last) {
            self.volumes.push(PrunedVolume {
                name: judged.volume.clone(),
                kept: Vec::new(),
                removed: Vec::new(),
                damaged: Vec::new(),
            });
        }
        let Some(volume) = self.volumes.last_mut() else {
            return;
        };
        let session = session_name(judged.session);
        match &judged.fate {
            SessionFate::Kept(reasons) => volume.kept.push(KeptSession {
                session,
                reasons: reasons.iter().map(word).collect(),
            }),
            SessionFate::Removed(why) => {
                if *why == RemovedFor::Damaged {
                    volume.damaged.push(session.clone());
                }
                volume.removed.push(session);
            }
        }
    }
}

/// The word for a reason, in JSON and for users.
fn word(reason: &KeepReason) -> String {
    match reason {
        KeepReason::Newest => "newest".into(),
        KeepReason::NewestSound => "newest-sound".into(),
        KeepReason::Damaged => "damaged".into(),
        KeepReason::Pinned => "pinned".into(),
        KeepReason::Young => "young".into(),
        KeepReason::Tag(tag) => format!("tag:{tag}"),
        KeepReason::Within => "within".into(),
        KeepReason::Last => "last".into(),
        KeepReason::Hourly => "hourly".into(),
        KeepReason::Daily => "daily".into(),
        KeepReason::Weekly => "weekly".into(),
        KeepReason::Monthly => "monthly".into(),
        KeepReason::Yearly => "yearly".into(),
    }
}

/// The row of a session: volume, session, fate, and reason.
pub(super) fn row(judged: &JudgedSession) -> [Cell; 4] {
    let (fate, why) = match &judged.fate {
        SessionFate::Kept(reasons) => {
            let words: Vec<String> = reasons.iter().map(word).collect();
            (Cell::from("keep".to_owned()), words.join(", "))
        }
        SessionFate::Removed(why) => {
            let why = match why {
                RemovedFor::Damaged => "damaged, and no rule counts it",
                RemovedFor::NoRule => "no rule keeps it",
                RemovedFor::Asked { newest: true, .. } => "asked for; it was the newest",
                RemovedFor::Asked {
                    last_sound: true, ..
                } => "asked for; it was the last sound one",
                RemovedFor::Asked { .. } => "asked for",
            };
            (Cell::new("remove".into(), State::Warning), why.to_owned())
        }
    };
    [
        plain(&judged.volume).into(),
        session_name(judged.session).into(),
        fate,
        plain(&why).into(),
    ]
}

/// The line below the table.
pub(super) fn summary(report: &PruneReport, removed: usize) -> String {
    let sessions = if removed == 1 { "session" } else { "sessions" };
    let (freed, waiting) = (
        show_bytes(report.freed_bytes),
        show_bytes(report.waiting_bytes),
    );
    let what = if report.dry_run {
        format!("{removed} {sessions} would be removed, {freed} given up")
    } else {
        format!("{removed} {sessions} removed, {freed} given up")
    };
    if report.unknown_objects > 0 {
        return format!(
            "{what}: parts of the archive are lost, and what they need is not known; run \
             `wyng-ctl backup` to heal them"
        );
    }
    format!("{what}; {waiting} in all are given up, and are deleted after their hold-off")
}

/// The question before sessions or a whole volume are removed by hand.
pub(crate) fn question(volume: &str, whole: bool, judged: &[JudgedSession]) -> String {
    let (mut count, mut newest, mut last_sound) = (0usize, false, false);
    for session in judged {
        if let SessionFate::Removed(why) = &session.fate {
            count = count.saturating_add(1);
            if let RemovedFor::Asked {
                newest: is_newest,
                last_sound: is_last_sound,
            } = why
            {
                newest |= *is_newest;
                last_sound |= *is_last_sound;
            }
        }
    }
    let volume = plain(volume);
    if whole {
        return format!("Remove volume {volume} with all of its sessions ({count})?");
    }
    let also = match (newest, last_sound) {
        (_, true) => ": no sound session is left",
        (true, false) => ", the newest included",
        (false, false) => "",
    };
    let sessions = if count == 1 { "session" } else { "sessions" };
    format!("Remove {count} {sessions} of volume {volume}{also}?")
}
