// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that work: they take turns with the keyholder, in the order in which they came, and
//! their questions and answers are forwarded.
//!
//! A command that waits for a person gives its turn back once others wait for it: it begins anew,
//! before them, when the person has answered. Whatever else is asked is answered by a program, and
//! in time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wyng_control::{
    Asked, Command, ExitStatus, Failure, NoSource, TargetFault, TargetLook, ToClient, ToDaemon,
    Wanted, is_path_bounded,
};

use super::Control;
use super::client::{self, Client, Phase};
use super::journal::About;
use crate::ipc::{
    ControlToKeyholder, ControlToSpawner, ControlToVolumes, Fatal, KeyholderToControl, Received,
    Service, SpawnerToControl, VolumesToControl,
};
use crate::roles::Role;

/// How long a person may be asked while others wait. A passphrase file is read in that time, and
/// the command need not begin anew.
const PROMPT_GRACE: Duration = Duration::from_secs(2);

/// Who asked the client, and must have the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Volumes, for a source.
    Source,
    /// Volumes, for a target.
    Target,
    /// The keyholder, for a passphrase: a person may be asked.
    Passphrase(Asked),
    /// The keyholder, for a pipe to write a secret to.
    Secret,
    Place,
    /// Volumes, for a snapshot's name.
    Keep,
    /// The keyholder, for what is where a target goes: a person may be asked whether to overwrite
    /// it.
    Look,
}

impl Asker {
    /// Whether a person may have to answer, who takes as long as it takes.
    fn asks_a_person(self) -> bool {
        matches!(self, Self::Passphrase(_) | Self::Look)
    }
}

/// A command that waits for its turn.
struct Waiting {
    client: u64,
    command: Command,
    /// Its number, if it has had a turn.
    turn: Option<u64>,
    /// The passphrase that was typed when it had given its turn back.
    typed: Option<OwnedFd>,
}

/// A command that gave its turn back, and waits for what a person answers.
struct Parked {
    command: Command,
    turn: u64,
    item: u32,
    asker: Asker,
}

/// A question that a person may have to answer.
struct Prompt {
    item: u32,
    asker: Asker,
    since: Instant,
    /// The keyholder was told to give the turn back.
    gives_back: bool,
    /// What came after that.
    answer: Option<Answer>,
}

/// What a person answers.
enum Answer {
    Typed(OwnedFd),
    /// The client has it, and gives it when it is asked anew.
    Remembered,
    Nothing,
}

/// The command that runs.
struct Job {
    /// Whose it is; nobody's once that client is gone.
    client: Option<u64>,
    command: Command,
    turn: u64,
    /// What was asked, by whom, and when.
    asked: HashMap<u32, (Asker, Instant)>,
    /// Questions that were answered in the client's place; its own answer may still come.
    late: HashSet<u32>,
    prompt: Option<Prompt>,
    /// The numbers of the sources that the daemon opens itself.
    configured: HashSet<u32>,
    cancelled: bool,
}

/// See the module's first line.
#[derive(Default)]
pub(super) struct Turns {
    queue: VecDeque<Waiting>,
    job: Option<Job>,
    /// By client.
    parked: BTreeMap<u64, Parked>,
    next_turn: u64,
    /// Peak of resident memory of the spawner and a far end, since the last one ended.
    spawner_peak_bytes: u64,
    /// The qube that volumes prepares, and the far end that is to be started in it.
    preparing: Option<(Service, String)>,
    /// Far ends in qubes whose end is still to be told to volumes.
    ended_in_qubes: Vec<Service>,
}

impl Job {
    fn about(&self) -> About<'_> {
        About {
            command: self.command.name(),
            archive: self.command.archive(),
        }
    }

    /// A program's question that is open for longest.
    fn oldest_question(&self) -> Option<Instant> {
        self.asked
            .values()
            .filter(|(asker, _)| !asker.asks_a_person())
            .map(|(_, since)| *since)
            .min()
    }
}

impl Turns {
    /// Whose command runs.
    pub(super) fn owner(&self) -> Option<u64> {
        self.job.as_ref().and_then(|job| job.client)
    }

