// SPDX-License-Identifier: GPL-3.0-or-later
//! The lines of a plan of a restore in place. Every text of a record is shown through [`Shown`].

use std::fmt;

use super::super::line::Setting;
use super::change::{Change, Field};
use crate::shown::Shown;

/// One line. `qube` is the name of the qube that is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what the variant names")]
pub enum InPlaceLine {
    /// It becomes what the archive's qube was.
    Changed { qube: String, archived: String },
    /// A volume becomes what it was.
    Volume {
        qube: String,
        volume: String,
        here_bytes: u64,
        size_bytes: u64,
    },
    /// A volume of the archive is none that can be restored in place.
    NoVolume { qube: String, volume: String },
    /// The archive has no session of a volume.
    NoSession { qube: String, volume: String },
    /// A setting changes.
    Setting { qube: String, change: Change },
    /// A setting that differs stays as it is.
    Stays {
        qube: String,
        setting: Setting,
        why: Stays,
    },
    /// A label is made.
    LabelMade { label: String },
    /// How to go back.
    Kept { qube: String },
}

/// Why a setting that differs stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// It gives power, or is of this machine.
    Power,
    /// It is out of bounds.
    OutOfBounds,
    /// Qubes OS takes no such value.
    NotTaken,
    /// It names a qube that is not here.
    Missing,
    /// It would be lowered, and what is kept would be lost.
    Lowered,
}

impl fmt::Display for InPlaceLine {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| Shown::of(text);
        match self {
            Self::Changed { qube, archived } => {
                let (qube, archived) = (shown(qube), shown(archived));
                write!(
                    to,
                    "{qube}: is changed in place, and becomes {archived} of the archive; \
                     prohibit-start keeps it from starting meanwhile"
                )
            }
            Self::Volume {
                qube,
                volume,
                here_bytes,
                size_bytes,
            } => {
                let (qube, volume) = (shown(qube), shown(volume));
                write!(
                    to,
                    "{qube}: volume {volume} is overwritten: {here_bytes} bytes become {size_bytes}"
                )
            }
            Self::NoVolume { qube, volume } => {
                let (qube, volume) = (shown(qube), shown(volume));
                write!(
                    to,
                    "{qube}: volume {volume} is left out: restore it to a file"
                )
            }
            Self::NoSession { qube, volume } => {
                let (qube, volume) = (shown(qube), shown(volume));
                write!(to, "{qube}: volume {volume} stays: it has no such session")
            }
            Self::Setting { qube, change } => {
                let qube = shown(qube);
                let setting = change.field.setting();
                let (before, after) = (value(change, false), value(change, true));
                write!(to, "{qube}: {setting}: {before} becomes {after}")
            }
            Self::Stays { qube, setting, why } => {
                write!(to, "{}: {setting} differs, and stays: {why}", shown(qube))
            }
            Self::LabelMade { label } => write!(to, "label {}: is made", shown(label)),
            Self::Kept { qube } => {
                let qube = shown(qube);
                write!(
                    to,
                    "{qube}: what it is now is kept for 14 days: `restore ARCHIVE --undo --qube \
                     {qube}` puts it back, --accept gives it up"
                )
            }
        }
    }
}

/// A value of a change in words.
fn value(change: &Change, is_after: bool) -> String {
    let value = match is_after {
        true => &change.after,
        false => &change.before,
    };
    match (&change.field, value) {
        (_, None) => "the default".into(),
        (Field::Property(_), Some(value)) if value.is_empty() => "none".into(),
        (Field::Notes, Some(text)) => format!("a text of {} bytes", text.len()),
        (Field::Firewall, Some(rules)) => {
            let other = match is_after {
                true => &change.before,
                false => &change.after,
            };
            let other: Vec<&str> = other.as_deref().unwrap_or_default().split('\n').collect();
            let mut own = rules.split('\n').filter(|rule| !other.contains(rule));
            match own.next() {
                Some(first) => {
                    let more = own.count();
                    let first = Shown::of(first);
                    match more {
                        0 => format!("[{first}]"),
                        more => format!("[{first} and {more} more]"),
                    }
                }
                None => "the same rules in another order or number".into(),
            }
        }
        (_, Some(value)) => Shown::of(value).to_string(),
    }
}

impl fmt::Display for Stays {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Power => "it is not changed in place",
            Self::OutOfBounds => "the archive's is out of bounds",
            Self::NotTaken => "Qubes OS does not take the archive's",
            Self::Missing => "the archive's names a qube that is not here",
            Self::Lowered => "older states would be lost",
        })
    }
}
