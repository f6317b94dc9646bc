// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that only look: the reader answers them one after the other, independently of the
//! keyholder.

use wyng_control::{Command, Failure, ToClient};

use super::client::{Client, Phase};
use super::hub::Control;
use super::jobs::Look;
use crate::ipc::{ControlToReader, Fatal, ReaderToControl};
use crate::roles::Role;

impl Control {
    pub(super) fn queue_look(&mut self, id: u64, command: Command) -> Result<(), Fatal> {
        self.enter(id, Phase::Looking);
        self.looks.queue.push_back((id, command));
        self.start_look()
    }

    /// Starts the next look if none runs.
    fn start_look(&mut self) -> Result<(), Fatal> {
        if self.looks.running.is_some() {
            return Ok(());
        }
        let Some((id, command)) = self.looks.queue.pop_front() else {
            return Ok(());
        };
        let look = Look {
            client: Some(id),
            name: command.name(),
            archive: command.archive().map(str::to_owned),
        };
        let uid = self.clients.get(&id).and_then(Client::uid);
        self.journal.begun(&look.about(), uid);
        self.looks.running = Some(look);
        self.tell_unenforced(id, &command)?;
        self.reader.send(
            &ControlToReader::Start {
                command,
                uid: uid.unwrap_or(u32::MAX),
            },
            &[],
        )
    }

    /// Tells the client of a `status` which protections are not in force.
    pub(super) fn tell_unenforced(&mut self, id: u64, command: &Command) -> Result<(), Fatal> {
        if matches!(command, Command::Status { .. }) {
            for line in self.unenforced.clone() {
                self.tell(id, ToClient::Unenforced(line))?;
            }
        }
        Ok(())
    }

    pub(super) fn hear_reader(&mut self) -> Result<(), Fatal> {
        match self.reader.receive()?.message {
            ReaderToControl::Ready {
                missing,
                peak_rss_bytes,
            } => {
                self.looks.peak_bytes = peak_rss_bytes;
                self.note_ready(Role::Reader, missing);
                Ok(())
            }
            ReaderToControl::Tell(event) => {
                if let Some(look) = &self.looks.running {
                    self.journal.result(&look.about(), &event);
                }
                self.looks.owner().map_or(Ok(()), |id| self.tell(id, event))
            }
            ReaderToControl::Done {
                exit,
                peak_rss_bytes,
            } => {
                self.looks.peak_bytes = peak_rss_bytes;
                let look = self
                    .looks
                    .running
                    .take()
                    .ok_or(Fatal::Unexpected(self.reader.peer()))?;
                self.journal.ended(&look.about(), exit);
                if let Some(id) = look.client {
                    self.finish(id, exit)?;
                }
                self.start_look()
            }
        }
    }

    /// Cancels a look that runs or waits.
    pub(super) fn cancel_look(&mut self, id: u64) -> Result<(), Fatal> {
        if self.looks.owner() == Some(id) {
            // The reader reports how the look ends.
            return self.reader.send(&ControlToReader::Cancel, &[]);
        }
        self.looks.queue.retain(|(queued, _)| *queued != id);
        self.refuse(id, Failure::Interrupted)
    }

    /// The client is gone: its look is cancelled.
    pub(super) fn leave_looks(&mut self, id: u64) -> Result<(), Fatal> {
        self.looks.queue.retain(|(queued, _)| *queued != id);
        match self
            .looks
            .running
            .as_mut()
            .filter(|look| look.client == Some(id))
        {
            Some(look) => {
                look.client = None;
                self.reader.send(&ControlToReader::Cancel, &[])
            }
            None => Ok(()),
        }
    }
}
