// SPDX-License-Identifier: GPL-3.0-or-later
//! A setting that a restore in place changes: what it was and what it becomes, so that it can be
//! put back, unless a person has changed it since.

use serde::{Deserialize, Serialize};

use super::super::line::Setting;
use super::super::step::Step;
use crate::form::{is_property_name, is_volume_name};
use crate::record::QubeRecord;

const LABEL: &str = "label";
const TEMPLATE: &str = "template";
const TRUE: &str = "True";
const FALSE: &str = "False";

/// A setting that can be changed in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// A property.
    Property(String),
    /// The rules of the firewall, one in each line.
    Firewall,
    /// The notes.
    Notes,
    /// The length of a volume, bytes.
    Size(String),
    /// Whether the qube may write to a volume.
    Writable(String),
    /// The number of older states of a volume.
    Revisions(String),
}

/// One change of a setting. `None` is what the system has by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The setting.
    pub field: Field,
    /// Its value before the restore.
    pub before: Option<String>,
    /// The value that the restore sets.
    pub after: Option<String>,
}

/// What is done about one change that is to be put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// This is sent.
    Step(Step),
    /// Somebody has changed it since: it stays.
    Changed(Field),
    /// Qubes OS takes no such value back.
    Cannot(Field),
}

impl Field {
    /// The value in a record.
    pub fn value(&self, record: &QubeRecord) -> Option<String> {
        let volume = |name: &String| record.volumes.get(name);
        match self {
            Self::Property(name) if name == LABEL => Some(record.label.name.clone()),
            Self::Property(name) if name == TEMPLATE => record.template.clone(),
            Self::Property(name) => Some(record.properties.get(name)?.value.clone()),
            Self::Firewall => Some(record.firewall.join("\n")),
            Self::Notes => Some(record.notes.clone()),
            Self::Size(name) => Some(volume(name)?.size.to_string()),
            Self::Writable(name) => {
                let word = if volume(name)?.rw { TRUE } else { FALSE };
                Some(word.to_owned())
            }
            Self::Revisions(name) => Some(volume(name)?.revisions_to_keep.to_string()),
        }
    }

    /// The step that gives it a value; `None` where Qubes OS takes no such value.
    pub fn step(&self, qube: &str, value: Option<&str>) -> Option<Step> {
        let qube = qube.to_owned();
        let step = match (self, value) {
            (Self::Property(property), Some(value)) => Step::SetProperty {
                qube,
                property: property.clone(),
                value: value.to_owned(),
            },
            (Self::Property(property), None) => Step::ResetProperty {
                qube,
                property: property.clone(),
            },
            (Self::Firewall, Some(rules)) if !rules.is_empty() => Step::SetFirewall {
                qube,
                rules: rules.split('\n').map(str::to_owned).collect(),
            },
            (Self::Notes, Some(text)) if !text.is_empty() => Step::SetNotes {
                qube,
                text: text.to_owned(),
            },
            (Self::Size(volume), Some(bytes)) => Step::Resize {
                qube,
                volume: volume.clone(),
                size_bytes: bytes.parse().ok()?,
            },
            (Self::Writable(volume), Some(TRUE)) => Step::SetWritable {
                qube,
                volume: volume.clone(),
            },
            (Self::Writable(volume), Some(FALSE)) => Step::SetReadOnly {
                qube,
                volume: volume.clone(),
            },
            (Self::Revisions(volume), Some(count)) => Step::SetRevisions {
                qube,
                volume: volume.clone(),
                count: count.parse().ok()?,
            },
            _ => return None,
        };
        step.request().is_ok().then_some(step)
    }

    /// The setting, for a sentence.
    pub fn setting(&self) -> Setting {
        let of_volume = |volume: &String, what| Setting::Volume(volume.clone(), what);
        match self {
            Self::Property(name) => Setting::Property(name.clone()),
            Self::Firewall => Setting::Firewall,
            Self::Notes => Setting::Notes,
            Self::Size(volume) => of_volume(volume, "size"),
            Self::Writable(volume) => of_volume(volume, "rw"),
            Self::Revisions(volume) => of_volume(volume, "revisions_to_keep"),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Property(name) => is_property_name(name),
            Self::Firewall | Self::Notes => true,
            Self::Size(name) | Self::Writable(name) | Self::Revisions(name) => is_volume_name(name),
        }
    }
}

impl Change {
    /// The change that gives a setting the value; `None` if it has it, or cannot be given it.
    pub(super) fn to(
        field: Field,
        (name, present): (&str, &QubeRecord),
        after: Option<String>,
    ) -> Option<Self> {
        let before = field.value(present);
        if before == after {
            return None;
        }
        field.step(name, after.as_deref())?;
        Some(Self {
            field,
            before,
            after,
        })
    }
}

/// What puts changes back, the last first. What has neither its old value nor the one that the
/// restore set stays as it is.
pub fn back(changes: &[Change], qube: &str, now: &QubeRecord) -> Vec<Back> {
    let undo = |change: &Change| {
        let value = change.field.value(now);
        if value == change.before {
            return None;
        }
        Some(if value != change.after {
            Back::Changed(change.field.clone())
        } else {
            match change.field.step(qube, change.before.as_deref()) {
                Some(step) => Back::Step(step),
                None => Back::Cannot(change.field.clone()),
            }
        })
    };
    changes.iter().rev().filter_map(undo).collect()
}
