// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that speaks with clients: it takes their commands, has them done, forwards questions
//! and answers, and says when all is done. It sees no key, no remote byte, and no byte of what it
//! forwards.
//!
//! - `door`: who comes in, and with which command.
//! - `client`: one conversation.
//! - `turns`: commands that work. One runs at a time, in the order in which they came.
//! - `looks`: commands that only look. They run beside, one at a time.
//! - `journal`: what became of each, for the system's journal.
//!
//! What a client does wrong ends its own conversation and nothing else; when it is gone, its
//! command is cancelled, and what it was asked is answered in its place. Nobody is waited for
//! without a limit, except a person who types a passphrase, for whom nobody else waits.

mod client;
mod door;
mod journal;
mod looks;
mod turns;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use wyng_config::Config;
use wyng_control::{CONTROL_VERSION, Command, ExitStatus, Failure, ToClient, ToDaemon, Unenforced};
use wyng_jail::inherited;

use crate::ipc::{
    ControlToKeyholder, ControlToReader, ControlToSpawner, ControlToVolumes, Fatal,
    KeyholderToControl, NotEnforced, ReaderToControl, Received, SpawnerToControl, VolumesToControl,
    Wire, enter_jail, not_enforced,
};
use crate::roles::{ROLES, Role};
use client::{Client, Phase};
use door::{Admission, Door};
use journal::Journal;
use looks::Looks;
use turns::Turns;

pub use journal::JOURNAL;

struct Control {
    /// Where clients come from; without it there is one client, and its end is the end.
    listener: Option<OwnedFd>,
    door: Door,
    /// How long a client whose command waits for it may say and take nothing.
    patience: Duration,
    /// The daemon has no lock on its state: it only looks.
    only_looks: bool,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    turns: Turns,
    looks: Looks,
    /// Clients for whom the keyholder wipes keys, in the order in which it was told.
    locking: VecDeque<u64>,
    keyholder: Wire<ControlToKeyholder, KeyholderToControl>,
    volumes: Wire<ControlToVolumes, VolumesToControl>,
    spawner: Wire<ControlToSpawner, SpawnerToControl>,
    reader: Wire<ControlToReader, ReaderToControl>,
    /// How many roles are in their jails.
    ready: usize,
    /// Protections that are not in force, by role; told with `status`.
    unenforced: Vec<Unenforced>,
    journal: Journal,
}

/// How the daemon was started, as far as clients notice.
pub struct Options<'a> {
    /// It serves whoever connects; otherwise one client.
    pub service: bool,
    /// It takes no lock on its state.
    pub only_looks: bool,
    /// Archives that the group may name, and how patient the daemon is.
    pub config: Option<&'a Path>,
    /// Where the system's journal listens.
    pub journal: Option<&'a Path>,
}

/// What has something to say.
#[derive(Default)]
struct Heard {
    spawner: bool,
    volumes: bool,
    keyholder: bool,
    reader: bool,
    clients: Vec<(u64, PollFlags)>,
    listener: bool,
}

/// Serves one client to the end of its command, or as a service whoever connects to the socket that
/// it was started with.
pub fn run(options: &Options<'_>) -> Result<(), Fatal> {
    let config = options
        .config
        .map_or_else(|| Ok(Config::default()), Config::read_if_there);
    let config = config.map_err(|error| io::Error::other(error.to_string()))?;
    let socket = inherited(Role::Control.extra().ok_or(Fatal::Gone("the client"))?)?;
    let mut control = Control {
        listener: None,
        door: Door::new(options.service, &config),
        patience: Duration::from_secs(config.far_ends.stall_timeout_secs),
        only_looks: options.only_looks,
        clients: BTreeMap::new(),
        next_client: 0,
        turns: Turns::default(),
        looks: Looks::default(),
        locking: VecDeque::new(),
        keyholder: Wire::inherited(Role::Control, Role::Keyholder)?,
        volumes: Wire::inherited(Role::Control, Role::Volumes)?,
        spawner: Wire::inherited(Role::Control, Role::Spawner)?,
        reader: Wire::inherited(Role::Control, Role::Reader)?,
        ready: 0,
        unenforced: Vec::new(),
        journal: Journal::connect(options.journal),
    };
    let missing = enter_jail(Role::Control, options.service, || {
        vec![("empty network", wyng_jail::empty_network_namespace())]
    });
    control.note_ready(Role::Control, not_enforced(missing));
    // No role hears of a command before every role is in its jail.
    while control.ready < ROLES.len() {
        control.hear()?;
    }
    if options.service {
        control.listener = Some(socket);
    } else {
        control.welcome(socket)?;
    }
    while control.listener.is_some() || !control.clients.is_empty() {
        control.hear()?;
    }
    Ok(())
}

