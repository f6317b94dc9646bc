// SPDX-License-Identifier: GPL-3.0-or-later
//! The keyholder's process: it takes its wires over, enters its jail, and does one job after
//! another.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use wyng_archive::crypto::wiping_stack;
use wyng_jail::{PathAccess, inherited};

use super::real_world::{KernelClock, RealWorld, StateFiles};
use super::sealed::Sealed;
use crate::ipc::{
    ControlToKeyholder, Fatal, KeyholderToControl, KeyholderToTransport, TransportToKeyholder,
    Wire, enter_jail, not_enforced,
};
use crate::roles::{CREDENTIALS_VARIABLE, Daemon, Role};

/// Serves until control is gone.
pub fn run(daemon: Daemon) -> Result<(), Fatal> {
    let control: Wire<KeyholderToControl, ControlToKeyholder> =
        Wire::inherited(Role::Keyholder, Role::Control)?;
    let volumes = Wire::inherited(Role::Keyholder, Role::Volumes)?;
    let transport: Wire<KeyholderToTransport, TransportToKeyholder> =
        Wire::inherited(Role::Keyholder, Role::Transport)?;
    let files = StateFiles::new(inherited(
        Role::Keyholder
            .extra()
            .ok_or(Fatal::Gone("the state directory"))?,
    )?);
    let clock = KernelClock::start();
    let sealed = std::env::var_os(CREDENTIALS_VARIABLE)
        .map(|folder| Sealed::read(Path::new(&folder)))
        .unwrap_or_default();
    let missing = enter_jail(Role::Keyholder, daemon, || {
        vec![
            ("locked memory", wyng_jail::lock_memory()),
            ("empty network", wyng_jail::empty_network_namespace()),
            (
                "only the state directory",
                wyng_jail::restrict_paths(&[(files.root().as_fd(), PathAccess::ReadWrite)]),
            ),
        ]
    });
    // The transport has no wire to control: its protections are reported here.
    let TransportToKeyholder::Ready {
        missing: transports,
        stall_secs,
    } = transport.receive()?.message
    else {
        return Err(Fatal::Unexpected(transport.peer()));
    };
    control.send(
        &KeyholderToControl::Ready {
            keyholder: not_enforced(missing),
            transport: transports,
        },
        &[],
    )?;
    let mut world = RealWorld::new(
        (control, volumes, transport),
        (clock, files),
        sealed,
        Duration::from_secs(stall_secs),
    );
    loop {
        let command = world.next_command(daemon)?;
        let exit = wiping_stack(|| wyng_engine::run(&mut world.world, command));
        world.done(exit)?;
    }
}
