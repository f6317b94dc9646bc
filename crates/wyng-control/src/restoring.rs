// SPDX-License-Identifier: GPL-3.0-or-later
//! Qubes in a restore: what a person asks for, and what became of each qube. Nothing of a record is
//! here: what it says reaches a person as the lines of a plan, which are escaped where they are
//! made.

use bincode::{Decode, Encode};

/// Maximum length of the lines of a plan in one message, bytes.
pub const PLAN_PAGE_MAX_BYTES: usize = 16 * 1024;

/// Which parts of a qube are restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub enum QubeParts {
    /// Settings and volumes.
    #[default]
    Both,
    /// Settings: the volumes are those of a new qube.
    SettingsOnly,
    /// Volumes: of the settings only what it takes to make the qube. It gets no network.
    DataOnly,
}

/// What a restore of qubes is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct QubesWish {
    /// The qubes, each as the archive has it before the colon of `QUBE:settings`; empty: all.
    pub qubes: Vec<String>,
    /// The name that the one qube gets.
    pub new_name: Option<String>,
    /// Which parts of them.
    pub parts: QubeParts,
    /// Also the templates, net qubes and disposable templates that they need and that are not here.
    pub with_needs: bool,
    /// Applies settings that a plan otherwise leaves out.
    pub trust_settings: bool,
    /// A person accepts that nothing proves who wrote the archive.
    pub unproven: bool,
    /// A person reads the plan and is asked.
    pub attended: bool,
}

/// What became of a qube.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RestoredQube {
    /// The qube as the archive has it.
    pub qube: String,
    /// The name that it got here.
    pub name: String,
    /// The uuid that it got here; `None` if it was not made, or was removed again.
    pub uuid: Option<String>,
    /// Its next backup continues the history of the qube in the archive.
    pub continues: bool,
    /// What could not be set, at most 100 sentences without an end: `netvm: qubesd answers …`.
    pub unset: Vec<String>,
}
