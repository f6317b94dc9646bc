// SPDX-License-Identifier: GPL-3.0-or-later
//! The wires and the clients: when each is heard, what a client may say in which phase, and whose
//! time is over.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use wyng_config::Config;
use wyng_control::{CONTROL_VERSION, Command, ExitStatus, Failure, ToClient, ToDaemon, Unenforced};

use super::client::{self, Client, Phase};
use super::door::{Admission, Door};
use super::jobs::{Looks, Thin, Turns};
use super::journal::Journal;
use crate::ipc::{
    ControlToKeyholder, ControlToReader, ControlToSpawner, ControlToVolumes, Fatal,
    KeyholderToControl, NotEnforced, ReaderToControl, Received, SpawnerToControl, VolumesToControl,
    Wire,
};
use crate::roles::{Daemon, ROLES, Role, Use};

/// The role's wires, its clients, and their commands.
pub(super) struct Control {
    /// Where clients come from; a private daemon has one client, and ends with it.
    pub(super) listener: Option<OwnedFd>,
    pub(super) door: Door,
    /// Maximum time for a client to answer or to take a message while its command waits for it.
    pub(super) patience: Duration,
    /// Whether commands may change anything here.
    purpose: Use,
    pub(super) clients: BTreeMap<u64, Client>,
    next_client: u64,
    pub(super) turns: Turns,
    pub(super) looks: Looks,
    pub(super) thin: Thin,
    /// Clients for whom the keyholder wipes keys, in the order of their requests.
    locking: VecDeque<u64>,
    pub(super) keyholder: Wire<ControlToKeyholder, KeyholderToControl>,
    pub(super) volumes: Wire<ControlToVolumes, VolumesToControl>,
    pub(super) spawner: Wire<ControlToSpawner, SpawnerToControl>,
    pub(super) reader: Wire<ControlToReader, ReaderToControl>,
    /// How many roles are in their jails.
    ready: usize,
    /// Protections that are not in force, by role; `status` reports them.
    pub(super) unenforced: Vec<Unenforced>,
    pub(super) journal: Journal,
}

/// The descriptors that are ready.
#[derive(Default)]
struct Heard {
    spawner: bool,
    volumes: bool,
    keyholder: bool,
    reader: bool,
    clients: Vec<(u64, PollFlags)>,
    listener: bool,
}

impl Control {
    /// Takes over the wires. Call it before the jail: the door needs the daemon's own user.
    pub(super) fn new(
        daemon: Daemon,
        purpose: Use,
        config: &Config,
        journal: Journal,
    ) -> Result<Self, Fatal> {
        Ok(Self {
            listener: None,
            door: Door::new(daemon, config),
            patience: Duration::from_secs(config.far_ends.stall_timeout_secs),
            purpose,
            clients: BTreeMap::new(),
            next_client: 0,
            turns: Turns::default(),
            looks: Looks::default(),
            thin: Thin::default(),
            locking: VecDeque::new(),
            keyholder: Wire::inherited(Role::Control, Role::Keyholder)?,
            volumes: Wire::inherited(Role::Control, Role::Volumes)?,
            spawner: Wire::inherited(Role::Control, Role::Spawner)?,
            reader: Wire::inherited(Role::Control, Role::Reader)?,
            ready: 0,
            unenforced: Vec::new(),
            journal,
        })
    }

    /// Serves clients: those that connect to the socket of a service, or the one client of a
    /// private daemon, whose socket it is.
    pub(super) fn serve(&mut self, daemon: Daemon, socket: OwnedFd) -> Result<(), Fatal> {
        // No role hears of a command before every role is in its jail.
        while self.ready < ROLES.len() {
            self.hear()?;
        }
        match daemon {
            Daemon::Service => self.listener = Some(socket),
            Daemon::Private => self.welcome(socket)?,
        }
        while self.listener.is_some() || !self.clients.is_empty() {
            self.hear()?;
        }
        Ok(())
    }

    /// Waits, and handles what is there.
    fn hear(&mut self) -> Result<(), Fatal> {
        let heard = self.wait()?;
        if heard.spawner {
            self.hear_spawner()?;
        }
        if heard.volumes {
            self.hear_volumes()?;
        }
        if heard.keyholder {
            self.hear_keyholder()?;
        }
        if heard.reader {
            self.hear_reader()?;
        }
        for (client, events) in heard.clients {
            self.hear_client(client, events)?;
        }
        if heard.listener {
            self.accept()?;
        }
        self.end_waits()
    }

