// SPDX-License-Identifier: GPL-3.0-or-later
//! The three services of the helper, each a set of verbs. How a service is called is not known
//! here.

use crate::fields::byte_enum;

byte_enum! {
    /// What one process of the helper does. Its first argument fixes the service, and both HELLOs
    /// state it.
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

    /// The helper's argument for this service.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Prune => "prune",
            Self::Fetch => "fetch",
        }
    }

    /// The service of a helper's argument; `None` for any other text.
    pub fn from_verb(verb: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|service| service.verb() == verb)
    }
}
