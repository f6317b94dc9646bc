// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that speaks with the client: it takes a command, forwards questions and answers, and says when all is done. It sees no key,
//! no remote byte, and no byte of what it forwards.

use std::collections::HashMap;
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use wyng_control::{CONTROL_VERSION, Command, ExitStatus, Failure, ToClient, ToDaemon, Unenforced, Wanted};
use wyng_jail::inherited;

use crate::ipc::{
    ControlToKeyholder, ControlToSpawner, ControlToVolumes, Fatal, KeyholderToControl, NotEnforced, SpawnerToControl, VolumesToControl,
    Wire, enter_jail, not_enforced, wait,
};
use crate::roles::{ROLES, Role};

/// Who asked the client, and must have the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Volumes,
    Passphrase,
    Place,
}

/// Where the conversation stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the client's first word.
    Greeting,
    /// Before its command.
    Idle,
    /// The keyholder works.
    Working,
}

struct Control {
    client: Wire<ToClient, ToDaemon>,
    keyholder: Wire<ControlToKeyholder, KeyholderToControl>,
    volumes: Wire<ControlToVolumes, VolumesToControl>,
    spawner: Wire<ControlToSpawner, SpawnerToControl>,
    phase: Phase,
    /// How many roles are in their jails.
    ready: usize,
    asked: HashMap<u32, Asker>,
    /// Peak of resident memory of the spawner and a far end, since the last one ended.
    spawner_peak_bytes: u64,
    /// Protections that are not in force, by role; told with `status`.
    unenforced: Vec<Unenforced>,
}

/// Serves one client to the end of its command.
pub fn run() -> Result<(), Fatal> {
    let extra = Role::Control.extra().ok_or(Fatal::Gone("the client"))?;
    let mut control = Control {
        client: Wire::new(inherited(extra)?, "the client"),
        keyholder: Wire::inherited(Role::Control, Role::Keyholder)?,
        volumes: Wire::inherited(Role::Control, Role::Volumes)?,
        spawner: Wire::inherited(Role::Control, Role::Spawner)?,
        phase: Phase::Greeting,
        ready: 0,
        asked: HashMap::new(),
        spawner_peak_bytes: 0,
        unenforced: Vec::new(),
    };
    let missing = enter_jail(Role::Control, || vec![("empty network", wyng_jail::empty_network_namespace())]);
    control.note_ready(Role::Control, not_enforced(missing));
    // No role hears of a command before every role is in its jail.
    while control.ready < ROLES.len() {
        control.hear_roles()?;
    }
    control.client.send(&ToClient::Hello { version: CONTROL_VERSION }, &[])?;
    while !control.step()? {}
    Ok(())
}

impl Control {
    /// Handles what is there; true when the client is done or gone.
    fn step(&mut self) -> Result<bool, Fatal> {
        let (client, mut done) = self.hear_roles_and(PollFlags::IN)?;
        if client && !done {
            done = match self.hear_client() {
                // The person closed the terminal: the other roles end with this one, and the next run goes on.
                Err(Fatal::Gone("the client")) => true,
                result => result.map(|()| false)?,
            };
        }
        Ok(done)
    }

    /// Waits for roles only.
    fn hear_roles(&mut self) -> Result<(), Fatal> {
        self.hear_roles_and(PollFlags::empty()).map(|_| ())
    }

    /// Waits, and handles what roles say. Whether the client has something too, and whether the job has ended.
    fn hear_roles_and(&mut self, client_events: PollFlags) -> Result<(bool, bool), Fatal> {
        let [client, keyholder, volumes, spawner] = wait(
            [
                (self.client.as_fd(), client_events),
                (self.keyholder.as_fd(), PollFlags::IN),
                (self.volumes.as_fd(), PollFlags::IN),
                (self.spawner.as_fd(), PollFlags::IN),
            ],
            None,
        )?;
        let mut done = false;
        if spawner {
            self.hear_spawner()?;
        }
        if volumes {
            self.hear_volumes()?;
        }
        if keyholder {
            done = self.hear_keyholder()?;
        }
        Ok((client, done))
    }

