// SPDX-License-Identifier: GPL-3.0-or-later
//! The role that speaks with clients: it takes their commands, queues them, forwards questions and answers, and says when all is done. It
//! sees no key, no remote byte, and no byte of what it forwards.
//!
//! One command runs at a time, in the order in which they came. What a client does wrong ends its own conversation and nothing else; when
//! it is gone, its command is cancelled, and what it was asked is answered in its place.

mod client;
mod journal;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use wyng_control::{
    CONTROL_VERSION, Command, ExitStatus, Failure, NoSource, TargetFault, TargetLook, ToClient, ToDaemon, Unenforced, Wanted,
    is_path_bounded,
};
use wyng_jail::inherited;

use crate::ipc::{
    ControlToKeyholder, ControlToSpawner, ControlToVolumes, Fatal, KeyholderToControl, NotEnforced, Received, Service, SpawnerToControl,
    VolumesToControl, Wire, enter_jail, not_enforced,
};
use crate::roles::{ROLES, Role};
use client::{Client, Phase};
use journal::{About, Journal};

pub use journal::JOURNAL;

/// More wait to be accepted.
const CLIENTS_MAX: usize = 64;
/// A client that is so many messages behind makes its own command wait.
const BEHIND_MAX: usize = 256;

/// Who asked the client, and must have the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Volumes, for a source.
    Source,
    /// Volumes, for a target.
    Target,
    Passphrase,
    Place,
    /// Volumes, for a snapshot's name.
    Keep,
    /// The keyholder, for what is where a target goes.
    Look,
}

/// The command that runs.
struct Job {
    /// Whose it is; nobody's once that client is gone.
    client: Option<u64>,
    /// What those who watch are told.
    name: &'static str,
    archive: Option<String>,
    asked: HashMap<u32, Asker>,
    /// The numbers of the sources that the daemon opens itself.
    configured: HashSet<u32>,
}

struct Control {
    /// Where clients come from; without it there is one client, and its end is the end.
    listener: Option<OwnedFd>,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    queue: VecDeque<(u64, Command)>,
    job: Option<Job>,
    keyholder: Wire<ControlToKeyholder, KeyholderToControl>,
    volumes: Wire<ControlToVolumes, VolumesToControl>,
    spawner: Wire<ControlToSpawner, SpawnerToControl>,
    /// How many roles are in their jails.
    ready: usize,
    /// Peak of resident memory of the spawner and a far end, since the last one ended.
    spawner_peak_bytes: u64,
    /// The qube that volumes prepares, and the far end that is to be started in it.
    preparing: Option<(Service, String)>,
    /// Far ends in qubes whose end is still to be told to volumes.
    ended_in_qubes: Vec<Service>,
    /// Protections that are not in force, by role; told with `status`.
    unenforced: Vec<Unenforced>,
    journal: Journal,
}

impl Job {
    fn about(&self) -> About<'_> {
        About { command: self.name, archive: self.archive.as_deref() }
    }
}

