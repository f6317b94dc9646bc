// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that work: they take turns with the keyholder, in the order in which they came, and
//! their questions and answers are forwarded.
//!
//! A command that waits for a person gives its turn back once other commands wait. When the person
//! has answered, it begins anew, before the others. All other questions are answered by a program,
//! within a time limit.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use wyng_control::{Asked, Command, EndedCommand, ExitStatus, Failure, ToClient};

use super::client::{Client, Phase};
use super::hub::Control;
use super::jobs::{Job, Parked, Tally, Waiting, configured};
use super::journal::About;
use super::questions::{Answer, Asker};
use crate::ipc::{ControlToKeyholder, ControlToSpawner, ControlToVolumes, Fatal};

impl Control {
    /// Queues a command.
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
            tally: Tally::default(),
        };
        if is_first_turn {
            self.journal.begun(&job.about(), uid);
            self.tell_unenforced(id, &command)?;
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

    /// Passes an event of the running command on to its client, and progress to clients that watch.
    pub(super) fn forward(&mut self, mut event: ToClient) -> Result<(), Fatal> {
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
        if let Some(job) = &mut self.turns.job {
            job.tally.count(&event);
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

    pub(super) fn end_job(&mut self, exit: ExitStatus) -> Result<(), Fatal> {
        let job = self.turns.job.take();
        if let Some(job) = &job {
            self.tell_ended(&job.command, job.tally, exit)?;
        }
        self.spawner.send(&ControlToSpawner::EndAll, &[])?;
        if let Some(id) = job.and_then(|job| job.client) {
            self.finish(id, exit)?;
        }
        self.go_on()
    }

    /// The command gave its turn back, and waits for a person outside of the queue.
    pub(super) fn park_job(&mut self) -> Result<(), Fatal> {
        let job = self
            .turns
            .job
            .take()
            .ok_or(Fatal::Unexpected(self.keyholder.peer()))?;
        self.spawner.send(&ControlToSpawner::EndAll, &[])?;
        match (job.client, job.prompt) {
            (Some(id), _) if job.cancelled => {
                self.tell_ended(&job.command, job.tally, ExitStatus::Interrupted)?;
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
                if let Some(answer) = prompt.answer {
                    self.begin_anew(id, answer)?;
                }
            }
            (None, _) => {
                self.tell_ended(&job.command, job.tally, ExitStatus::Interrupted)?;
                self.abandon(job.turn)?;
            }
            // No question is open, so the turn was not to be given back.
            (Some(_), None) => return Err(Fatal::Unexpected(self.keyholder.peer())),
        }
        self.go_on()
    }

    /// Starts the next command. Without one, clients that watch are done, except for those that
    /// stay.
    fn go_on(&mut self) -> Result<(), Fatal> {
        self.start_next()?;
        let is_over = |client: &Client| client.phase() == Phase::Watching { stays: false };
        let over = if self.turns.job.is_none() {
            self.clients_that(is_over)
        } else {
            Vec::new()
        };
        over.into_iter()
            .try_for_each(|watcher| self.finish(watcher, ExitStatus::Done))
    }

    /// A command that gave its turn back goes on with a person's answer.
    pub(super) fn begin_anew(&mut self, id: u64, answer: Answer) -> Result<(), Fatal> {
        match answer {
            Answer::Typed(typed) => self.resume(id, Some(typed)),
            Answer::Remembered => self.resume(id, None),
            Answer::Nothing => self.give_up(id),
        }
    }

    /// Nothing was typed for a command that gave its turn back.
    fn give_up(&mut self, id: u64) -> Result<(), Fatal> {
        let asker = self.turns.parked.get(&id).map(|parked| parked.asker);
        self.leave_queue(id)?;
        // The first passphrase was wrong, and there is no second.
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

    /// Queues a command that gave its turn back before all others.
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

    /// A waiting client is gone, and its command with it.
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
        self.tell_ended(&command, Tally::default(), ExitStatus::Interrupted)?;
        self.abandon(turn)
    }

    /// Has the keyholder wipe what was typed for a command that does not begin anew.
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

    /// Cancels the running command. A question to a person is answered with nothing.
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
            // The command is giving its turn back, and is seen to be cancelled when it has.
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

    /// Disconnects a client that does not answer in time, and asks a command that waits for a
    /// person to give its turn back once others wait.
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

    /// Clients that watch the progress of other commands.
    fn watchers(&self) -> Vec<u64> {
        self.clients_that(|client| matches!(client.phase(), Phase::Watching { .. }))
    }

    fn clients_that(&self, are: impl Fn(&Client) -> bool) -> Vec<u64> {
        self.clients
            .iter()
            .filter(|(_, client)| are(client))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Notes the end of a command that had a turn, and tells it to clients that watch.
    fn tell_ended(
        &mut self,
        command: &Command,
        tally: Tally,
        exit: ExitStatus,
    ) -> Result<(), Fatal> {
        let about = About::of(command);
        self.journal.ended(&about, exit);
        let ended = EndedCommand {
            command: about.command.to_owned(),
            archive: about.archive.map(str::to_owned),
            exit,
            volumes: tally.volumes,
            failures: tally.failures,
            sent_bytes: tally.sent_bytes,
        };
        self.watchers()
            .into_iter()
            .try_for_each(|watcher| self.tell(watcher, ToClient::Ended(ended.clone())))
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
}
