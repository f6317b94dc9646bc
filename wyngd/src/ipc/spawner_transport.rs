// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire between spawner and transport: the pipes of far ends. It has one direction.

use bincode::{Decode, Encode};

use super::service::Service;

/// spawner → transport.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SpawnerToTransport {
    /// The pipes of a far end, to it and from it; with both descriptors.
    Pipes {
        /// Which of the far end's services.
        service: Service,
    },
}

/// transport → spawner: there is no message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum TransportToSpawner {}
