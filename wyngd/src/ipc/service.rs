// SPDX-License-Identifier: GPL-3.0-or-later
//! The helper's services that the daemon calls.

use bincode::{Decode, Encode};

/// A service of the helper that the daemon calls: a set of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Service {
    /// Stores blobs, and reads none back.
    Push,
    /// Deletes blobs.
    Prune,
    /// Lists and reads blobs.
    Fetch,
}

impl From<Service> for wyng_wire::Service {
    fn from(service: Service) -> Self {
        match service {
            Service::Push => Self::Push,
            Service::Prune => Self::Prune,
            Service::Fetch => Self::Fetch,
        }
    }
}
