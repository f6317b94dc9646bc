// SPDX-License-Identifier: GPL-3.0-or-later
//! The class of a qube.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::form::is_word;

/// The class of a qube, as Qubes OS calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// dom0.
    Admin,
    /// A template.
    Template,
    /// A qube over a template.
    App,
    /// A qube with a root volume of its own.
    Standalone,
    /// A disposable; one that a person named stays.
    Disposable,
    /// A qube of another machine; it has no volumes here.
    Remote,
    /// A class of a later release: 1 to 64 letters and digits.
    Other(String),
}

impl Class {
    /// The class with this name; `None` where it is no word of 1 to 64 letters and digits.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "AdminVM" => Self::Admin,
            "TemplateVM" => Self::Template,
            "AppVM" => Self::App,
            "StandaloneVM" => Self::Standalone,
            "DispVM" => Self::Disposable,
            "RemoteVM" => Self::Remote,
            other if is_word(other) => Self::Other(other.to_owned()),
            _ => return None,
        })
    }

    /// Its name in Qubes OS.
    pub fn name(&self) -> &str {
        match self {
            Self::Admin => "AdminVM",
            Self::Template => "TemplateVM",
            Self::App => "AppVM",
            Self::Standalone => "StandaloneVM",
            Self::Disposable => "DispVM",
            Self::Remote => "RemoteVM",
            Self::Other(name) => name,
        }
    }

    /// Whether qubes of this class are made over a template.
    pub fn has_template(&self) -> bool {
        matches!(self, Self::App | Self::Disposable)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Self::of(&name).ok_or_else(|| de::Error::custom("it is not a class"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_known_by_its_name() {
        for name in [
            "AdminVM",
            "TemplateVM",
            "AppVM",
            "StandaloneVM",
            "DispVM",
            "RemoteVM",
            "X1",
        ] {
            assert_eq!(Class::of(name).unwrap().name(), name);
        }
        for name in ["", "App VM", "App/VM", "App\n"] {
            assert_eq!(Class::of(name), None, "{name:?}");
        }
    }
}
