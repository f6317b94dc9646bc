// SPDX-License-Identifier: GPL-3.0-or-later
//! The lines of a plan. Every text of a record or of this machine is shown through [`Shown`].

use std::fmt;

use super::fate::WhyNot;
use crate::class::Class;
use crate::shown::Shown;

/// One line of a plan. `qube` is the name in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what the variant names")]
pub enum Line {
    /// It is made under its name.
    Made {
        qube: String,
        class: Class,
        template: Option<String>,
    },
    /// It is made under the name that was asked for.
    MadeAs { qube: String, name: String },
    /// Its name is taken here, so it is made under another.
    Renamed { qube: String, name: String },
    /// It is here, and is used as it is.
    AlreadyHere { qube: String },
    /// It is not restored.
    NotRestored { qube: String, why: WhyNot },
    /// Something that it needs is not here.
    Missing {
        qube: String,
        need: Need,
        name: String,
        instead: Instead,
    },
    /// A setting is left out.
    LeftOut {
        qube: String,
        setting: Setting,
        why: WhyLeft,
    },
    /// A default is another here, so the recorded value is set.
    SetExplicitly {
        qube: String,
        property: String,
        here: Option<String>,
        set: Option<String>,
    },
    /// Its firewall has no rules, which drops everything; a rule that does is set.
    FirewallDrops { qube: String },
    /// Net qubes that wait for one another; it gets no network.
    NetCircle { qube: String },
    /// It gets no network, because its firewall cannot be restored.
    CutOffWithoutFirewall { qube: String },
    /// It gets no network, because only its data is restored.
    CutOffWithoutSettings { qube: String },
    /// Its settings are not restored, except for what it takes to make it.
    DataOnly { qube: String },
    /// Its volumes are those of a new qube.
    SettingsOnly { qube: String },
    /// A label is made.
    LabelMade { label: String },
    /// Volumes that are imported.
    Imports {
        qube: String,
        volume: String,
        size_bytes: u64,
    },
    /// The policy speaks of it.
    InPolicy {
        qube: String,
        word: String,
        file: String,
        line: usize,
    },
    /// A part of the policy cannot be read, so that it may speak of any qube.
    PolicyNotRead { path: String, why: String },
    /// New qubes are guarded by a feature, because the tag would give a qube power over them.
    GuardedByFeature { restorer: String },
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A net qube.
    NetQube,
    /// Another qube, of this property.
    Qube(&'static str),
    /// A pool.
    Pool,
    /// A kernel.
    Kernel,
    /// A kernel that was the default where the qube was.
    DefaultKernel,
    /// The session of a volume.
    Volume,
}

/// What is there in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instead {
    /// Nothing: the property is set to none.
    None,
    /// The pool in which volumes are made here.
    DefaultPool(String),
    /// What this machine has by default.
    Default,
    /// An empty volume.
    Empty,
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// A property.
    Property(String),
    /// A feature.
    Feature(String),
    /// A tag.
    Tag(String),
    /// The firewall.
    Firewall,
    /// The notes.
    Notes,
    /// A device: its class and where it is.
    Device(String),
    /// A setting of a volume.
    Volume(String, &'static str),
}

/// Why a setting is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyLeft {
    /// It is applied with `--trust-settings` only.
    Untrusted,
    /// It is never restored.
    Never,
    /// It is out of bounds.
    OutOfBounds,
    /// qubesd takes no such text.
    NotTaken,
    /// It names a qube that is not here.
    Missing,
    /// A person attaches devices.
    ByHand,
    /// The class of devices is not known here.
    UnknownClass,
    /// qubesd makes volumes of its own names only.
    NoSuchVolume,
}

