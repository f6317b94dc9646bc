// SPDX-License-Identifier: GPL-3.0-or-later
//! The parts of the daemon's world: three wires, the state directory, the kernel's clocks and
//! randomness. What a command does with them is not decided here.
//!
//! The wire to control is shared: every part that waits hears it meanwhile. A wire that breaks, or
//! a message that may not come now, ends the process: there is nobody left to whom it could be
//! reported.

mod client;
mod clock;
mod control;
mod far_ends;
mod files;
mod holes;
mod keys;
mod prompts;
mod random;
mod secrets;
mod stream;
mod targets;
mod volumes;

use std::time::{Duration, Instant};

use wyng_control::{Command, ExitStatus};

pub use self::client::ClientOfCommand;
pub use self::clock::KernelClock;
pub use self::control::ControlWire;
use self::control::SharedControl;
use self::far_ends::Clocks;
pub use self::far_ends::{FarEnds, TransportWire};
pub use self::files::StateFiles;
pub use self::random::KernelRandom;
pub use self::secrets::PersonsSecrets;
pub use self::volumes::{OpenVolumes, VolumesWire};
use super::sealed::Sealed;
use crate::ipc::Fatal;
use crate::roles::Daemon;
use wyng_engine::world::{Parts, World};

/// Time between two observations of the kept clock while no command comes.
const OBSERVED_EVERY: Duration = Duration::from_secs(3600);

/// The parts that meet the machine.
pub struct RealParts;

impl Parts for RealParts {
    type Clock = KernelClock;
    type Random = KernelRandom;
    type Files = StateFiles;
    type Store = FarEnds;
    type Volumes = OpenVolumes;
    type Secrets = PersonsSecrets;
    type Client = ClientOfCommand;
}

/// The world of the daemon, and its wire to control.
pub struct RealWorld {
    /// What a command meets.
    pub world: World<RealParts>,
    control: SharedControl,
    /// When the kept clock was last observed between two commands.
    observed: Option<Instant>,
}

impl RealWorld {
    /// A world over these wires and files. A client that reads nothing of a stream for
    /// `client_patience` is given up.
    pub fn new(
        wires: (ControlWire, VolumesWire, TransportWire),
        (clock, files): (KernelClock, StateFiles),
        sealed: Sealed,
        client_patience: Duration,
    ) -> Self {
        let (control, volumes, transport) = wires;
        let control = SharedControl::new(control, files.only_reading());
        let clocks = Clocks::new(clock.clone(), files.only_reading());
        let world = World {
            clock,
            random: KernelRandom,
            files,
            store: FarEnds::new(control.clone(), transport, clocks),
            volumes: OpenVolumes::new(control.clone(), volumes, client_patience),
            secrets: PersonsSecrets::new(control.clone(), sealed),
            client: ClientOfCommand::new(control.clone()),
        };
        Self {
            world,
            control,
            observed: None,
        }
    }

    /// Waits for the next command. Meanwhile, the keyholder of a service observes the kept clock at
    /// once and then every hour: without that, the next boot would be credited too little.
    pub fn next_command(&mut self, daemon: Daemon) -> Result<Command, Fatal> {
        loop {
            let observed = self.observed;
            let until = (daemon == Daemon::Service).then(|| {
                observed.map_or(Duration::ZERO, |at| {
                    OBSERVED_EVERY.saturating_sub(at.elapsed())
                })
            });
            let command = self.control.with(|control| control.next_command(until))?;
            self.world.files.look_whether_writable();
            match command {
                Some(command) => return Ok(command),
                None => {
                    wyng_engine::observe_clock(&mut self.world);
                    self.observed = Some(Instant::now());
                }
            }
        }
    }

    /// Ends a command: closes what it held, and reports its exit status. If it has given its turn
    /// back, it begins anew.
    pub fn done(&mut self, exit: ExitStatus) -> Result<(), Fatal> {
        self.control.with(|control| control.ended.clear());
        self.world.client.end_command();
        self.world.volumes.close_all()?;
        self.world.store.close_all()?;
        self.control.with(|control| control.end_command(exit))
    }
}
