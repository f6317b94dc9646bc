// SPDX-License-Identifier: GPL-3.0-or-later
//! What a restore of qubes is asked for, and what the archive has.

use std::collections::BTreeMap;

use super::step::Nonce;
use crate::record::QubeRecord;
use crate::uuid::QubeUuid;

/// Which qubes are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Every qube of which there is a record.
    All,
    /// These, by the names in their records.
    Names(Vec<String>),
}

/// Which parts of a qube are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Settings and volumes.
    Both,
    /// Settings: the volumes are as a new qube has them.
    SettingsOnly,
    /// Volumes: of the settings only what it takes to make the qube. It has no network.
    DataOnly,
}

/// Whether what the archive says is known to be what this machine, or the recovery sheet, saw last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A ledger or the code of a recovery sheet shows it.
    Proven,
    /// Nothing shows it: whoever holds the credential could have written everything.
    Unproven,
    /// The same, and a person accepts it.
    UnprovenAccepted,
}

/// What a restore is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreWish {
    /// The qubes.
    pub asked: Asked,
    /// The name that the one asked qube gets.
    pub new_name: Option<String>,
    /// Which parts of them.
    pub parts: Parts,
    /// Also the templates, net qubes and disposable templates that they need and that are not here.
    pub with_needs: bool,
    /// Apply what the plan would otherwise leave out.
    pub trust_settings: bool,
    /// Whether a person reads and confirms the plan.
    pub is_attended: bool,
    /// Whether the history is proven.
    pub proof: Proof,
    /// The mark of this restore.
    pub nonce: Nonce,
}

/// What the archive has of one qube in the chosen sessions.
#[derive(Debug, Clone)]
pub struct Archived {
    /// Its settings record.
    pub record: QubeRecord,
    /// The volumes of which there is a session, with their lengths in bytes.
    pub volumes: BTreeMap<String, u64>,
    /// Bytes of these volumes that are not holes.
    pub data_bytes: BTreeMap<String, u64>,
    /// The uuid that this machine's state notes for it.
    pub uuid: Option<QubeUuid>,
    /// A qube with that uuid is here, under whatever name.
    pub is_here: bool,
}
