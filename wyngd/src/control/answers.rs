// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions to the running command's client, and the client's answers to the roles that asked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use wyng_control::{Given, PoolRefusal, TargetFault, ToClient, ToDaemon};

use super::client::{self, Client};
use super::hub::Control;
use super::jobs::Job;
use super::questions::{Answer, Asker, AskingRole, Prompt};
use crate::ipc::{ControlToKeyholder, ControlToVolumes, Fatal, Received};

impl Control {
    /// Asks the running command's client. Without one, the question is answered at once.
    pub(super) fn ask(&mut self, item: u32, asker: Asker, question: ToClient) -> Result<(), Fatal> {
        let Some(
            job @ Job {
                client: Some(_), ..
            },
        ) = &mut self.turns.job
        else {
            return self.answer_for_nobody(item, asker);
        };
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

    /// Passes the answer of the running command's client to the role that asked. If a person
    /// answers while the command gives its turn back, the answer is kept until it begins anew.
    pub(super) fn pass_on(&mut self, received: Received<ToDaemon>) -> Result<(), Fatal> {
        let unexpected = Fatal::Unexpected(client::PEER);
        let (message, descriptors) = received.into_parts();
        let (ToDaemon::Given { item, given }, Some(job)) = (message, &mut self.turns.job) else {
            return Err(unexpected);
        };
        if job.late.remove(&item) {
            return Ok(());
        }
        let Some((asker, _)) = job.asked.remove(&item) else {
            return Err(unexpected);
        };
        let is_answer = asker.takes(&given, descriptors.len());
        if asker.asks_a_person() {
            if let Some(prompt) = job.prompt.as_mut().filter(|prompt| prompt.gives_back) {
                prompt.answer = is_answer.then(|| Answer::of(&given, descriptors));
                return if is_answer { Ok(()) } else { Err(unexpected) };
            }
            job.prompt = None;
        }
        if !is_answer {
            // The role gets the answer of a client that is gone, and the client is disconnected.
            self.answer_for_nobody(item, asker)?;
            return Err(unexpected);
        }
        let given = self.as_allowed(given);
        match self.give(item, asker.role(), given, &descriptors) {
            // The system does not pass on some descriptors, among them sockets that carry others:
            // the client has given nothing then.
            Err(Fatal::Io(error)) => {
                tracing::warn!(%error, "a client's descriptor cannot be passed on");
                self.answer_for_nobody(item, asker)
            }
            given => given,
        }
    }

    /// The answer, unless it asks for more than the client may. Only root may have volumes made.
    fn as_allowed(&self, given: Given) -> Given {
        let owner = self.turns.owner().and_then(|id| self.clients.get(&id));
        match given {
            Given::NewThin { .. } if !self.door.is_own(owner.and_then(Client::uid)) => {
                let fault = TargetFault::Pool(PoolRefusal::NotRoot);
                Given::NoTarget { fault }
            }
            given => given,
        }
    }

    /// Answers a question in the place of a client that is gone, or gave no answer.
    pub(super) fn answer_for_nobody(&self, item: u32, asker: Asker) -> Result<(), Fatal> {
        self.give(item, asker.role(), asker.unanswered(), &[])
    }

    fn give(
        &self,
        item: u32,
        role: AskingRole,
        given: Given,
        descriptors: &[OwnedFd],
    ) -> Result<(), Fatal> {
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        match role {
            AskingRole::Volumes => self
                .volumes
                .send(&ControlToVolumes::Given { item, given }, &descriptors),
            AskingRole::Keyholder => self
                .keyholder
                .send(&ControlToKeyholder::Given { item, given }, &descriptors),
        }
    }

    /// A person's answer to a command that gave its turn back.
    pub(super) fn take_typed(
        &mut self,
        id: u64,
        received: Received<ToDaemon>,
    ) -> Result<(), Fatal> {
        let unexpected = || Fatal::Unexpected(client::PEER);
        let parked = self.turns.parked.get(&id).ok_or_else(unexpected)?;
        match received.into_parts() {
            (ToDaemon::Given { item, given }, descriptors)
                if item == parked.item && parked.asker.takes(&given, descriptors.len()) =>
            {
                self.begin_anew(id, Answer::of(&given, descriptors))
            }
            _ => Err(unexpected()),
        }
    }

    /// Sends an event to the running command's client, if it is still connected.
    pub(super) fn tell_owner(&mut self, event: ToClient) -> Result<(), Fatal> {
        self.turns.owner().map_or(Ok(()), |id| self.tell(id, event))
    }
}
