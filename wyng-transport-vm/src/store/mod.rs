// SPDX-License-Identifier: GPL-3.0-or-later
//! Stores: the traits that a service needs, their error, and the one kind of store that there is, a
//! directory.

mod address;
pub(crate) mod directory;
mod error;
mod traits;

use wyng_wire::{OpenStatus, Opened, Service};

use directory::Directory;
pub(crate) use error::StoreError;
pub(crate) use traits::{Blob, Fetch, Placed, Prune, Push, Reserve, Upload};

/// Opens the store at this address for one service.
pub(crate) fn open(service: Service, create: bool, address: &[u8]) -> Result<Directory, Opened> {
    let bad = Opened {
        status: OpenStatus::BadDestination,
        free_mib: None,
    };
    Directory::open(service, create, address::folder(address).ok_or(bad)?)
}