    /// Waits until a descriptor is ready or a time limit is reached. A role that works for a client
    /// with a full queue is not heard.
    fn wait(&self) -> Result<Heard, Fatal> {
        let is_behind = |id: Option<u64>| {
            id.and_then(|id| self.clients.get(&id))
                .is_some_and(Client::is_behind)
        };
        let unless = |behind: bool| {
            if behind {
                PollFlags::empty()
            } else {
                PollFlags::IN
            }
        };
        let mut polled = vec![
            PollFd::new(&self.spawner, PollFlags::IN),
            PollFd::new(&self.volumes, PollFlags::IN),
            PollFd::new(&self.keyholder, unless(is_behind(self.turns.owner()))),
            PollFd::new(&self.reader, unless(is_behind(self.looks.owner()))),
        ];
        polled.extend(self.clients.values().map(Client::interest));
        polled.extend(
            self.listener
                .as_ref()
                .map(|listener| PollFd::new(listener, PollFlags::IN)),
        );
        let timeout = self
            .next_deadline()
            .map(|until| until.saturating_duration_since(Instant::now()));
        // One millisecond more, so that the limit has passed when the wait ends.
        let timeout = timeout.and_then(|timeout| {
            Timespec::try_from(timeout.saturating_add(Duration::from_millis(1))).ok()
        });
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, timeout.as_ref()))?;
        let mut events = polled.iter().map(PollFd::revents);
        let mut heard = Heard::default();
        for flag in [
            &mut heard.spawner,
            &mut heard.volumes,
            &mut heard.keyholder,
            &mut heard.reader,
        ] {
            *flag = events.next().is_some_and(|events| !events.is_empty());
        }
        heard.clients = self
            .clients
            .keys()
            .copied()
            .zip(events.by_ref())
            .filter(|(_, events)| !events.is_empty())
            .collect();
        heard.listener = events.next().is_some_and(|events| !events.is_empty());
        Ok(heard)
    }

    /// When the next time limit is reached.
    fn next_deadline(&self) -> Option<Instant> {
        // The one client of a private daemon has started it, and has no time limit: no other client
        // waits.
        self.listener.as_ref()?;
        let deadlines = self
            .clients
            .values()
            .filter_map(|client| client.deadline(self.patience));
        deadlines.chain(self.turns.deadline(self.patience)).min()
    }

    /// Hangs up on clients whose time is over, and asks the running command to give its turn back
    /// if it waits for a person while others wait.
    fn end_waits(&mut self) -> Result<(), Fatal> {
        if self.listener.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        let is_over = |client: &Client| {
            client
                .deadline(self.patience)
                .is_some_and(|deadline| deadline <= now)
        };
        let over: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| is_over(client))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            tracing::info!("a client is dropped: it neither says nor takes anything");
            self.drop_client(id)?;
        }
        self.end_turns_waits(now)
    }

    fn accept(&mut self) -> Result<(), Fatal> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => self.welcome(socket),
            // The client went away while it waited, or there are too many descriptors at the
            // moment.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::MFILE | Errno::NFILE | Errno::AGAIN) => {
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn welcome(&mut self, socket: OwnedFd) -> Result<(), Fatal> {
        let client = Client::new(socket)?;
        let admission = self.door.admit(client.uid(), self.clients.values());
        if let Admission::Dropped(failure) = admission {
            client.tell_and_drop(failure);
            return Ok(());
        }
        let id = self.next_client;
        self.next_client = id.saturating_add(1);
        self.clients.insert(id, client);
        self.tell(
            id,
            ToClient::Hello {
                version: CONTROL_VERSION,
            },
        )?;
        match admission {
            Admission::Refused(failure) => self.refuse(id, failure),
            Admission::Admitted | Admission::Dropped(_) => Ok(()),
        }
    }

    /// Sends an event to a client, if it is still connected.
    pub(super) fn tell(&mut self, id: u64, event: ToClient) -> Result<(), Fatal> {
        match self.clients.get_mut(&id).map(|client| client.tell(event)) {
            Some(Err(_)) => self.drop_client(id),
            Some(Ok(())) | None => Ok(()),
        }
    }

    pub(super) fn enter(&mut self, id: u64, phase: Phase) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.enter(phase);
        }
    }

    /// Ends a conversation.
    pub(super) fn finish(&mut self, id: u64, exit: ExitStatus) -> Result<(), Fatal> {
        self.enter(id, Phase::Over);
        self.tell(id, ToClient::Done { exit })?;
        if self.listener.is_none() && self.clients.get(&id).is_some_and(Client::is_told_all) {
            self.drop_client(id)?;
        }
        Ok(())
    }

    /// Ends a conversation with a failure.
    pub(super) fn refuse(&mut self, id: u64, failure: Failure) -> Result<(), Fatal> {
        let exit = failure.exit();
        self.tell(id, ToClient::Failed(failure))?;
        self.finish(id, exit)
    }

    /// Takes a message from a client, or sends more of the events that wait for it.
    fn hear_client(&mut self, id: u64, events: PollFlags) -> Result<(), Fatal> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        if client.flush().is_err() || (self.listener.is_none() && client.is_told_all()) {
            return self.drop_client(id);
        }
        if !events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        }
        match client.receive() {
            Err(Fatal::Gone(_)) => self.drop_client(id),
            Err(refused) => {
                tracing::warn!(reason = %refused, "a client is dropped");
                self.drop_client(id)
            }
            Ok(received) => match self.take(id, received) {
                Err(Fatal::Unexpected(client::PEER)) => {
                    tracing::warn!("a client is dropped: what it said may not come now");
                    self.drop_client(id)
                }
                result => result,
            },
        }
    }

    fn take(&mut self, id: u64, received: Received<ToDaemon>) -> Result<(), Fatal> {
        let unexpected = || Fatal::Unexpected(client::PEER);
        let phase = self.clients.get(&id).ok_or_else(unexpected)?.phase();
        match (phase, &received.message) {
            // The client sent it before it received the end.
            (Phase::Over, _) => Ok(()),
            (
                Phase::Greeting,
                ToDaemon::Hello {
                    version: CONTROL_VERSION,
                },
            ) => {
                self.enter(id, Phase::Idle);
                Ok(())
            }
            (Phase::Greeting, ToDaemon::Hello { .. }) => self.refuse(id, Failure::VersionMismatch),
            (Phase::Idle, ToDaemon::Start(command)) => self.begin(id, command.clone()),
            (Phase::Idle, ToDaemon::Watch { stays }) => {
                let stays = *stays;
                self.enter(id, Phase::Watching { stays });
                if self.turns.is_idle() && !stays {
                    self.finish(id, ExitStatus::Done)
                } else {
                    self.tell_running(id)
                }
            }
            (Phase::Watching { .. }, ToDaemon::Cancel) => self.finish(id, ExitStatus::Interrupted),
            (Phase::Looking, ToDaemon::Cancel) => self.cancel_look(id),
            (Phase::AskingPools, ToDaemon::Cancel) => self.cancel_thin(id),
            (Phase::Queued | Phase::Prompting, ToDaemon::Cancel) => {
                self.leave_queue(id)?;
                self.refuse(id, Failure::Interrupted)
            }
            (Phase::Working, ToDaemon::Cancel) => self.cancel(),
            // Wiping keys takes no time worth cancelling.
            (Phase::Locking, ToDaemon::Cancel) => Ok(()),
            (Phase::Prompting, ToDaemon::Given { .. }) => self.take_typed(id, received),
            (Phase::Working, ToDaemon::Given { .. }) => self.pass_on(received),
            _ => Err(unexpected()),
        }
    }

    /// Starts or queues a command that the door admits.
    fn begin(&mut self, id: u64, command: Command) -> Result<(), Fatal> {
        let uid = self.clients.get(&id).and_then(Client::uid);
        if let Err(failure) = self.door.check(&command, uid) {
            return self.refuse(id, failure);
        }
        if self.queue_thin(id, &command, self.door.is_own(uid))? {
            return Ok(());
        }
        if command.only_looks() {
            return self.queue_look(id, command);
        }
        // `wyng-ctl` starts such a daemon only for commands that look.
        if self.purpose == Use::Looks {
            return Err(Fatal::Unexpected(client::PEER));
        }
        if let Command::Lock { archive } = command {
            self.enter(id, Phase::Locking);
            self.locking.push_back(id);
            return self
                .keyholder
                .send(&ControlToKeyholder::Lock { archive }, &[]);
        }
        self.queue(id, command)
    }

    /// The keyholder has wiped keys, or knows no such archive.
    pub(super) fn hear_locked(&mut self, failure: Option<Failure>) -> Result<(), Fatal> {
        let id = self
            .locking
            .pop_front()
            .ok_or(Fatal::Unexpected(self.keyholder.peer()))?;
        match failure {
            Some(failure) => self.refuse(id, failure),
            None => self.finish(id, ExitStatus::Done),
        }
    }

    /// The client is gone: its command is cancelled.
    pub(super) fn drop_client(&mut self, id: u64) -> Result<(), Fatal> {
        if self.clients.remove(&id).is_none() || self.listener.is_none() {
            // The person closed the terminal: the other roles end with this one, and the next run
            // continues.
            return Ok(());
        }
        self.leave_queue(id)?;
        self.leave_looks(id)?;
        self.leave_thin(id);
        self.leave_job(id)
    }

    pub(super) fn note_ready(&mut self, role: Role, missing: Vec<NotEnforced>) {
        self.ready = self.ready.saturating_add(1);
        let role = role.name().to_owned();
        self.unenforced.extend(
            missing
                .into_iter()
                .map(|NotEnforced { protection, reason }| Unenforced {
                    role: role.clone(),
                    protection,
                    reason,
                }),
        );
    }
}
