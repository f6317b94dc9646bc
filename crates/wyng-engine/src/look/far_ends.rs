// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks whether the far ends can be reached. No store is read or changed.

use wyng_control::{ExitStatus, Failure, ToClient, Via};
use wyng_wire::Service;

use crate::state::ArchiveFolder;
use crate::world::{Client, OpenStore, Parts, Place, Store, World};

/// The address of a store that no machine has.
const NO_STORE: &str = "dir:/nonexistent/wyng";

/// Calls each far end for each service, and has it look for a store that does not exist: a helper
/// that says so has been reached. Without `vias`, those of every archive are called.
pub fn check_far_ends<P: Parts>(
    world: &mut World<P>,
    mut vias: Vec<Via>,
) -> Result<ExitStatus, Failure> {
    if vias.is_empty() {
        for name in ArchiveFolder::names(&mut world.files)? {
            vias.push(
                ArchiveFolder::find(&mut world.files, &name)?
                    .read_toml(&mut world.files)?
                    .via,
            );
        }
        vias.sort_unstable();
        vias.dedup();
    }
    let mut failed = Vec::new();
    for via in &vias {
        for service in [Service::Push, Service::Fetch] {
            match world
                .store
                .connect(service, &Place::open(NO_STORE, via), OpenStore::Existing)
            {
                Err(Failure::StoreMissing { .. }) | Ok(()) => {
                    world.client.tell(ToClient::Reached {
                        via: via.to_string(),
                        service: service.qrexec_name().to_owned(),
                    })?;
                }
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                Err(failure) => {
                    failed.push(failure.exit());
                    world.client.tell(ToClient::Failed(failure))?;
                }
            }
        }
    }
    Ok(failed.first().copied().unwrap_or(ExitStatus::Done))
}