/// Serves one client to the end of its command, or as a service whoever connects to the socket that it was started with. What becomes of
/// commands is told to the journal at that path.
pub fn run(service: bool, journal: Option<&Path>) -> Result<(), Fatal> {
    let socket = inherited(Role::Control.extra().ok_or(Fatal::Gone("the client"))?)?;
    let mut control = Control {
        listener: None,
        clients: BTreeMap::new(),
        next_client: 0,
        queue: VecDeque::new(),
        job: None,
        keyholder: Wire::inherited(Role::Control, Role::Keyholder)?,
        volumes: Wire::inherited(Role::Control, Role::Volumes)?,
        spawner: Wire::inherited(Role::Control, Role::Spawner)?,
        ready: 0,
        spawner_peak_bytes: 0,
        preparing: None,
        ended_in_qubes: Vec::new(),
        unenforced: Vec::new(),
        journal: Journal::connect(journal),
    };
    let missing = enter_jail(Role::Control, service, || vec![("empty network", wyng_jail::empty_network_namespace())]);
    control.note_ready(Role::Control, not_enforced(missing));
    // No role hears of a command before every role is in its jail.
    while control.ready < ROLES.len() {
        control.hear()?;
    }
    if service {
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
        let behind = self.job.as_ref().and_then(|job| self.clients.get(&job.client?)).is_some_and(|client| client.behind() > BEHIND_MAX);
        let [mut from_spawner, mut from_volumes, mut from_keyholder, mut from_listener] = [false; 4];
        let mut from_clients = Vec::new();
        {
            let mut polled = vec![PollFd::new(&self.spawner, PollFlags::IN), PollFd::new(&self.volumes, PollFlags::IN)];
            let keyholder = if behind { PollFlags::empty() } else { PollFlags::IN };
            polled.push(PollFd::new(&self.keyholder, keyholder));
            polled.extend(self.clients.values().map(Client::interest));
            let listener = self.listener.as_ref().filter(|_| self.clients.len() < CLIENTS_MAX);
            polled.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
            let mut events = polled.iter().map(PollFd::revents);
            for flag in [&mut from_spawner, &mut from_volumes, &mut from_keyholder] {
                *flag = events.next().is_some_and(|events| !events.is_empty());
            }
            from_clients.extend(self.clients.keys().copied().zip(events.by_ref()).filter(|(_, events)| !events.is_empty()));
            from_listener |= events.next().is_some_and(|events| !events.is_empty());
        }
        if from_spawner {
            self.hear_spawner()?;
        }
        if from_volumes {
            self.hear_volumes()?;
        }
        if from_keyholder {
            self.hear_keyholder()?;
        }
        for (client, events) in from_clients {
            self.hear_client(client, events)?;
        }
        if from_listener {
            self.accept()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Fatal> {
        let Some(listener) = &self.listener else { return Ok(()) };
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => self.welcome(socket),
            // It went away while it waited, or there are too many descriptors for now.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::MFILE | Errno::NFILE | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn welcome(&mut self, socket: OwnedFd) -> Result<(), Fatal> {
        let id = self.next_client;
        self.next_client = id.saturating_add(1);
        self.clients.insert(id, Client::new(socket)?);
        self.tell(id, ToClient::Hello { version: CONTROL_VERSION })
    }

    /// Says something to a client, if it is still there.
    fn tell(&mut self, id: u64, event: ToClient) -> Result<(), Fatal> {
        match self.clients.get_mut(&id).map(|client| client.tell(event)) {
            Some(Err(_)) => self.drop_client(id),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Handles what a client said, or goes on telling it what it was behind with.
    fn hear_client(&mut self, id: u64, events: PollFlags) -> Result<(), Fatal> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
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
        let client = self.clients.get_mut(&id).ok_or_else(unexpected)?;
        match (client.phase, &received.message) {
            (Phase::Greeting, ToDaemon::Hello { version: CONTROL_VERSION }) => client.phase = Phase::Idle,
            (Phase::Greeting, ToDaemon::Hello { .. }) => {
                client.phase = Phase::Over;
                self.tell(id, ToClient::Failed(Failure::VersionMismatch))?;
                self.tell(id, ToClient::Done { exit: ExitStatus::Failed })?;
            }
            (Phase::Idle, ToDaemon::Start(command)) => {
                client.phase = Phase::Queued;
                self.queue.push_back((id, command.clone()));
                let before = self.queue.len().saturating_sub(1).saturating_add(usize::from(self.job.is_some()));
                if before > 0 {
                    self.tell(id, ToClient::Queued { before: u32::try_from(before).unwrap_or(u32::MAX) })?;
                }
                self.start_next()?;
            }
            (Phase::Idle, ToDaemon::Watch) => {
                client.phase = Phase::Watching;
                match self.job {
                    Some(_) => self.tell_running(id)?,
                    None => self.end_watching(id, ExitStatus::Done)?,
                }
            }
            (Phase::Watching, ToDaemon::Cancel) => self.end_watching(id, ExitStatus::Interrupted)?,
            (Phase::Queued, ToDaemon::Cancel) => {
                client.phase = Phase::Over;
                self.queue.retain(|(queued, _)| *queued != id);
                self.tell(id, ToClient::Failed(Failure::Interrupted))?;
                self.tell(id, ToClient::Done { exit: ExitStatus::Interrupted })?;
            }
            (Phase::Working, ToDaemon::Cancel) => self.cancel()?,
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
            ) => self.pass_on(received)?,
            // What it was asked when its command had just ended, or an interrupt that came too late.
            (
                Phase::Over,
                ToDaemon::Here { .. }
                | ToDaemon::HereSource { .. }
                | ToDaemon::NoSource { .. }
                | ToDaemon::HereTarget { .. }
                | ToDaemon::NoTarget { .. }
                | ToDaemon::Looked { .. }
                | ToDaemon::Unavailable { .. }
                | ToDaemon::Placed { .. }
                | ToDaemon::Cancel,
            ) => {}
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    /// Passes the answer of the running command's client to the role that asked.
    fn pass_on(&mut self, received: Received<ToDaemon>) -> Result<(), Fatal> {
        let unexpected = Fatal::Unexpected(client::PEER);
        let (ToDaemon::Here { item }
        | ToDaemon::HereSource { item, .. }
        | ToDaemon::NoSource { item, .. }
        | ToDaemon::HereTarget { item, .. }
        | ToDaemon::NoTarget { item, .. }
        | ToDaemon::Looked { item, .. }
        | ToDaemon::Unavailable { item, .. }
        | ToDaemon::Placed { item, .. }) = received.message
        else {
            return Err(unexpected);
        };
        let Some(asker) = self.job.as_mut().and_then(|job| job.asked.remove(&item)) else { return Err(unexpected) };
        match (asker, &received.message) {
            (Asker::Target, ToDaemon::NoTarget { fault, .. }) if fault.is_bounded() => {
                self.volumes.send(&ControlToVolumes::NoTarget { item, fault: fault.clone() }, &[])
            }
            (Asker::Source, ToDaemon::NoSource { path, why, .. }) if is_path_bounded(path) => {
                self.volumes.send(&ControlToVolumes::NoSource { item, path: path.clone(), why: *why }, &[])
            }
            (Asker::Passphrase, ToDaemon::Unavailable { .. }) => self.keyholder.send(&ControlToKeyholder::NoPassphrase { item }, &[]),
            (Asker::Place, ToDaemon::Placed { errno, .. }) => self.keyholder.send(&ControlToKeyholder::Placed { item, errno: *errno }, &[]),
            (Asker::Keep, ToDaemon::Placed { errno, .. }) => self.volumes.send(&ControlToVolumes::Kept { item, errno: *errno }, &[]),
            (Asker::Look, ToDaemon::Looked { look, .. }) if look.is_bounded() => {
                self.keyholder.send(&ControlToKeyholder::Looked { item, look: look.clone() }, &[])
            }
            (Asker::Source, ToDaemon::HereSource { .. }) | (Asker::Target, ToDaemon::HereTarget { .. }) => {
                let passed = several(&received.message).map(|(message, count)| (message, count, received.descriptors()));
                match passed {
                    Some((message, count, descriptors)) if descriptors.len() == count => {
                        self.volumes.send(&message, &descriptors.iter().map(AsFd::as_fd).collect::<Vec<_>>())
                    }
                    _ => {
                        self.answer_for_nobody(item, asker)?;
                        Err(unexpected)
                    }
                }
            }
            (Asker::Passphrase, ToDaemon::Here { .. }) => {
                let Ok(descriptor) = received.descriptor() else {
                    self.answer_for_nobody(item, asker)?;
                    return Err(unexpected);
                };
                self.keyholder.send(&ControlToKeyholder::Passphrase { item }, &[descriptor.as_fd()])
            }
            _ => {
                self.answer_for_nobody(item, asker)?;
                Err(unexpected)
            }
        }
    }

    /// The client is gone: its command is cancelled.
    fn drop_client(&mut self, id: u64) -> Result<(), Fatal> {
        self.clients.remove(&id);
        self.queue.retain(|(queued, _)| *queued != id);
        let Some(job) = self.job.as_mut().filter(|job| job.client == Some(id)) else { return Ok(()) };
        job.client = None;
        let asked = std::mem::take(&mut job.asked);
        if self.listener.is_none() {
            // The person closed the terminal: the other roles end with this one, and the next run goes on.
            return Ok(());
        }
        self.cancel()?;
        asked.into_iter().try_for_each(|(item, asker)| self.answer_for_nobody(item, asker))
    }

    fn cancel(&self) -> Result<(), Fatal> {
        if self.preparing.is_some() {
            self.volumes.send(&ControlToVolumes::GiveUpQube, &[])?;
        }
        self.keyholder.send(&ControlToKeyholder::Cancel, &[])
    }

    /// The answer to a question that nobody is left to hear.
    fn answer_for_nobody(&self, item: u32, asker: Asker) -> Result<(), Fatal> {
        let errno = Errno::CANCELED.raw_os_error();
        match asker {
            Asker::Source => {
                let why = NoSource::Errno(errno);
                self.volumes.send(&ControlToVolumes::NoSource { item, path: Vec::new(), why }, &[])
            }
            Asker::Target => self.volumes.send(&ControlToVolumes::NoTarget { item, fault: TargetFault::Unavailable { errno } }, &[]),
            Asker::Passphrase => self.keyholder.send(&ControlToKeyholder::NoPassphrase { item }, &[]),
            Asker::Place => self.keyholder.send(&ControlToKeyholder::Placed { item, errno }, &[]),
            Asker::Keep => self.volumes.send(&ControlToVolumes::Kept { item, errno }, &[]),
            Asker::Look => {
                let look = TargetLook { path: String::new(), found: Err(TargetFault::Unavailable { errno }) };
                self.keyholder.send(&ControlToKeyholder::Looked { item, look }, &[])
            }
        }
    }

    /// Starts the next command if none runs.
    fn start_next(&mut self) -> Result<(), Fatal> {
        if self.job.is_some() {
            return Ok(());
        }
        let Some((id, command)) = self.queue.pop_front() else { return Ok(()) };
        if let Some(client) = self.clients.get_mut(&id) {
            client.phase = Phase::Working;
        }
        let archive = command.archive().map(str::to_owned);
        let job = Job { client: Some(id), name: command.name(), archive, asked: HashMap::new(), configured: configured(&command) };
        let uid = self.clients.get(&id).and_then(Client::uid);
        self.journal.begun(&job.about(), uid);
        self.job = Some(job);
        for watcher in self.watchers() {
            self.tell_running(watcher)?;
        }
        if matches!(command, Command::Status { .. }) {
            for line in self.unenforced.clone() {
                self.tell(id, ToClient::Unenforced(line))?;
            }
        }
        self.keyholder.send(&ControlToKeyholder::Start { command, uid: uid.unwrap_or(u32::MAX) }, &[])
    }

    fn hear_keyholder(&mut self) -> Result<(), Fatal> {
        match self.keyholder.receive()?.message {
            KeyholderToControl::Ready { keyholder, transport } => {
                self.note_ready(Role::Keyholder, keyholder);
                self.note_ready(Role::Transport, transport);
                Ok(())
            }
            KeyholderToControl::Tell(mut event) => {
                if let ToClient::Totals { peak_rss_bytes, .. } = &mut event {
                    let own_bytes = wyng_jail::peak_resident_bytes();
                    *peak_rss_bytes = peak_rss_bytes.saturating_add(own_bytes).saturating_add(self.spawner_peak_bytes);
                }
                if let Some(job) = &self.job {
                    self.journal.result(&job.about(), &event);
                }
                if matches!(event, ToClient::Progress(_)) {
                    for watcher in self.watchers() {
                        self.tell(watcher, event.clone())?;
                    }
                }
                if let ToClient::Place { item } = event {
                    return self.ask(item, Asker::Place, event);
                }
                self.tell_owner(event)
            }
            KeyholderToControl::WantPassphrase { item, new } => {
                self.ask(item, Asker::Passphrase, ToClient::Want { item, wanted: Wanted::Passphrase { new } })
            }
            KeyholderToControl::WantSecretPipe { item } => {
                self.ask(item, Asker::Passphrase, ToClient::Want { item, wanted: Wanted::Secret })
            }
            KeyholderToControl::WantTargetLook { item, volume, session, size_bytes, base_of, origin } => {
                let wanted = Wanted::TargetLook { volume, session, size_bytes, base_of, origin };
                self.ask(item, Asker::Look, ToClient::Want { item, wanted })
            }
            KeyholderToControl::WantFarEnd { service, via } => {
                // Volumes knows whether a qube has to be made for it.
                self.preparing = Some((service, via.clone()));
                self.volumes.send(&ControlToVolumes::PrepareQube { service, via }, &[])
            }
            KeyholderToControl::EndFarEnd { service } => self.spawner.send(&ControlToSpawner::End { service }, &[]),
            KeyholderToControl::Done(exit) => {
                let job = self.job.take();
                if let Some(job) = &job {
                    self.journal.ended(&job.about(), exit);
                }
                let owner = job.and_then(|job| job.client);
                self.spawner.send(&ControlToSpawner::EndAll, &[])?;
                if let Some(id) = owner {
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.phase = Phase::Over;
                    }
                    self.tell(id, ToClient::Done { exit })?;
                    if self.listener.is_none() && self.clients.get(&id).is_some_and(Client::is_told_all) {
                        self.drop_client(id)?;
                    }
                }
                self.start_next()?;
                let over = if self.job.is_none() { self.watchers() } else { Vec::new() };
                over.into_iter().try_for_each(|watcher| self.end_watching(watcher, ExitStatus::Done))
            }
        }
    }

    /// Who hears how far others' commands are.
    fn watchers(&self) -> Vec<u64> {
        self.clients.iter().filter(|(_, client)| client.phase == Phase::Watching).map(|(id, _)| *id).collect()
    }

    fn tell_running(&mut self, watcher: u64) -> Result<(), Fatal> {
        let Some(job) = &self.job else { return Ok(()) };
        let queued = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        let running = ToClient::Running { command: job.name.to_owned(), archive: job.archive.clone(), queued };
        self.tell(watcher, running)
    }

    fn end_watching(&mut self, watcher: u64, exit: ExitStatus) -> Result<(), Fatal> {
        if let Some(client) = self.clients.get_mut(&watcher) {
            client.phase = Phase::Over;
        }
        self.tell(watcher, ToClient::Done { exit })
    }

    fn hear_volumes(&mut self) -> Result<(), Fatal> {
        match self.volumes.receive()?.message {
            VolumesToControl::Ready(missing) => {
                self.note_ready(Role::Volumes, missing);
                Ok(())
            }
            VolumesToControl::QubeReady { service, qube } => {
                let via = self.take_prepared(service)?;
                self.spawner.send(&ControlToSpawner::Start { service, via, qube }, &[])?;
                self.tell_ended_in_qubes()
            }
            VolumesToControl::QubeNotReady { service, failure } => {
                self.take_prepared(service)?;
                self.keyholder.send(&ControlToKeyholder::FarEndNotStarted { service, failure }, &[])?;
                self.tell_ended_in_qubes()
            }
            VolumesToControl::Want { item, wanted: Wanted::Source { .. } } if self.is_configured(item) => {
                self.volumes.send(&ControlToVolumes::Configured { item }, &[])
            }
            VolumesToControl::Want { item, wanted } => {
                let asker = if matches!(wanted, Wanted::Source { .. }) { Asker::Source } else { Asker::Target };
                self.ask(item, asker, ToClient::Want { item, wanted })
            }
            VolumesToControl::Forget { item } => self.tell_owner(ToClient::Forget { item }),
            VolumesToControl::DropBase { item } => self.tell_owner(ToClient::DropBase { item }),
            VolumesToControl::BaseKept { errno } => self.tell_owner(ToClient::Failed(Failure::BaseKept { errno })),
            VolumesToControl::Keep { item, label } => self.ask(item, Asker::Keep, ToClient::Keep { item, label }),
        }
    }

    fn take_prepared(&mut self, service: Service) -> Result<String, Fatal> {
        let prepared = self.preparing.take().filter(|(preparing, _)| *preparing == service);
        prepared.map(|(_, via)| via).ok_or(Fatal::Unexpected(self.volumes.peer()))
    }

    /// Volumes hears nothing else while it prepares a qube.
    fn tell_ended_in_qubes(&mut self) -> Result<(), Fatal> {
        if self.preparing.is_some() {
            return Ok(());
        }
        let ended = std::mem::take(&mut self.ended_in_qubes);
        ended.into_iter().try_for_each(|service| self.volumes.send(&ControlToVolumes::EndQube { service }, &[]))
    }

    fn hear_spawner(&mut self) -> Result<(), Fatal> {
        let (service, message) = match self.spawner.receive()?.message {
            SpawnerToControl::Ready(missing) => {
                self.note_ready(Role::Spawner, missing);
                return Ok(());
            }
            SpawnerToControl::Started { service } => {
                return self.keyholder.send(&ControlToKeyholder::FarEndStarted { service }, &[]);
            }
            SpawnerToControl::NotStarted { service, failure } => (service, ControlToKeyholder::FarEndNotStarted { service, failure }),
            SpawnerToControl::Ended { service, failure, peak_rss_bytes } => {
                self.spawner_peak_bytes = peak_rss_bytes;
                (service, ControlToKeyholder::FarEndEnded { service, failure })
            }
        };
        self.ended_in_qubes.push(service);
        self.tell_ended_in_qubes()?;
        self.keyholder.send(&message, &[])
    }

    /// Asks the running command's client.
    fn ask(&mut self, item: u32, asker: Asker, question: ToClient) -> Result<(), Fatal> {
        match &mut self.job {
            Some(Job { client: Some(_), asked, .. }) => {
                asked.insert(item, asker);
                self.tell_owner(question)
            }
            _ => self.answer_for_nobody(item, asker),
        }
    }

    fn is_configured(&self, item: u32) -> bool {
        self.job.as_ref().is_some_and(|job| job.configured.contains(&item))
    }

    fn tell_owner(&mut self, event: ToClient) -> Result<(), Fatal> {
        self.job.as_ref().and_then(|job| job.client).map_or(Ok(()), |id| self.tell(id, event))
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

/// Which sources of a backup, monitor or diff are volumes of the configuration.
fn configured(command: &Command) -> HashSet<u32> {
    match command {
        Command::Backup { sources, .. } | Command::Monitor { sources, .. } => {
            (0..).zip(sources).filter(|(_, source)| source.configured).map(|(item, _)| item).collect()
        }
        Command::Diff { configured: true, .. } => HashSet::from([0]),
        _ => HashSet::new(),
    }
}

/// An answer that has several descriptors, as volumes hears it, and how many they must be.
fn several(answer: &ToDaemon) -> Option<(ControlToVolumes, usize)> {
    let (message, least, base) = match answer.clone() {
        // The source, a new file for its clone, the same for reading.
        ToDaemon::HereSource { item, found, clones, base } if found.is_bounded() => {
            (ControlToVolumes::HereSource { item, found, clones, base }, if clones { 3 } else { 1 }, base)
        }
        ToDaemon::HereTarget { item, form, base, remembered } if remembered.iter().all(|target| target.origin.is_bounded()) => {
            (ControlToVolumes::HereTarget { item, form, base, remembered }, form.descriptors(), base)
        }
        _ => return None,
    };
    Some((message, usize::from(base.is_some()).saturating_add(least)))
}
