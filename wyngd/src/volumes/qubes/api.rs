// SPDX-License-Identifier: GPL-3.0-or-later
//! What is asked of qubesd about a qube: one short call each, in a bounded time, parsed by
//! `wyng-qube`; and the calls of a plan, as that crate made them.

use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use wyng_control::{Failure, QubeFault};
use wyng_qube::answer::{self, Listed, Malformed, PoolInfo, Property, VolumeInfo};
use wyng_qube::plan::{Request, Socket};
use wyng_qube::{Class, QubeUuid};

use super::super::qubesd::{QubesdError, call, request};

/// Maximum time for one call: qubesd answers each at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum time for a call that makes, moves or removes volumes.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
const DOM0: &str = "dom0";
/// qubesd's socket for imports, beside the one for all other calls.
const INTERNAL: &str = "qubesd.internal.sock";

/// qubesd's socket.
pub(super) struct Api {
    socket: PathBuf,
    patience: Duration,
}

/// A qube as qubesd lists it, with its uuid.
pub(super) struct Found {
    pub(super) listed: Listed,
    pub(super) uuid: QubeUuid,
    /// The release is R4.2, whose lists have no uuid, and whose devices are attached, not assigned.
    pub(super) is_old: bool,
}

impl Found {
    pub(super) fn class(&self) -> &Class {
        &self.listed.class
    }

    pub(super) fn is_halted(&self) -> bool {
        self.listed.state == "Halted"
    }
}

impl Api {
    pub(super) fn at(socket: PathBuf, longest: Duration) -> Self {
        Self {
            socket,
            patience: PATIENCE.min(longest),
        }
    }

    /// Sends a request, and returns the text of the answer.
    pub(super) fn send(
        &self,
        method: &str,
        argument: &str,
        dest: &str,
        payload: &str,
    ) -> Result<String, QubeFault> {
        let bytes = request(method, argument, dest, payload);
        call(&self.socket, &bytes, self.patience, None).map_err(|error| fault(method, error))
    }

    /// Makes a call of a plan, and returns the text of the answer.
    pub(super) fn call(&self, planned: &Request) -> Result<String, QubeFault> {
        let socket = match planned.socket() {
            Socket::Admin => self.socket.clone(),
            Socket::Internal => self.socket.with_file_name(INTERNAL),
        };
        let (method, argument) = (planned.method(), planned.argument());
        let bytes = request(method, argument, planned.dest(), planned.payload());
        let is_long = planned.socket() == Socket::Internal
            || method.starts_with("admin.vm.Create")
            || ["admin.vm.Remove", "admin.vm.volume.Resize"].contains(&method);
        let patience = if is_long {
            LONG_PATIENCE
        } else {
            self.patience
        };
        call(&socket, &bytes, patience, None).map_err(|error| fault(method, error))
    }

    /// A property of the system.
    pub(super) fn system(&self, name: &str) -> Result<Property, QubeFault> {
        self.ask(("admin.property.Get", name, DOM0), |text| {
            answer::property(name, text)
        })
    }

    /// Asks, and parses the answer.
    pub(super) fn ask<T>(
        &self,
        (method, argument, dest): (&str, &str, &str),
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<T, QubeFault> {
        let text = self.send(method, argument, dest, "")?;
        parse(&text).map_err(|malformed| {
            tracing::warn!(%malformed, "qubesd's answer is refused");
            QubeFault::Malformed {
                call: method.to_owned(),
            }
        })
    }

    /// All qubes, dom0 among them.
    pub(super) fn list(&self) -> Result<Vec<Listed>, QubeFault> {
        self.ask(("admin.vm.List", "", DOM0), answer::qubes)
    }

    /// A qube as it is listed, with its uuid.
    pub(super) fn find(&self, name: &str) -> Result<Found, QubeFault> {
        let listed = self.ask(("admin.vm.List", "", name), answer::qubes)?;
        let listed = listed.into_iter().find(|listed| listed.name == name);
        self.with_uuid(listed.ok_or(QubeFault::Gone)?)
    }

    /// Adds the uuid, which the lists of R4.2 lack.
    pub(super) fn with_uuid(&self, listed: Listed) -> Result<Found, QubeFault> {
        let is_old = listed.uuid.is_none();
        let uuid = match listed.uuid.clone() {
            Some(uuid) => uuid,
            None => {
                let value = self.property(&listed.name, "uuid")?.value;
                value.parse().map_err(|_| QubeFault::Malformed {
                    call: "admin.vm.property.Get".into(),
                })?
            }
        };
        Ok(Found {
            listed,
            uuid,
            is_old,
        })
    }

    pub(super) fn property(&self, qube: &str, name: &str) -> Result<Property, QubeFault> {
        self.ask(("admin.vm.property.Get", name, qube), |text| {
            answer::property(name, text)
        })
    }

    pub(super) fn tags(&self, qube: &str) -> Result<Vec<String>, QubeFault> {
        self.ask(("admin.vm.tag.List", "", qube), answer::tags)
    }

    pub(super) fn volumes(&self, qube: &str) -> Result<Vec<VolumeInfo>, QubeFault> {
        let names = self.ask(("admin.vm.volume.List", "", qube), answer::volumes)?;
        names.iter().map(|name| self.volume(qube, name)).collect()
    }

    pub(super) fn volume(&self, qube: &str, name: &str) -> Result<VolumeInfo, QubeFault> {
        self.ask(("admin.vm.volume.Info", name, qube), |text| {
            answer::volume(name, text)
        })
    }

    pub(super) fn pools(&self) -> Result<Vec<PoolInfo>, QubeFault> {
        let names = self.ask(("admin.pool.List", "", DOM0), answer::pools)?;
        names.iter().map(|name| self.pool(name)).collect()
    }

    pub(super) fn pool(&self, name: &str) -> Result<PoolInfo, QubeFault> {
        self.ask(("admin.pool.Info", name, DOM0), |text| {
            answer::pool(name, text)
        })
    }
}

fn fault(method: &str, error: QubesdError) -> QubeFault {
    let call = method.to_owned();
    let errno = |errno: Errno| errno.raw_os_error();
    match error {
        QubesdError::Socket(number) => QubeFault::Unreachable {
            call,
            errno: errno(number),
        },
        QubesdError::GivenUp => QubeFault::Unreachable {
            call,
            errno: errno(Errno::CANCELED),
        },
        QubesdError::Refused => QubeFault::Refused { call },
        QubesdError::Malformed => QubeFault::Malformed { call },
        QubesdError::Exception(class) if class == "QubesVMNotFoundError" => QubeFault::Gone,
        QubesdError::Exception(class) => QubeFault::Exception { call, class },
    }
}

/// The failure of a command that cannot have the list of qubes.
pub(super) fn of_command(fault: QubeFault) -> Failure {
    match fault {
        QubeFault::Unreachable { errno, .. } => Failure::QubesdUnreachable { errno },
        QubeFault::Refused { .. } | QubeFault::Exception { .. } | QubeFault::Gone => {
            Failure::QubesdRefused
        }
        _ => Failure::QubesdAnswer,
    }
}
