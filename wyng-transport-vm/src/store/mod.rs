// SPDX-License-Identifier: GPL-3.0-or-later
//! Stores: the traits that a service needs, their error, and the one kind of store that there is, a
//! directory.

mod destination;
pub(crate) mod directory;
mod error;
mod traits;

use wyng_wire::{OpenStatus, Opened, Service};

use directory::Directory;
pub(crate) use error::StoreError;
pub(crate) use traits::{Blob, Fetch, Placed, Prune, Push, Reserve, Upload};

/// Opens the store that a destination names, for the needs of one service.
pub(crate) fn open(
    service: Service,
    create: bool,
    destination: &[u8],
) -> Result<Directory, Opened> {
    let bad = Opened {
        status: OpenStatus::BadDestination,
        free_mib: None,
    };
    Directory::open(
        service,
        create,
        destination::folder(destination).ok_or(bad)?,
    )
}