    /// Whether no command runs.
    pub(super) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// When the running command has waited for its client, or for a person, long enough.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        let job = self.job.as_ref()?;
        let question = job
            .oldest_question()
            .and_then(|since| since.checked_add(patience));
        question.into_iter().chain(self.gives_back_at()).min()
    }

    /// When the command that waits for a passphrase gives its turn back.
    fn gives_back_at(&self) -> Option<Instant> {
        let prompt = self
            .job
            .as_ref()?
            .prompt
            .as_ref()
            .filter(|prompt| !prompt.gives_back && !self.queue.is_empty())?;
        prompt.since.checked_add(PROMPT_GRACE)
    }
}

impl Control {
    /// Has a command wait for its turn.
    pub(super) fn queue(&mut self, id: u64, command: Command) -> Result<(), Fatal> {
        self.enter(id, Phase::Queued);
        self.turns.queue.push_back(Waiting {
            client: id,
            command,
            turn: None,
            typed: None,
        });
        let running = usize::from(self.turns.job.is_some());
        let before = self
            .turns
            .queue
            .len()
            .saturating_sub(1)
            .saturating_add(running);
        self.tell_queued(id, before)?;
        self.start_next()
    }

    fn tell_queued(&mut self, id: u64, before: usize) -> Result<(), Fatal> {
        if before == 0 {
            return Ok(());
        }
        self.tell(
            id,
            ToClient::Queued {
                before: u32::try_from(before).unwrap_or(u32::MAX),
            },
        )
    }

    /// Starts the next command if none runs.
    fn start_next(&mut self) -> Result<(), Fatal> {
        if self.turns.job.is_some() {
            return Ok(());
        }
        let Some(Waiting {
            client: id,
            command,
            turn,
            typed,
        }) = self.turns.queue.pop_front()
        else {
            return Ok(());
        };
        self.enter(id, Phase::Working);
        let uid = self.clients.get(&id).and_then(Client::uid);
        let is_first_turn = turn.is_none();
        let turn = turn.unwrap_or(self.turns.next_turn);
        self.turns.next_turn = self.turns.next_turn.max(turn.saturating_add(1));
        let configured = configured(&command);
        let job = Job {
            client: Some(id),
            command: command.clone(),
            turn,
            asked: HashMap::new(),
            late: HashSet::new(),
            prompt: None,
            configured,
            cancelled: false,
        };
        if is_first_turn {
            self.journal.begun(&job.about(), uid);
        }
        self.turns.job = Some(job);
        for watcher in self.watchers() {
            self.tell_running(watcher)?;
        }
        let start = ControlToKeyholder::Start {
            command,
            uid: uid.unwrap_or(u32::MAX),
            turn,
            typed: typed.is_some(),
        };
        self.keyholder
            .send(&start, &typed.iter().map(AsFd::as_fd).collect::<Vec<_>>())
    }

    pub(super) fn hear_keyholder(&mut self) -> Result<(), Fatal> {
        match self.keyholder.receive()?.message {
            KeyholderToControl::Ready {
                keyholder,
                transport,
            } => {
                self.note_ready(Role::Keyholder, keyholder);
                self.note_ready(Role::Transport, transport);
                Ok(())
            }
            KeyholderToControl::Tell(event) => self.forward(event),
            KeyholderToControl::WantPassphrase { item, asked } => self.ask(
                item,
                Asker::Passphrase(asked),
                ToClient::Want {
                    item,
                    wanted: Wanted::Passphrase { asked },
                },
            ),
            KeyholderToControl::WantSecretPipe { item } => self.ask(
                item,
                Asker::Secret,
                ToClient::Want {
                    item,
                    wanted: Wanted::Secret,
                },
            ),
            KeyholderToControl::WantTargetLook {
                item,
                volume,
                session,
                size_bytes,
                base_of,
                origin,
            } => {
                let wanted = Wanted::TargetLook {
                    volume,
                    session,
                    size_bytes,
                    base_of,
                    origin,
                };
                self.ask(item, Asker::Look, ToClient::Want { item, wanted })
            }
            KeyholderToControl::WantFarEnd { service, via } => {
                // Volumes knows whether a qube has to be made for it.
                self.turns.preparing = Some((service, via.clone()));
                self.volumes
                    .send(&ControlToVolumes::PrepareQube { service, via }, &[])
            }
            KeyholderToControl::EndFarEnd { service } => {
                self.spawner.send(&ControlToSpawner::End { service }, &[])
            }
            KeyholderToControl::Locked(failure) => self.hear_locked(failure),
            KeyholderToControl::Done(exit) => self.end_job(exit),
            KeyholderToControl::GivenBack => self.park_job(),
        }
    }

