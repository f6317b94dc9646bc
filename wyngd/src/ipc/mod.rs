// SPDX-License-Identifier: GPL-3.0-or-later
//! The wires between roles: one file a wire, in which one message enum stands for each direction.
//! [`crate::roles::WIRES`] lists the same wires.

mod control_keyholder;
mod control_reader;
mod control_spawner;
mod control_volumes;
mod jail;
mod keyholder_transport;
mod service;
mod spawner_transport;
mod volumes_keyholder;
mod volumes_pool;
mod wire;

pub use control_keyholder::{ControlToKeyholder, KeyholderToControl};
pub use control_reader::{ControlToReader, ReaderToControl};
pub use control_spawner::{ControlToSpawner, SpawnerToControl};
pub use control_volumes::{ControlToVolumes, VolumesToControl};
pub use jail::{NotEnforced, enter_jail, enter_jail_as, not_enforced};
pub use keyholder_transport::{
    DeleteAnswer, FarEndFault, KeyholderToTransport, Listed, NotGot, PutAnswer, RenewAnswer,
    Signature, SignedPage, TransportToKeyholder,
};
pub use service::Service;
pub use spawner_transport::{SpawnerToTransport, TransportToSpawner};
pub use volumes_keyholder::{CHANGES_MAX, FreshVolume, KeyholderToVolumes, VolumesToKeyholder};
pub use volumes_pool::{
    DeviceNumber, MadeFrom, OfQube, PoolToVolumes, QuestionOfQube, RangeKind, VolumesToPool,
};
pub use wire::{Encoded, Fatal, Received, Wire, wait};
