// SPDX-License-Identifier: GPL-3.0-or-later
//! The driver of a pool of Qubes OS: it decides how the bytes of a volume are kept.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::form::{NAME_MAX_BYTES, is_plain};

/// The driver of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Driver {
    /// Volumes of an LVM thin pool.
    LvmThin,
    /// Files that share blocks.
    FileReflink,
    /// Volumes of a ZFS pool.
    Zfs,
    /// Files under a snapshot of the device mapper.
    File,
    /// A driver that is not known here, such as the one of the kernels: 1 to 64 of `A-Z a-z 0-9 .
    /// _ -`.
    Other(String),
}

impl Driver {
    /// The driver with this name; `None` where it is no name of a driver.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "lvm_thin" => Self::LvmThin,
            "file-reflink" => Self::FileReflink,
            "zfs" => Self::Zfs,
            "file" => Self::File,
            other if is_plain(other, NAME_MAX_BYTES, "._-") => Self::Other(other.to_owned()),
            _ => return None,
        })
    }

    /// Its name in Qubes OS.
    pub fn name(&self) -> &str {
        match self {
            Self::LvmThin => "lvm_thin",
            Self::FileReflink => "file-reflink",
            Self::Zfs => "zfs",
            Self::File => "file",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

impl Serialize for Driver {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Driver {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Self::of(&name).ok_or_else(|| de::Error::custom("it is not a driver"))
    }
}
