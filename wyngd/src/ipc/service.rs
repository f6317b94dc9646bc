// SPDX-License-Identifier: GPL-3.0-or-later
//! The helper's services that the daemon calls.

use bincode::{Decode, Encode};

/// A verb set of the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Service {
    /// Stores, and reads nothing back.
    Push,
    /// Lists and reads.
    Fetch,
}

impl From<Service> for wyng_wire::Service {
    fn from(service: Service) -> Self {
        match service {
            Service::Push => Self::Push,
            Service::Fetch => Self::Fetch,
        }
    }
}