impl Control {
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

    /// Waits until somebody has something to say, or somebody's time is over. Who works for a
    /// client that is behind is not heard.
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
        // A millisecond more: what is over then is over.
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

    /// When to look next whose time is over.
    fn next_deadline(&self) -> Option<Instant> {
        // The one client of a private daemon has started it, and may take its time: nobody else
        // waits.
        self.listener.as_ref()?;
        let deadlines = self
            .clients
            .values()
            .filter_map(|client| client.deadline(self.patience));
        deadlines.chain(self.turns.deadline(self.patience)).min()
    }

    /// Hangs up on whoever had time enough, and has a command give its turn back that waits for a
    /// person while others wait.
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
            // It went away while it waited, or there are too many descriptors for now.
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

    /// Says something to a client, if it is still there.
    fn tell(&mut self, id: u64, event: ToClient) -> Result<(), Fatal> {
        match self.clients.get_mut(&id).map(|client| client.tell(event)) {
            Some(Err(_)) => self.drop_client(id),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn enter(&mut self, id: u64, phase: Phase) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.enter(phase);
        }
    }

    /// Ends a conversation.
    fn finish(&mut self, id: u64, exit: ExitStatus) -> Result<(), Fatal> {
        self.enter(id, Phase::Over);
        self.tell(id, ToClient::Done { exit })?;
        if self.listener.is_none() && self.clients.get(&id).is_some_and(Client::is_told_all) {
            self.drop_client(id)?;
        }
        Ok(())
    }

    /// Ends a conversation with a failure.
    fn refuse(&mut self, id: u64, failure: Failure) -> Result<(), Fatal> {
        let exit = failure.exit();
        self.tell(id, ToClient::Failed(failure))?;
        self.finish(id, exit)
    }

    /// Handles what a client said, or goes on telling it what it was behind with.
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
            // What it said before it heard of the end.
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
            (Phase::Idle, ToDaemon::Watch) => {
                self.enter(id, Phase::Watching);
                if self.turns.is_idle() {
                    self.finish(id, ExitStatus::Done)
                } else {
                    self.tell_running(id)
                }
            }
            (Phase::Watching, ToDaemon::Cancel) => self.finish(id, ExitStatus::Interrupted),
            (Phase::Looking, ToDaemon::Cancel) => self.cancel_look(id),
            (Phase::Queued | Phase::Prompting, ToDaemon::Cancel) => {
                self.leave_queue(id)?;
                self.refuse(id, Failure::Interrupted)
            }
            (Phase::Working, ToDaemon::Cancel) => self.cancel(),
            // Keys are wiped soon enough.
            (Phase::Locking, ToDaemon::Cancel) => Ok(()),
            (
                Phase::Prompting,
                ToDaemon::Here { .. } | ToDaemon::Unavailable { .. } | ToDaemon::Looked { .. },
            ) => self.take_typed(id, received),
            (
                Phase::Working,
                ToDaemon::Here { .. }
                | ToDaemon::HereSource { .. }
                | ToDaemon::NoSource { .. }
                | ToDaemon::HereTarget { .. }
                | ToDaemon::NoTarget { .. }
                | ToDaemon::Looked { .. }
                | ToDaemon::Unavailable { .. }
                | ToDaemon::Placed { .. },
            ) => self.pass_on(received),
            _ => Err(unexpected()),
        }
    }

    /// Has a command done that passes the door.
    fn begin(&mut self, id: u64, command: Command) -> Result<(), Fatal> {
        let uid = self.clients.get(&id).and_then(Client::uid);
        if let Err(failure) = self.door.check(&command, uid) {
            return self.refuse(id, failure);
        }
        if command.only_looks() {
            return self.queue_look(id, command);
        }
        // `wyng-ctl` starts such a daemon for looks alone.
        if self.only_looks {
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
    fn hear_locked(&mut self, failure: Option<Failure>) -> Result<(), Fatal> {
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
    fn drop_client(&mut self, id: u64) -> Result<(), Fatal> {
        if self.clients.remove(&id).is_none() || self.listener.is_none() {
            // The person closed the terminal: the other roles end with this one, and the next run
            // goes on.
            return Ok(());
        }
        self.leave_queue(id)?;
        self.leave_looks(id)?;
        self.leave_job(id)
    }

    fn note_ready(&mut self, role: Role, missing: Vec<NotEnforced>) {
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
