// SPDX-License-Identifier: GPL-3.0-or-later
//! The three services of the helper, each a set of verbs. How one is called is not known here.

use crate::fields::byte_enum;

byte_enum! {
    /// What one process of the helper may be asked to do, fixed by its first argument and stated in
    /// both HELLOs.
    Service {
        /// Stores blobs, and reads nothing back.
        Push = 1,
        /// Deletes blobs.
        Prune = 2,
        /// Lists and reads blobs.
        Fetch = 3,
    }
}

impl Service {
    /// The name of the qrexec service.
    pub const fn qrexec_name(self) -> &'static str {
        match self {
            Self::Push => "wyng.Push",
            Self::Prune => "wyng.Prune",
            Self::Fetch => "wyng.Fetch",
        }
    }

    /// The helper's argument for this verb set.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Prune => "prune",
            Self::Fetch => "fetch",
        }
    }

    /// The service of a helper's argument, if it is one.
    pub fn from_verb(verb: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|service| service.verb() == verb)
    }
}
