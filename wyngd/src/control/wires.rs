// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages of the roles that work: keyholder, volumes and spawner. Each is passed on, becomes a
//! question to the client, or ends a command.

use wyng_control::{ToClient, Via, Wanted};

use super::hub::Control;
use super::questions::Asker;
use crate::ipc::{
    ControlToKeyholder, ControlToSpawner, ControlToVolumes, Fatal, KeyholderToControl, Service,
    SpawnerToControl, VolumesToControl,
};
use crate::roles::Role;

impl Control {
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
            KeyholderToControl::WantConfirmation { item } => self.ask(
                item,
                Asker::Confirmation,
                ToClient::Want {
                    item,
                    wanted: Wanted::Confirmation,
                },
            ),
            KeyholderToControl::WantFarEnd { service, via } => {
                // Volumes knows whether a qube has to be made for the far end.
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

    pub(super) fn hear_volumes(&mut self) -> Result<(), Fatal> {
        match self.volumes.receive()?.message {
            VolumesToControl::Ready { volumes, pool } => {
                self.note_ready(Role::Volumes, volumes);
                self.note_ready(Role::Pool, pool);
                Ok(())
            }
            VolumesToControl::QubeReady { service, qube } => {
                let via = self.take_prepared(service)?;
                self.spawner
                    .send(&ControlToSpawner::Start { service, via, qube }, &[])?;
                self.tell_ended_in_qubes()?;
                self.go_on_with_thin()
            }
            VolumesToControl::ThinListed(listed) => self.hear_thin_listed(listed),
            VolumesToControl::ThinRemoved(removal) => self.hear_thin_removed(removal),
            VolumesToControl::QubeNotReady { service, failure } => {
                self.take_prepared(service)?;
                self.keyholder.send(
                    &ControlToKeyholder::FarEndNotStarted { service, failure },
                    &[],
                )?;
                self.tell_ended_in_qubes()?;
                self.go_on_with_thin()
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
            VolumesToControl::DropBase { item } => {
                self.ask(item, Asker::DropBase, ToClient::DropBase { item })
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

    fn take_prepared(&mut self, service: Service) -> Result<Via, Fatal> {
        let prepared = self
            .turns
            .preparing
            .take()
            .filter(|(preparing, _)| *preparing == service);
        prepared
            .map(|(_, via)| via)
            .ok_or(Fatal::Unexpected(self.volumes.peer()))
    }

    /// Reports ended far ends to volumes, unless it prepares a qube and reads no other message.
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
