// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader's process: it takes its wire over, enters its jail, and does one look after another.

use std::os::fd::AsFd;
use std::path::Path;

use wyng_archive::crypto::wiping_stack;
use wyng_jail::{PathAccess, inherited};

use super::files::LookedAtFiles;
use super::nothing::{Nothing, SealedAlone};
use super::wire::{Control, ControlWire, Looker, SharedControl};
use crate::ipc::{Fatal, ReaderToControl, Wire, enter_jail, not_enforced};
use crate::keyholder::real_world::{KernelClock, StateFiles};
use crate::keyholder::sealed::Sealed;
use crate::roles::{CREDENTIALS_VARIABLE, Daemon, Role};
use wyng_engine::world::{Parts, World};

/// Serves until control is gone.
pub fn run(daemon: Daemon) -> Result<(), Fatal> {
    let control: ControlWire = Wire::inherited(Role::Reader, Role::Control)?;
    let files = StateFiles::only_read(inherited(
        Role::Reader
            .extra()
            .ok_or(Fatal::Gone("the state directory"))?,
    )?);
    let clock = KernelClock::start();
    let sealed = std::env::var_os(CREDENTIALS_VARIABLE)
        .map(|folder| Sealed::read(Path::new(&folder)))
        .unwrap_or_default();
    let missing = enter_jail(Role::Reader, daemon, || {
        vec![
            ("locked memory", wyng_jail::lock_memory()),
            ("empty network", wyng_jail::empty_network_namespace()),
            (
                "only the state directory",
                wyng_jail::restrict_paths(&[(files.root().as_fd(), PathAccess::Read)]),
            ),
        ]
    });
    let peak_rss_bytes = wyng_jail::peak_resident_bytes();
    control.send(
        &ReaderToControl::Ready {
            missing: not_enforced(missing),
            peak_rss_bytes,
        },
        &[],
    )?;
    let control = SharedControl::new(control);
    let mut world: World<LookingParts> = World {
        clock,
        random: Nothing,
        files: LookedAtFiles {
            files,
            control: control.clone(),
        },
        store: Nothing,
        volumes: Nothing,
        secrets: SealedAlone(sealed),
        client: Looker(control.clone()),
    };
    loop {
        let command = control.with(Control::next_command)?;
        // Control forwards nothing else; a command that works would find nothing to work with.
        if !command.only_looks() {
            return Err(Fatal::Unexpected(
                control.with(|control| control.wire.peer()),
            ));
        }
        let exit = wiping_stack(|| wyng_engine::run(&mut world, command));
        world.files.files.close();
        let done = ReaderToControl::Done {
            exit,
            peak_rss_bytes: wyng_jail::peak_resident_bytes(),
        };
        control.with(|control| control.wire.send(&done, &[]))?;
    }
}

/// A world in which only the state directory can be read.
struct LookingParts;

impl Parts for LookingParts {
    type Clock = KernelClock;
    type Random = Nothing;
    type Files = LookedAtFiles;
    type Store = Nothing;
    type Volumes = Nothing;
    type Secrets = SealedAlone;
    type Client = Looker;
}
