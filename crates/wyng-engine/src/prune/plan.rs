// SPDX-License-Identifier: GPL-3.0-or-later
//! The plan of a prune, as a value: a dry run reports it, and a run commits exactly that. It
//! decides nothing.

use wyng_archive::format::{SessionEntry, VolumeEntry};
use wyng_control::SessionFate;

use super::freed::{Freed, Removed};
use crate::store::EditedVolume;

/// A session and its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged {
    /// Its index in the volume's session table.
    pub index: u64,
    /// Its entry.
    pub session: SessionEntry,
    /// Its fate.
    pub fate: SessionFate,
}

impl Judged {
    fn is_removed(&self) -> bool {
        matches!(self.fate, SessionFate::Removed(_))
    }
}

/// A volume and the fates of its sessions, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JudgedVolume {
    /// Its number in the volume table.
    pub number: u64,
    /// Its entry.
    pub entry: VolumeEntry,
    /// All of its sessions.
    pub sessions: Vec<Judged>,
    /// The volume itself leaves the archive.
    pub is_removed: bool,
}

impl JudgedVolume {
    /// How the volume's entries change: `None` if they do not. The sizes of the tables never
    /// shrink, so that no number is given twice.
    fn edit(&self) -> Option<EditedVolume> {
        let removed: Vec<_> = self
            .sessions
            .iter()
            .filter(|judged| judged.is_removed())
            .map(|judged| (judged.index, None))
            .collect();
        if removed.is_empty() || self.is_removed {
            return None;
        }
        let newest = self.sessions.iter().rfind(|judged| !judged.is_removed());
        let mut entry = self.entry.clone();
        entry.size_bytes = newest.map_or(0, |judged| judged.session.size_bytes);
        Some(EditedVolume {
            number: self.number,
            entry,
            sessions: removed,
        })
    }
}

/// The sessions of these volumes that leave the archive.
pub(super) fn removed_of(volumes: &[JudgedVolume]) -> Removed {
    let of_volume = |volume: &JudgedVolume| {
        let id = volume.entry.id;
        let removed = volume.sessions.iter().filter(|judged| judged.is_removed());
        let times: Vec<i64> = removed.map(|judged| judged.session.time).collect();
        times.into_iter().map(move |time| (id, time))
    };
    volumes.iter().flat_map(of_volume).collect()
}

/// The plan of a prune.
#[derive(Debug)]
pub(super) struct PrunePlan {
    /// The volumes that were judged.
    pub volumes: Vec<JudgedVolume>,
    /// The packs that are given up.
    pub freed: Freed,
}

impl PrunePlan {
    /// How the volume table changes: edited volumes, and numbers of removed ones.
    pub(super) fn edits(&self) -> (Vec<EditedVolume>, Vec<u64>) {
        let edited = self.volumes.iter().filter_map(JudgedVolume::edit).collect();
        let removed = self.volumes.iter().filter(|volume| volume.is_removed);
        (edited, removed.map(|volume| volume.number).collect())
    }

    /// Whether a volume or a session is removed.
    pub(super) fn removes_any(&self) -> bool {
        let any = |volume: &JudgedVolume| volume.sessions.iter().any(Judged::is_removed);
        self.volumes
            .iter()
            .any(|volume| volume.is_removed || any(volume))
    }
}