    fn hear_client(&mut self) -> Result<(), Fatal> {
        let received = self.client.receive()?;
        match (self.phase, &received.message) {
            (Phase::Greeting, ToDaemon::Hello { version: CONTROL_VERSION }) => self.phase = Phase::Idle,
            (Phase::Greeting, ToDaemon::Hello { .. }) => {
                self.client.send(&ToClient::Failed(Failure::VersionMismatch), &[])?;
                self.client.send(&ToClient::Done { exit: ExitStatus::Failed }, &[])?;
            }
            (Phase::Idle, ToDaemon::Start(command)) => {
                self.phase = Phase::Working;
                self.start(command.clone())?;
            }
            (Phase::Working, ToDaemon::Here { item }) => {
                let item = *item;
                let asker = self.asked.remove(&item).ok_or(Fatal::Unexpected("the client"))?;
                let descriptor = received.descriptor()?;
                match asker {
                    Asker::Volumes => self.volumes.send(&ControlToVolumes::Here { item }, &[descriptor.as_fd()])?,
                    Asker::Passphrase => self.keyholder.send(&ControlToKeyholder::Passphrase { item }, &[descriptor.as_fd()])?,
                    Asker::Place => return Err(Fatal::Unexpected("the client")),
                }
            }
            (Phase::Working, ToDaemon::Unavailable { item, errno }) => {
                let (item, errno) = (*item, *errno);
                match self.asked.remove(&item).ok_or(Fatal::Unexpected("the client"))? {
                    Asker::Volumes => self.volumes.send(&ControlToVolumes::Unavailable { item, errno }, &[])?,
                    Asker::Passphrase => self.keyholder.send(&ControlToKeyholder::NoPassphrase { item }, &[])?,
                    Asker::Place => return Err(Fatal::Unexpected("the client")),
                }
            }
            (Phase::Working, ToDaemon::Placed { item, errno }) => {
                if self.asked.remove(item) != Some(Asker::Place) {
                    return Err(Fatal::Unexpected("the client"));
                }
                self.keyholder.send(&ControlToKeyholder::Placed { item: *item, errno: *errno }, &[])?;
            }
            (Phase::Working, ToDaemon::Cancel) => self.keyholder.send(&ControlToKeyholder::Cancel, &[])?,
            _ => return Err(Fatal::Unexpected("the client")),
        }
        Ok(())
    }

    fn start(&mut self, command: Command) -> Result<(), Fatal> {
        if matches!(command, Command::Status { .. }) {
            for line in std::mem::take(&mut self.unenforced) {
                self.client.send(&ToClient::Unenforced(line), &[])?;
            }
        }
        self.keyholder.send(&ControlToKeyholder::Start(command), &[])
    }

    /// True when the job has ended.
    fn hear_keyholder(&mut self) -> Result<bool, Fatal> {
        match self.keyholder.receive()?.message {
            KeyholderToControl::Ready { keyholder, transport } => {
                self.note_ready(Role::Keyholder, keyholder);
                self.note_ready(Role::Transport, transport);
            }
            KeyholderToControl::Tell(mut event) => {
                if let ToClient::Totals { peak_rss_bytes, .. } = &mut event {
                    let own_bytes = wyng_jail::peak_resident_bytes();
                    *peak_rss_bytes = peak_rss_bytes.saturating_add(own_bytes).saturating_add(self.spawner_peak_bytes);
                }
                if let ToClient::Place { item } = event {
                    self.asked.insert(item, Asker::Place);
                }
                self.client.send(&event, &[])?;
            }
            KeyholderToControl::WantPassphrase { item, new } => self.ask(item, Asker::Passphrase, Wanted::Passphrase { new })?,
            KeyholderToControl::WantSecretPipe { item } => self.ask(item, Asker::Passphrase, Wanted::Secret)?,
            KeyholderToControl::WantFarEnd { service, via } => self.spawner.send(&ControlToSpawner::Start { service, via }, &[])?,
            KeyholderToControl::Done(exit) => {
                self.client.send(&ToClient::Done { exit }, &[])?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn hear_volumes(&mut self) -> Result<(), Fatal> {
        match self.volumes.receive()?.message {
            VolumesToControl::Ready(missing) => self.note_ready(Role::Volumes, missing),
            VolumesToControl::Want { item, wanted } => self.ask(item, Asker::Volumes, wanted)?,
        }
        Ok(())
    }

    fn hear_spawner(&mut self) -> Result<(), Fatal> {
        let message = match self.spawner.receive()?.message {
            SpawnerToControl::Ready(missing) => {
                self.note_ready(Role::Spawner, missing);
                return Ok(());
            }
            SpawnerToControl::Started { service } => ControlToKeyholder::FarEndStarted { service },
            SpawnerToControl::NotStarted { service, errno } => ControlToKeyholder::FarEndNotStarted { service, errno },
            SpawnerToControl::Ended { service, success, peak_rss_bytes } => {
                self.spawner_peak_bytes = peak_rss_bytes;
                ControlToKeyholder::FarEndEnded { service, success }
            }
        };
        self.keyholder.send(&message, &[])
    }

    fn ask(&mut self, item: u32, asker: Asker, wanted: Wanted) -> Result<(), Fatal> {
        self.asked.insert(item, asker);
        self.client.send(&ToClient::Want { item, wanted }, &[])
    }

    fn note_ready(&mut self, role: Role, missing: Vec<NotEnforced>) {
        self.ready = self.ready.saturating_add(1);
        let role = role.name().to_owned();
        self.unenforced.extend(missing.into_iter().map(|NotEnforced { protection, reason }| Unenforced {
            role: role.clone(),
            protection,
            reason,
        }));
    }
}