    /// Passes on what the running command tells, to its client and to those who watch.
    fn forward(&mut self, mut event: ToClient) -> Result<(), Fatal> {
        if let ToClient::Totals { peak_rss_bytes, .. } = &mut event {
            let others = [
                wyng_jail::peak_resident_bytes(),
                self.turns.spawner_peak_bytes,
                self.looks.peak_bytes,
            ];
            *peak_rss_bytes = others
                .into_iter()
                .fold(*peak_rss_bytes, u64::saturating_add);
        }
        if let Some(job) = &self.turns.job {
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

    fn end_job(&mut self, exit: ExitStatus) -> Result<(), Fatal> {
        let job = self.turns.job.take();
        if let Some(job) = &job {
            self.journal.ended(&job.about(), exit);
        }
        self.spawner.send(&ControlToSpawner::EndAll, &[])?;
        if let Some(id) = job.and_then(|job| job.client) {
            self.finish(id, exit)?;
        }
        self.go_on()
    }

    /// The command gave its turn back: it waits for a person outside of the queue.
    fn park_job(&mut self) -> Result<(), Fatal> {
        let job = self
            .turns
            .job
            .take()
            .ok_or(Fatal::Unexpected(self.keyholder.peer()))?;
        self.spawner.send(&ControlToSpawner::EndAll, &[])?;
        match (job.client, job.prompt) {
            (Some(id), _) if job.cancelled => {
                self.journal.ended(
                    &About {
                        command: job.command.name(),
                        archive: job.command.archive(),
                    },
                    ExitStatus::Interrupted,
                );
                self.abandon(job.turn)?;
                self.refuse(id, Failure::Interrupted)?;
            }
            (Some(id), Some(prompt)) => {
                self.tell(id, ToClient::Anew)?;
                self.enter(id, Phase::Prompting);
                self.turns.parked.insert(
                    id,
                    Parked {
                        command: job.command,
                        turn: job.turn,
                        item: prompt.item,
                        asker: prompt.asker,
                    },
                );
                match prompt.answer {
                    Some(Answer::Typed(typed)) => self.resume(id, Some(typed))?,
                    Some(Answer::Remembered) => self.resume(id, None)?,
                    Some(Answer::Nothing) => self.give_up(id)?,
                    None => {}
                }
            }
            (None, _) => {
                self.journal.ended(
                    &About {
                        command: job.command.name(),
                        archive: job.command.archive(),
                    },
                    ExitStatus::Interrupted,
                );
                self.abandon(job.turn)?;
            }
            // Nothing was asked, so nothing was to be given back.
            (Some(_), None) => return Err(Fatal::Unexpected(self.keyholder.peer())),
        }
        self.go_on()
    }

    /// Starts what comes next; those who watch are done when nothing does.
    fn go_on(&mut self) -> Result<(), Fatal> {
        self.start_next()?;
        let over = if self.turns.job.is_none() {
            self.watchers()
        } else {
            Vec::new()
        };
        over.into_iter()
            .try_for_each(|watcher| self.finish(watcher, ExitStatus::Done))
    }

    /// What a person answered to a command that gave its turn back.
    pub(super) fn take_typed(
        &mut self,
        id: u64,
        received: Received<ToDaemon>,
    ) -> Result<(), Fatal> {
        let unexpected = || Fatal::Unexpected(client::PEER);
        let asked = self
            .turns
            .parked
            .get(&id)
            .map(|parked| parked.item)
            .ok_or_else(unexpected)?;
        match received.message {
            ToDaemon::Here { item } if item == asked => {
                let typed = received.descriptor().map_err(|_| unexpected())?;
                self.resume(id, Some(typed))
            }
            ToDaemon::Looked { item, .. } if item == asked => self.resume(id, None),
            ToDaemon::Unavailable { item, .. } if item == asked => self.give_up(id),
            _ => Err(unexpected()),
        }
    }

    /// Nothing was typed for a command that gave its turn back.
    fn give_up(&mut self, id: u64) -> Result<(), Fatal> {
        let asker = self.turns.parked.get(&id).map(|parked| parked.asker);
        self.leave_queue(id)?;
        // Without a second one, the first one counts.
        let is_second = asker == Some(Asker::Passphrase(Asked::Again));
        self.refuse(
            id,
            if is_second {
                Failure::WrongPassphrase
            } else {
                Failure::NoPassphrase
            },
        )
    }

    /// A command that gave its turn back is the next again.
    fn resume(&mut self, id: u64, typed: Option<OwnedFd>) -> Result<(), Fatal> {
        let Some(Parked { command, turn, .. }) = self.turns.parked.remove(&id) else {
            return Ok(());
        };
        self.enter(id, Phase::Queued);
        self.turns.queue.push_front(Waiting {
            client: id,
            command,
            turn: Some(turn),
            typed,
        });
        self.tell_queued(id, usize::from(self.turns.job.is_some()))?;
        self.start_next()
    }

    /// A client that waits goes away: so does its command.
    pub(super) fn leave_queue(&mut self, id: u64) -> Result<(), Fatal> {
        let place = self
            .turns
            .queue
            .iter()
            .position(|waiting| waiting.client == id);
        let waiting = place
            .and_then(|place| self.turns.queue.remove(place))
            .and_then(|waiting| Some((waiting.command, waiting.turn?)));
        let parked = self
            .turns
            .parked
            .remove(&id)
            .map(|parked| (parked.command, parked.turn));
        let Some((command, turn)) = waiting.or(parked) else {
            return Ok(());
        };
        self.journal.ended(
            &About {
                command: command.name(),
                archive: command.archive(),
            },
            ExitStatus::Interrupted,
        );
        self.abandon(turn)
    }

    /// What was typed for a command that does not begin anew is wiped.
    fn abandon(&self, turn: u64) -> Result<(), Fatal> {
        self.keyholder
            .send(&ControlToKeyholder::Abandon { turn }, &[])
    }

    /// The client of the running command is gone.
    pub(super) fn leave_job(&mut self, id: u64) -> Result<(), Fatal> {
        let Some(job) = self.turns.job.as_mut().filter(|job| job.client == Some(id)) else {
            return Ok(());
        };
        job.client = None;
        self.cancel()?;
        let asked = self
            .turns
            .job
            .as_mut()
            .map(|job| std::mem::take(&mut job.asked))
            .unwrap_or_default();
        asked
            .into_iter()
            .try_for_each(|(item, (asker, _))| self.answer_for_nobody(item, asker))
    }

    /// Has the running command stop. Who waits for a passphrase waits no longer.
    pub(super) fn cancel(&mut self) -> Result<(), Fatal> {
        let Some(job) = self.turns.job.as_mut().filter(|job| !job.cancelled) else {
            return Ok(());
        };
        job.cancelled = true;
        let prompt = job
            .prompt
            .as_ref()
            .map(|prompt| (prompt.item, prompt.asker, prompt.gives_back));
        if let Some((item, ..)) = prompt {
            job.asked.remove(&item);
            job.late.insert(item);
        }
        match prompt {
            // It ends without effect, and then it is seen that it was cancelled.
            Some((.., true)) => return Ok(()),
            Some((.., false)) => job.prompt = None,
            None => {}
        }
        if self.turns.preparing.is_some() {
            self.volumes.send(&ControlToVolumes::GiveUpQube, &[])?;
        }
        self.keyholder.send(&ControlToKeyholder::Cancel, &[])?;
        prompt.map_or(Ok(()), |(item, asker, _)| {
            self.answer_for_nobody(item, asker)
        })
    }

    /// Whoever was asked and says nothing for too long is hung up on; who waits for a person gives
    /// the turn back once others wait.
    pub(super) fn end_turns_waits(&mut self, now: Instant) -> Result<(), Fatal> {
        let is_over = |since: Instant| {
            since
                .checked_add(self.patience)
                .is_some_and(|until| until <= now)
        };
        let silent = self
            .turns
            .job
            .as_ref()
            .filter(|job| job.oldest_question().is_some_and(is_over))
            .and_then(|job| job.client);
        if let Some(id) = silent {
            tracing::warn!("a client is dropped: it does not answer");
            self.drop_client(id)?;
        }
        if self.turns.gives_back_at().is_none_or(|at| at > now) {
            return Ok(());
        }
        if let Some(prompt) = self.turns.job.as_mut().and_then(|job| job.prompt.as_mut()) {
            prompt.gives_back = true;
        }
        self.keyholder.send(&ControlToKeyholder::GiveBack, &[])
    }

    /// Passes the answer of the running command's client to the role that asked.
    pub(super) fn pass_on(&mut self, received: Received<ToDaemon>) -> Result<(), Fatal> {
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
        let Some(job) = &mut self.turns.job else {
            return Err(unexpected);
        };
        if job.late.remove(&item) {
            return Ok(());
        }
        let Some((asker, _)) = job.asked.remove(&item) else {
            return Err(unexpected);
        };
        if asker.asks_a_person() {
            return self.pass_persons_answer(item, asker, received);
        }
        match (asker, &received.message) {
            (Asker::Target, ToDaemon::NoTarget { fault, .. }) if fault.is_bounded() => {
                self.volumes.send(
                    &ControlToVolumes::NoTarget {
                        item,
                        fault: fault.clone(),
                    },
                    &[],
                )
            }
            (Asker::Source, ToDaemon::NoSource { path, why, .. }) if is_path_bounded(path) => {
                self.volumes.send(
                    &ControlToVolumes::NoSource {
                        item,
                        path: path.clone(),
                        why: *why,
                    },
                    &[],
                )
            }
            (Asker::Secret, ToDaemon::Unavailable { .. }) => self
                .keyholder
                .send(&ControlToKeyholder::NoPassphrase { item }, &[]),
            (Asker::Place, ToDaemon::Placed { errno, .. }) => self.keyholder.send(
                &ControlToKeyholder::Placed {
                    item,
                    errno: *errno,
                },
                &[],
            ),
            (Asker::Keep, ToDaemon::Placed { errno, .. }) => self.volumes.send(
                &ControlToVolumes::Kept {
                    item,
                    errno: *errno,
                },
                &[],
            ),
            (Asker::Source, ToDaemon::HereSource { .. })
            | (Asker::Target, ToDaemon::HereTarget { .. }) => {
                let passed = several(&received.message)
                    .map(|(message, count)| (message, count, received.descriptors()));
                match passed {
                    Some((message, count, descriptors)) if descriptors.len() == count => {
                        let sent = self.volumes.send(
                            &message,
                            &descriptors.iter().map(AsFd::as_fd).collect::<Vec<_>>(),
                        );
                        self.unless_refused(item, asker, sent)
                    }
                    _ => self.refuse_answer(item, asker),
                }
            }
            (Asker::Secret, ToDaemon::Here { .. }) => {
                let Ok(descriptor) = received.descriptor() else {
                    return self.refuse_answer(item, asker);
                };
                let sent = self.keyholder.send(
                    &ControlToKeyholder::Passphrase { item },
                    &[descriptor.as_fd()],
                );
                self.unless_refused(item, asker, sent)
            }
            _ => self.refuse_answer(item, asker),
        }
    }

    /// Passes on what a person may have answered. If the command is to give its turn back, it is
    /// kept for when it begins anew.
    fn pass_persons_answer(
        &mut self,
        item: u32,
        asker: Asker,
        received: Received<ToDaemon>,
    ) -> Result<(), Fatal> {
        let look = match &received.message {
            ToDaemon::Looked { look, .. } if asker == Asker::Look && look.is_bounded() => {
                Some(look.clone())
            }
            _ => None,
        };
        let answer = match (asker, &received.message) {
            (Asker::Look, _) => look.is_some().then_some(Answer::Remembered),
            (Asker::Passphrase(_), ToDaemon::Here { .. }) => {
                received.descriptor().ok().map(Answer::Typed)
            }
            (Asker::Passphrase(_), ToDaemon::Unavailable { .. }) => Some(Answer::Nothing),
            _ => None,
        };
        let prompt = self.turns.job.as_mut().and_then(|job| job.prompt.as_mut());
        if let Some(prompt) = prompt.filter(|prompt| prompt.gives_back) {
            let is_answer = answer.is_some();
            prompt.answer = answer;
            return if is_answer {
                Ok(())
            } else {
                Err(Fatal::Unexpected(client::PEER))
            };
        }
        if let Some(job) = &mut self.turns.job {
            job.prompt = None;
        }
        match (answer, look) {
            (Some(Answer::Typed(typed)), _) => {
                let sent = self
                    .keyholder
                    .send(&ControlToKeyholder::Passphrase { item }, &[typed.as_fd()]);
                self.unless_refused(item, asker, sent)
            }
            (Some(Answer::Remembered), Some(look)) => self
                .keyholder
                .send(&ControlToKeyholder::Looked { item, look }, &[]),
            (Some(Answer::Nothing), _) => self
                .keyholder
                .send(&ControlToKeyholder::NoPassphrase { item }, &[]),
            _ => self.refuse_answer(item, asker),
        }
    }

    /// An answer that is none: the role that asked hears that nobody answers, and the client is
    /// hung up on.
    fn refuse_answer(&self, item: u32, asker: Asker) -> Result<(), Fatal> {
        self.answer_for_nobody(item, asker)?;
        Err(Fatal::Unexpected(client::PEER))
    }

    /// The system refuses to pass some descriptors on, sockets that carry others among them: then
    /// the client has given nothing.
    fn unless_refused(
        &self,
        item: u32,
        asker: Asker,
        sent: Result<(), Fatal>,
    ) -> Result<(), Fatal> {
        match sent {
            Err(Fatal::Io(error)) => {
                tracing::warn!(%error, "a client's descriptor cannot be passed on");
                self.answer_for_nobody(item, asker)
            }
            sent => sent,
        }
    }

    /// The answer to a question that nobody is left to hear.
    fn answer_for_nobody(&self, item: u32, asker: Asker) -> Result<(), Fatal> {
        let errno = Errno::CANCELED.raw_os_error();
        match asker {
            Asker::Source => {
                let why = NoSource::Errno(errno);
                self.volumes.send(
                    &ControlToVolumes::NoSource {
                        item,
                        path: Vec::new(),
                        why,
                    },
                    &[],
                )
            }
            Asker::Target => self.volumes.send(
                &ControlToVolumes::NoTarget {
                    item,
                    fault: TargetFault::Unavailable { errno },
                },
                &[],
            ),
            Asker::Passphrase(_) | Asker::Secret => self
                .keyholder
                .send(&ControlToKeyholder::NoPassphrase { item }, &[]),
            Asker::Place => self
                .keyholder
                .send(&ControlToKeyholder::Placed { item, errno }, &[]),
            Asker::Keep => self
                .volumes
                .send(&ControlToVolumes::Kept { item, errno }, &[]),
            Asker::Look => {
                let look = TargetLook {
                    path: String::new(),
                    found: Err(TargetFault::Unavailable { errno }),
                };
                self.keyholder
                    .send(&ControlToKeyholder::Looked { item, look }, &[])
            }
        }
    }

    /// Asks the running command's client.
    fn ask(&mut self, item: u32, asker: Asker, question: ToClient) -> Result<(), Fatal> {
        match &mut self.turns.job {
            Some(
                job @ Job {
                    client: Some(_), ..
                },
            ) => {
                let since = Instant::now();
                job.asked.insert(item, (asker, since));
                if asker.asks_a_person() {
                    job.prompt = Some(Prompt {
                        item,
                        asker,
                        since,
                        gives_back: false,
                        answer: None,
                    });
                }
                self.tell_owner(question)
            }
            _ => self.answer_for_nobody(item, asker),
        }
    }

    fn tell_owner(&mut self, event: ToClient) -> Result<(), Fatal> {
        self.turns.owner().map_or(Ok(()), |id| self.tell(id, event))
    }

    /// Who hears how far others' commands are.
    fn watchers(&self) -> Vec<u64> {
        self.clients
            .iter()
            .filter(|(_, client)| client.phase() == Phase::Watching)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn tell_running(&mut self, watcher: u64) -> Result<(), Fatal> {
        let Some(job) = &self.turns.job else {
            return Ok(());
        };
        let queued = u32::try_from(self.turns.queue.len()).unwrap_or(u32::MAX);
        let About { command, archive } = job.about();
        let running = ToClient::Running {
            command: command.to_owned(),
            archive: archive.map(str::to_owned),
            queued,
        };
        self.tell(watcher, running)
    }

    pub(super) fn hear_volumes(&mut self) -> Result<(), Fatal> {
        match self.volumes.receive()?.message {
            VolumesToControl::Ready(missing) => {
                self.note_ready(Role::Volumes, missing);
                Ok(())
            }
            VolumesToControl::QubeReady { service, qube } => {
                let via = self.take_prepared(service)?;
                self.spawner
                    .send(&ControlToSpawner::Start { service, via, qube }, &[])?;
                self.tell_ended_in_qubes()
            }
            VolumesToControl::QubeNotReady { service, failure } => {
                self.take_prepared(service)?;
                self.keyholder.send(
                    &ControlToKeyholder::FarEndNotStarted { service, failure },
                    &[],
                )?;
                self.tell_ended_in_qubes()
            }
            VolumesToControl::Want {
                item,
                wanted: Wanted::Source { .. },
            } if self.is_configured(item) => self
                .volumes
                .send(&ControlToVolumes::Configured { item }, &[]),
            VolumesToControl::Want { item, wanted } => {
                let asker = if matches!(wanted, Wanted::Source { .. }) {
                    Asker::Source
                } else {
                    Asker::Target
                };
                self.ask(item, asker, ToClient::Want { item, wanted })
            }
            VolumesToControl::Forget { item } => self.tell_owner(ToClient::Forget { item }),
            VolumesToControl::DropBase { item } => self.tell_owner(ToClient::DropBase { item }),
            VolumesToControl::BaseKept { errno } => {
                self.tell_owner(ToClient::Failed(Failure::BaseKept { errno }))
            }
            VolumesToControl::Keep { item, label } => {
                self.ask(item, Asker::Keep, ToClient::Keep { item, label })
            }
        }
    }

    fn is_configured(&self, item: u32) -> bool {
        self.turns
            .job
            .as_ref()
            .is_some_and(|job| job.configured.contains(&item))
    }

    fn take_prepared(&mut self, service: Service) -> Result<String, Fatal> {
        let prepared = self
            .turns
            .preparing
            .take()
            .filter(|(preparing, _)| *preparing == service);
        prepared
            .map(|(_, via)| via)
            .ok_or(Fatal::Unexpected(self.volumes.peer()))
    }

    /// Volumes hears nothing else while it prepares a qube.
    fn tell_ended_in_qubes(&mut self) -> Result<(), Fatal> {
        if self.turns.preparing.is_some() {
            return Ok(());
        }
        let ended = std::mem::take(&mut self.turns.ended_in_qubes);
        ended.into_iter().try_for_each(|service| {
            self.volumes
                .send(&ControlToVolumes::EndQube { service }, &[])
        })
    }

    pub(super) fn hear_spawner(&mut self) -> Result<(), Fatal> {
        let (service, message) = match self.spawner.receive()?.message {
            SpawnerToControl::Ready(missing) => {
                self.note_ready(Role::Spawner, missing);
                return Ok(());
            }
            SpawnerToControl::Started { service } => {
                return self
                    .keyholder
                    .send(&ControlToKeyholder::FarEndStarted { service }, &[]);
            }
            SpawnerToControl::NotStarted { service, failure } => (
                service,
                ControlToKeyholder::FarEndNotStarted { service, failure },
            ),
            SpawnerToControl::Ended {
                service,
                failure,
                peak_rss_bytes,
            } => {
                self.turns.spawner_peak_bytes = peak_rss_bytes;
                (
                    service,
                    ControlToKeyholder::FarEndEnded { service, failure },
                )
            }
        };
        self.turns.ended_in_qubes.push(service);
        self.tell_ended_in_qubes()?;
        self.keyholder.send(&message, &[])
    }
}

/// Which sources of a backup, monitor or diff are volumes of the configuration.
fn configured(command: &Command) -> HashSet<u32> {
    match command {
        Command::Backup { sources, .. } | Command::Monitor { sources, .. } => (0..)
            .zip(sources)
            .filter(|(_, source)| source.configured)
            .map(|(item, _)| item)
            .collect(),
        Command::Diff {
            configured: true, ..
        } => HashSet::from([0]),
        _ => HashSet::new(),
    }
}

/// An answer that has several descriptors, as volumes hears it, and how many they must be.
fn several(answer: &ToDaemon) -> Option<(ControlToVolumes, usize)> {
    let (message, least, base) = match answer.clone() {
        // The source, a new file for its clone, the same for reading.
        ToDaemon::HereSource {
            item,
            found,
            clones,
            base,
        } if found.is_bounded() => (
            ControlToVolumes::HereSource {
                item,
                found,
                clones,
                base,
            },
            if clones { 3 } else { 1 },
            base,
        ),
        ToDaemon::HereTarget {
            item,
            form,
            base,
            remembered,
        } if remembered.iter().all(|target| target.origin.is_bounded()) => (
            ControlToVolumes::HereTarget {
                item,
                form,
                base,
                remembered,
            },
            form.descriptors(),
            base,
        ),
        _ => return None,
    };
    Some((message, usize::from(base.is_some()).saturating_add(least)))
}
