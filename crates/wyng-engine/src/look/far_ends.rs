// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks whether the far ends can be reached. No store is read or changed.

use std::collections::BTreeSet;

use wyng_control::{ExitStatus, Failure, ToClient, Via, Warning};
use wyng_wire::Service;

use crate::kept::{local_clock, warn_of_jump};
use crate::state::ArchiveFolder;
use crate::world::{Client, Files, OpenStore, Parts, Place, Store, Volumes, World};

/// The address of a store that no machine has.
const NO_STORE: &str = "dir:/nonexistent/wyng";

/// Says what whole qubes depend on here. Then calls each far end for each service, and has it look
/// for a store that does not exist: a helper that says so has been reached. Without `vias`, those
/// of every archive are called for what they do.
pub fn check_far_ends<P: Parts>(
    world: &mut World<P>,
    vias: Vec<Via>,
) -> Result<ExitStatus, Failure> {
    let calls: Vec<(Via, Service)> = if vias.is_empty() {
        of_archives(&mut world.files)?.into_iter().collect()
    } else {
        vias.into_iter().flat_map(pushes_and_fetches).collect()
    };
    look_around(world, &calls)?;
    let mut failed = Vec::new();
    for (via, service) in &calls {
        match world
            .store
            .connect(*service, &Place::open(NO_STORE, via), OpenStore::Existing)
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
    Ok(failed.first().copied().unwrap_or(ExitStatus::Done))
}

/// What is wrong is a warning: it fails nothing.
fn look_around<P: Parts>(world: &mut World<P>, calls: &[(Via, Service)]) -> Result<(), Failure> {
    let vias: BTreeSet<Via> = calls.iter().map(|(via, _)| via.clone()).collect();
    let vias: Vec<Via> = vias.into_iter().collect();
    for fact in world.volumes.check_machine(&vias)? {
        let warning = fact.fault.map(|fault| Warning::Machine {
            fault,
            what: format!("{}: {}", fact.title(), fact.detail),
        });
        world.client.tell(ToClient::Machine(fact))?;
        if let Some(warning) = warning {
            world.client.tell(ToClient::Warned(warning))?;
        }
    }
    let clock = local_clock(&mut world.files, &mut world.clock)?;
    warn_of_jump(&mut world.client, &clock)
}

fn pushes_and_fetches(via: Via) -> [(Via, Service); 2] {
    [(via.clone(), Service::Push), (via, Service::Fetch)]
}

/// The calls of all archives, each once.
fn of_archives(files: &mut impl Files) -> Result<BTreeSet<(Via, Service)>, Failure> {
    let mut calls = BTreeSet::new();
    for name in ArchiveFolder::names(files)? {
        let toml = ArchiveFolder::find(files, &name)?.read_toml(files)?;
        calls.extend(pushes_and_fetches(toml.via));
        calls.extend(toml.verify_via.map(|via| (via, Service::Fetch)));
    }
    Ok(calls)
}