impl Line {
    /// What is said of a qube whose name is all that the line holds.
    fn phrase(&self) -> &'static str {
        match self {
            Self::FirewallDrops { .. } => {
                "firewall without rules is set as one that drops everything"
            }
            Self::NetCircle { .. } => "gets no network, because its net qubes form a circle",
            Self::CutOffWithoutFirewall { .. } => {
                "gets no network, because its firewall cannot be restored"
            }
            Self::CutOffWithoutSettings { .. } => "gets no network with its data alone",
            Self::DataOnly { .. } => "settings are not restored",
            Self::SettingsOnly { .. } => "volumes stay empty",
            _ => "",
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| Shown::of(text);
        match self {
            Self::Made {
                qube,
                class,
                template: None,
            } => {
                write!(to, "{}: is created ({class})", shown(qube))
            }
            Self::Made {
                qube,
                class,
                template: Some(template),
            } => {
                let (qube, template) = (shown(qube), shown(template));
                write!(to, "{qube}: is created ({class}, template {template})")
            }
            Self::MadeAs { qube, name } => {
                write!(to, "{}: is created as {}", shown(qube), shown(name))
            }
            Self::Renamed { qube, name } => {
                let (qube, name) = (shown(qube), shown(name));
                write!(
                    to,
                    "{qube}: its name is taken here, and it is created as {name}"
                )
            }
            Self::AlreadyHere { qube } => {
                write!(to, "{}: is here already, and is used as it is", shown(qube))
            }
            Self::NotRestored { qube, why } => {
                write!(to, "{}: is not restored: {why}", shown(qube))
            }
            Self::Missing {
                qube,
                need,
                name,
                instead,
            } => {
                let (qube, name) = (shown(qube), shown(name));
                write!(to, "{qube}: {need} {name} is missing: {instead}")
            }
            Self::LeftOut { qube, setting, why } => {
                write!(to, "{}: {setting} is left out: {why}", shown(qube))
            }
            Self::SetExplicitly {
                qube,
                property,
                here,
                set,
            } => {
                let (qube, property) = (shown(qube), shown(property));
                let (here, set) = (or_none(here.as_deref()), or_none(set.as_deref()));
                write!(
                    to,
                    "{qube}: {property} is {here} by default here, and is set to {set}"
                )
            }
            Self::FirewallDrops { qube }
            | Self::NetCircle { qube }
            | Self::CutOffWithoutFirewall { qube }
            | Self::CutOffWithoutSettings { qube }
            | Self::DataOnly { qube }
            | Self::SettingsOnly { qube } => write!(to, "{}: {}", shown(qube), self.phrase()),
            Self::LabelMade { label } => write!(to, "label {}: is made", shown(label)),
            Self::Imports {
                qube,
                volume,
                size_bytes,
            } => {
                let (qube, volume) = (shown(qube), shown(volume));
                write!(
                    to,
                    "{qube}: volume {volume} is restored, {size_bytes} bytes"
                )
            }
            Self::InPolicy {
                qube,
                word,
                file,
                line,
            } => {
                let (qube, word, file) = (shown(qube), shown(word), shown(file));
                write!(
                    to,
                    "{qube}: the policy speaks of {word} in {file}, line {line}"
                )
            }
            Self::PolicyNotRead { path, why } => fmt_unread(to, path, why),
            Self::GuardedByFeature { restorer } => {
                let restorer = shown(restorer);
                write!(
                    to,
                    "new qubes are guarded by prohibit-start: the tag would give {restorer} power over them"
                )
            }
        }
    }
}

fn fmt_unread(to: &mut fmt::Formatter<'_>, path: &str, why: &str) -> fmt::Result {
    let (path, why) = (Shown::of(path), Shown::of(why));
    write!(
        to,
        "policy: {path} is not read, and may speak of any of these qubes: {why}"
    )
}

impl fmt::Display for Need {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetQube => to.write_str("the net qube"),
            Self::Qube(property) => write!(to, "the {property}"),
            Self::Pool => to.write_str("the pool"),
            Self::Kernel => to.write_str("the kernel"),
            Self::DefaultKernel => to.write_str("the default kernel"),
            Self::Volume => to.write_str("the session of volume"),
        }
    }
}

impl fmt::Display for Instead {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => to.write_str("it is set to none"),
            Self::DefaultPool(pool) => write!(to, "{} is used", Shown::of(pool)),
            Self::Default => to.write_str("the default of this machine is used"),
            Self::Empty => to.write_str("it stays empty"),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Property(name) => write!(to, "property {}", Shown::of(name)),
            Self::Feature(name) => write!(to, "feature {}", Shown::of(name)),
            Self::Tag(name) => write!(to, "tag {}", Shown::of(name)),
            Self::Firewall => to.write_str("firewall"),
            Self::Notes => to.write_str("notes"),
            Self::Device(device) => write!(to, "device {}", Shown::of(device)),
            Self::Volume(volume, what) => write!(to, "{what} of volume {}", Shown::of(volume)),
        }
    }
}

impl fmt::Display for WhyLeft {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Untrusted => "--trust-settings applies it",
            Self::Never => "it is never restored",
            Self::OutOfBounds => "it is out of bounds",
            Self::NotTaken => "Qubes OS does not take it",
            Self::Missing => "it names a qube that is not here",
            Self::ByHand => "attach it by hand",
            Self::UnknownClass => "this release has no such devices",
            Self::NoSuchVolume => "Qubes OS makes no such volume; restore it to a file",
        })
    }
}

fn or_none(value: Option<&str>) -> Shown {
    Shown::of(value.unwrap_or("none"))
}
