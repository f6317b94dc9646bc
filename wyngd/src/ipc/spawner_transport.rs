// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between spawner and transport: the pipes of far ends. It has one direction.

use bincode::{Decode, Encode};

use super::service::Service;

/// spawner → transport.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SpawnerToTransport {
    /// The pipes of a far end: towards it, and from it.
    Pipes {
        /// Which.
        service: Service,
    },
}

/// transport → spawner: nothing is ever said.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TransportToSpawner {}
