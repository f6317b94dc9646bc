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
    /// The one qube is changed where it is.
    pub in_place: bool,
}

/// How a restore in place ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum InPlaceEnd {
    /// What was there before is given up.
    Accept,
    /// What was there before is put back.
    Undo,
}

/// A qube of which what it was before a restore in place is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeptQube {
    /// Its name then.
    pub qube: String,
    /// Its uuid.
    pub uuid: String,
}

/// What was done with a qube.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum QubeDeed {
    /// It was made.
    Made,
    /// It was changed in place.
    InPlace,
    /// What it was before a restore in place was given up.
    Accepted,
    /// It became again what it was before a restore in place.
    Undone,
}

impl QubeDeed {
    /// A short word for scripts, stable over versions.
    pub fn code(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::InPlace => "in-place",
            Self::Accepted => "accepted",
            Self::Undone => "undone",
        }
    }

    /// The end of a line about the qube.
    pub fn word(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::InPlace => "restored in place",
            Self::Accepted => "accepted",
            Self::Undone => "undone",
        }
    }
}

/// A volume of a qube in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ArchivedVolume {
    /// Its name in the qube.
    pub name: String,
    /// The number of its target.
    pub item: u32,
    /// Its length, bytes.
    pub size_bytes: u64,
    /// Bytes of it that are not holes.
    pub data_bytes: u64,
}

/// What became of a qube.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RestoredQube {
    /// The qube as the archive has it.
    pub qube: String,
    /// The name that it got here.
    pub name: String,
    /// What was done, or tried.
    pub deed: QubeDeed,
    /// The uuid that it has here; `None` if that was not done.
    pub uuid: Option<String>,
    /// Its next backup continues the history of the qube in the archive.
    pub continues: bool,
    /// What could not be set, at most 100 sentences without an end: `netvm: qubesd answers …`.
    pub unset: Vec<String>,
}
