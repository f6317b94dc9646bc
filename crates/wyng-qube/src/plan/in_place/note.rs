// SPDX-License-Identifier: GPL-3.0-or-later
//! What is noted of restores in place, before anything is done: how far each is, what was there
//! before, and what is kept to go back to. JSON, bounded, and refused whole where it does not fit.

use serde::{Deserialize, Serialize};

use super::super::step::Nonce;
use super::change::Change;
use crate::form::{is_plain, is_qube_name, is_volume_name};
use crate::place::LVM_OTHERS;
use crate::uuid::QubeUuid;

/// Maximum length of all notes, bytes.
pub const NOTES_MAX_BYTES: usize = 8 << 20;
const VERSION: u32 = 1;
const NOTES_MAX: usize = 256;
const VOLUMES_MAX: usize = 64;
const CHANGES_MAX: usize = 256;
const FOLDER_MAX_BYTES: usize = 4096;
const LVM_NAME_MAX_BYTES: usize = 127;
/// Prefix of the volumes of qubes in a volume group.
const OF_QUBES: &str = "vm-";

/// How far a restore in place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InPlaceState {
    /// It is under way: left like this, everything is put back.
    Begun,
    /// It is being put back.
    Undoing,
    /// Everything is done, except that the guard goes.
    Whole,
    /// What was there before is kept until a person decides.
    Kept,
    /// What was there before is given up.
    Accepted,
}

/// A volume that is kept as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptVolume {
    /// Its name in the qube.
    pub volume: String,
    /// The folder of the pool of files that it lies in. It is compared with those of pools, and
    /// never opened as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_folder: Option<String>,
    /// The volume of a thin pool that it is. One of both is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thin: Option<ThinVolume>,
}

/// A volume of a qube in a thin pool, by its names. They are compared with what LVM lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThinVolume {
    /// The volume group.
    pub group: String,
    /// The pool in it.
    pub pool: String,
    /// The volume in it, `vm-QUBE-VOLUME`.
    pub name: String,
}

/// One restore in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InPlaceNote {
    /// The name of the qube.
    pub qube: String,
    /// Its uuid.
    pub uuid: String,
    /// The word that tells this restore from others.
    pub nonce: String,
    /// How far it is.
    pub state: InPlaceState,
    /// The value of `prohibit-start` before; `None` if it was not there.
    pub guard_before: Option<String>,
    /// The volumes that are kept.
    pub volumes: Vec<KeptVolume>,
    /// Those of them whose import was begun.
    pub touched: Vec<String>,
    /// The settings that are changed.
    pub changes: Vec<Change>,
}

/// All notes of one state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotesFile {
    version: u32,
    /// At most 256 notes.
    pub notes: Vec<InPlaceNote>,
}

/// Bytes that are no notes, or notes that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these are no notes of restores in place")]
pub struct BadNotes;

impl ThinVolume {
    fn is_sound(&self) -> bool {
        let names = [&self.group, &self.pool, &self.name];
        let is_name = |name: &&String| {
            is_plain(name, LVM_NAME_MAX_BYTES, LVM_OTHERS) && !name.starts_with('-')
        };
        names.iter().all(is_name) && self.name.starts_with(OF_QUBES)
    }
}

impl InPlaceNote {
    /// The uuid of the qube; `None` where a note is not sound.
    pub fn qube_uuid(&self) -> Option<QubeUuid> {
        self.uuid.parse().ok()
    }

    fn is_sound(&self) -> bool {
        let is_folder = |path: &str| path.len() <= FOLDER_MAX_BYTES && path.starts_with('/');
        let is_kept = |volume: &KeptVolume| {
            let is_placed = match (&volume.pool_folder, &volume.thin) {
                (Some(folder), None) => is_folder(folder),
                (None, Some(thin)) => thin.is_sound(),
                _ => false,
            };
            is_volume_name(&volume.volume) && is_placed
        };
        is_qube_name(&self.qube)
            && self.qube_uuid().is_some()
            && Nonce::of(&self.nonce).is_some()
            && self.volumes.len() <= VOLUMES_MAX
            && self.volumes.iter().all(is_kept)
            && self.touched.len() <= VOLUMES_MAX
            && self.touched.iter().all(|name| is_volume_name(name))
            && self.changes.len() <= CHANGES_MAX
            && self.changes.iter().all(|change| change.field.is_sound())
    }
}

impl NotesFile {
    /// The file with these notes.
    pub fn of(notes: Vec<InPlaceNote>) -> Self {
        Self {
            version: VERSION,
            notes,
        }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>, BadNotes> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|_| BadNotes)?;
        match self.is_sound() && bytes.len() <= NOTES_MAX_BYTES {
            true => Ok(bytes),
            false => Err(BadNotes),
        }
    }

    /// The file of these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadNotes> {
        if bytes.len() > NOTES_MAX_BYTES {
            return Err(BadNotes);
        }
        let file: Self = serde_json::from_slice(bytes).map_err(|_| BadNotes)?;
        if file.is_sound() {
            Ok(file)
        } else {
            Err(BadNotes)
        }
    }

    fn is_sound(&self) -> bool {
        self.version == VERSION
            && self.notes.len() <= NOTES_MAX
            && self.notes.iter().all(InPlaceNote::is_sound)
    }
}
