// SPDX-License-Identifier: GPL-3.0-or-later
//! In dom0: the qubes behind far ends. One that stays is started; a disposable is made, marked as ours, started, and killed in the end,
//! whatever the end is.
//!
//! The mark is a feature of the disposable itself, set before it is started: it names the state directory, which one daemon at a time has.
//! So one that carries it when a daemon starts was left by a daemon that is gone. A file with names would outlive them, and
//! the next disposable of the same name is somebody else's.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use wyng_config::{AdminDomain, Qubes, Via, is_qube};
use wyng_control::Failure;

use super::qubesd::{QubesdError, call, disposables, request};
use crate::ipc::Service;

/// The feature that marks a disposable as ours.
const MARK: &str = "wyng-far-end";
/// Everything but a start is done at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module's first line.
pub(super) struct Disposables {
    socket: PathBuf,
    start_patience: Duration,
    /// Which daemon's they are.
    owner: String,
    /// Not known to be gone: of which far end, and its name.
    made: Vec<(Service, String)>,
}

impl Disposables {
    /// `None` where qubesd is not asked: outside of dom0.
    pub(super) fn of(qubes: &Qubes, owner: Option<String>) -> Option<Self> {
        let in_dom0 = qubes.admin_domain() == Some(AdminDomain::Dom0);
        let start_patience = Duration::from_secs(qubes.start_timeout_secs);
        owner.filter(|_| in_dom0).map(|owner| Self { socket: qubes.qubesd_socket.clone(), start_patience, owner, made: Vec::new() })
    }

    /// Kills what an earlier daemon over the same state left.
    pub(super) fn sweep(&self) {
        let found = self.ask("admin.vm.List", "", "dom0", "").and_then(|list| disposables(&list));
        match found {
            Err(error) => tracing::info!(reason = %error, "qubesd was not asked for disposables that are left over"),
            Ok(found) => {
                for name in found.iter().filter(|name| self.ask("admin.vm.feature.Get", MARK, name, "") == Ok(self.owner.clone())) {
                    match self.kill(name) {
                        Ok(()) => tracing::warn!(name, "a disposable that was left over is killed"),
                        Err(error) => tracing::warn!(name, reason = %error, "a disposable is left over"),
                    }
                }
            }
        }
    }

    /// Has the qube run that `via` names; what it is called, if that is not said there. Something that comes from `stop` ends it early.
    pub(super) fn prepare(&mut self, service: Service, via: &str, stop: BorrowedFd<'_>) -> Result<Option<String>, Failure> {
        match Via::parse(via) {
            Some(Via::Qube(name)) => match self.start(&name, stop) {
                Err(QubesdError::Exception(class)) if class == "QubesVMNotHaltedError" => Ok(None),
                started => started.map(|()| None).map_err(|error| failure(&name, error)),
            },
            Some(Via::Disposable(template)) => {
                let made = self.make(service, &template, stop);
                if made.is_err() {
                    self.end(service);
                }
                made.map(Some).map_err(|error| failure(&template, error))
            }
            Some(Via::Local | Via::Ssh(_)) | None => Ok(None),
        }
    }

    fn make(&mut self, service: Service, template: &str, stop: BorrowedFd<'_>) -> Result<String, QubesdError> {
        // It is not given up early: one whose name is not known cannot be killed.
        let request = request("admin.vm.CreateDisposable", "", template, "");
        let name = call(&self.socket, &request, self.start_patience, None)?;
        if !is_qube(&name) {
            return Err(QubesdError::Malformed);
        }
        self.made.push((service, name.clone()));
        self.ask("admin.vm.feature.Set", MARK, &name, &self.owner)?;
        self.start(&name, stop)?;
        Ok(name)
    }

    fn start(&self, name: &str, stop: BorrowedFd<'_>) -> Result<(), QubesdError> {
        call(&self.socket, &request("admin.vm.Start", "", name, ""), self.start_patience, Some(stop)).map(drop)
    }

    /// Kills what was made for a far end that has ended. What cannot be killed now is tried again with the next one, and in the end.
    pub(super) fn end(&mut self, service: Service) {
        self.end_those(|found| found == service);
    }

    /// Kills all that is left.
    pub(super) fn end_all(&mut self) {
        self.end_those(|_| true);
    }

    fn end_those(&mut self, ended: impl Fn(Service) -> bool) {
        for (service, name) in std::mem::take(&mut self.made) {
            if !ended(service) {
                self.made.push((service, name));
            } else if let Err(error) = self.kill(&name) {
                tracing::warn!(name, reason = %error, "a disposable cannot be killed");
                self.made.push((service, name));
            }
        }
    }

    /// One that was never started, or ended by itself and stayed, has to be removed instead.
    fn kill(&self, name: &str) -> Result<(), QubesdError> {
        let mut result = self.ask("admin.vm.Kill", "", name, "");
        if matches!(&result, Err(QubesdError::Exception(class)) if class == "QubesVMNotStartedError") {
            result = self.ask("admin.vm.Remove", "", name, "");
        }
        match result {
            Err(QubesdError::Exception(class)) if class == "QubesVMNotFoundError" => Ok(()),
            result => result.map(drop),
        }
    }

    fn ask(&self, method: &str, argument: &str, dest: &str, payload: &str) -> Result<String, QubesdError> {
        call(&self.socket, &request(method, argument, dest, payload), PATIENCE.min(self.start_patience), None)
    }
}

fn failure(qube: &str, error: QubesdError) -> Failure {
    let qube = qube.to_owned();
    match error {
        QubesdError::Socket(errno) => Failure::QubesdUnreachable { errno: errno.raw_os_error() },
        QubesdError::Refused => Failure::QubesdRefused,
        QubesdError::Malformed => Failure::QubesdAnswer,
        QubesdError::GivenUp => Failure::Interrupted,
        QubesdError::Exception(class) => match class.as_str() {
            "QubesVMNotFoundError" => Failure::UnknownQube { qube },
            "QubesMemoryError" => Failure::QubeNoMemory { qube },
            _ => Failure::QubeNotStarted { qube, why: class },
        },
    }
}
