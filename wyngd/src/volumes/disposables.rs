// SPDX-License-Identifier: GPL-3.0-or-later
//! In dom0: the qubes behind far ends. One that stays is started where it does not run; a
//! disposable is made under a name that is chosen here, started, and killed in the end, whatever
//! the end is.
//!
//! The name is the mark. It is known before qubesd is asked, so a disposable can be found whatever
//! became of the answer; it names the state directory, which one daemon at a time has, and this run
//! of the daemon. What carries the first and not the second was left by a daemon that is gone. No
//! name is used twice, and before anything is killed, also for the second time, List must show a
//! disposable of that name.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wyng_config::{AdminDomain, Qubes};
use wyng_control::{Failure, Via};

use super::qubesd::{Call, Listed, QubesdError, call, listed, pause, request};
use crate::ipc::Service;

/// What the names of all disposables of all daemons begin with.
const PREFIX: &str = "wyng-";
/// Digits of the owner, and random bytes of the run, in a name of at most 31 bytes.
const OWNER_DIGITS: usize = 10;
const RUN_BYTES: usize = 3;
const DISPOSABLE: &str = "DispVM";
/// The tag of every qube behind a far end. The policy denies it what could pass for a notice of
/// ours on the desktop.
const TAG: &str = "wyng-transport";
/// Maximum time for a request that qubesd answers at once: any except making and starting.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum time for a request while qubes are killed, so that no command waits for long; it is
/// repeated later.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of looks at a qube in one attempt to kill it: it may start, halt and vanish in
/// between.
const KILL_ROUNDS: usize = 6;
/// Time between two attempts to kill what is left: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// Maximum time for which messages put an attempt off.
const PUT_OFF_MAX: Duration = Duration::from_secs(5);
/// Time between two looks at a qube that is shutting down.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Time in which a daemon that ends still kills disposables, beyond that of the longest start.
const LAST_PATIENCE: Duration = Duration::from_secs(60);

/// The qubes of this daemon's far ends.
pub(super) struct Disposables {
    socket: PathBuf,
    start_patience: Duration,
    names: Names,
    /// Disposables that are not known to be gone.
    made: Vec<Made>,
    /// Disposables of earlier daemons were looked for.
    swept: bool,
    /// When the next attempt to kill unneeded disposables is due, and the time from it to the one
    /// after.
    retry: Option<(Instant, Duration)>,
}

/// The names of this daemon's disposables.
struct Names {
    /// Prefix of every daemon over the same state directory.
    owner: String,
    /// Random digits of this run.
    run: String,
    count: u32,
}

/// A disposable that exists, existed, or will exist.
struct Made {
    name: String,
    /// The far end that it is for, until that has ended.
    service: Option<Service>,
    /// The call that makes it, until it is answered: until then the disposable may still appear.
    making: Option<Call>,
}

impl Disposables {
    /// `None` outside of dom0, where qubesd is not asked.
    pub(super) fn of(qubes: &Qubes, owner: Option<String>) -> Option<Self> {
        let in_dom0 = qubes.admin_domain() == Some(AdminDomain::Dom0);
        let start_patience = Duration::from_secs(qubes.start_timeout_secs);
        owner.filter(|_| in_dom0).map(|owner| Self {
            socket: qubes.qubesd_socket.clone(),
            start_patience,
            names: Names::of(&owner),
            made: Vec::new(),
            swept: false,
            retry: Some((Instant::now(), RETRY_FIRST)),
        })
    }

    /// Starts the qube behind `via`, and returns the name of a disposable that was made. Ends early
    /// when `stop` becomes readable.
    pub(super) fn prepare(
        &mut self,
        service: Service,
        via: &Via,
        stop: BorrowedFd<'_>,
    ) -> Result<Option<String>, Failure> {
        match via {
            Via::Qube(name) => self.have_run(name, stop).map(|()| None),
            Via::Disposable(template) => {
                // Two at once may not fit the memory.
                self.kill_ended(Some(stop));
                let made = self.make(service, template, stop);
                if made.is_err() {
                    self.end(service);
                }
                made.map(Some).map_err(|error| failure(template, error))
            }
            Via::Local | Via::Ssh(_) => Ok(None),
        }
    }

    /// Starts a qube that stays. The answer to Start is the same in every state except Halted, so
    /// only the state shows whether the qube can be called.
    fn have_run(&self, name: &str, stop: BorrowedFd<'_>) -> Result<(), Failure> {
        let said = |error| failure(name, error);
        let qube = || name.to_owned();
        let deadline = Instant::now() + self.start_patience;
        let (mut is_tagged, mut is_asked) = (false, false);
        loop {
            let found = self
                .look(name, PATIENCE, Some(stop))
                .map_err(said)?
                .ok_or_else(|| Failure::UnknownQube { qube: qube() })?;
            if !is_tagged {
                self.tag(name, stop).map_err(said)?;
                is_tagged = true;
            }
            match found.state.as_str() {
                "Running" => return Ok(()),
                // Another start may be under way, with the qube still paused: the answer comes
                // after it.
                "Halted" | "Transient" | "Paused" | "Suspended" if !is_asked => {
                    self.start(name, deadline, stop).map_err(said)?;
                    is_asked = true;
                }
                // Its agent does not run yet; qrexec reports it if it never does.
                "Transient" => return Ok(()),
                "Paused" | "Suspended" => return Err(Failure::QubePaused { qube: qube() }),
                "Halted" | "Halting" | "Dying" => {
                    if Instant::now() >= deadline {
                        return Err(Failure::QubeHalting { qube: qube() });
                    }
                    is_asked = false;
                    pause(LOOK_AGAIN, stop).map_err(said)?;
                }
                _ => {
                    return Err(Failure::QubeNotStarted {
                        qube: qube(),
                        why: found.state,
                    });
                }
            }
        }
    }

    fn make(
        &mut self,
        service: Service,
        template: &str,
        stop: BorrowedFd<'_>,
    ) -> Result<String, QubesdError> {
        let deadline = Instant::now() + self.start_patience;
        let making = Call::connect(&self.socket)?;
        let name = self.names.next();
        self.made.push(Made {
            name: name.clone(),
            service: Some(service),
            making: None,
        });
        let made = self
            .made
            .last_mut()
            .map_or(Err(QubesdError::Malformed), |made| {
                let making = made.making.insert(making);
                making.send(
                    &request(
                        "admin.vm.Create.DispVM",
                        template,
                        "dom0",
                        &format!("name={name} label=red"),
                    ),
                    deadline,
                    Some(stop),
                )?;
                let answered = making.answer(deadline, Some(stop));
                if !is_unanswered(&answered) {
                    made.making = None;
                }
                answered
            });
        if made
            .as_ref()
            .is_err_and(|error| error.is("QubesVMAlreadyExistsError"))
        {
            // The name belongs to a qube that this daemon did not make.
            self.made.pop();
        }
        made?;
        // From now on it vanishes when it halts, whatever halts it.
        self.ask(
            &request("admin.vm.property.Set", "auto_cleanup", &name, "True"),
            PATIENCE,
            Some(stop),
        )?;
        self.tag(&name, stop)?;
        self.start(&name, deadline, stop)?;
        Ok(name)
    }

    /// Gives a qube the tag of far ends. A tag that is there already is no error.
    fn tag(&self, name: &str, stop: BorrowedFd<'_>) -> Result<(), QubesdError> {
        self.ask(
            &request("admin.vm.tag.Set", TAG, name, ""),
            PATIENCE,
            Some(stop),
        )
        .map(drop)
    }

    fn start(
        &self,
        name: &str,
        deadline: Instant,
        stop: BorrowedFd<'_>,
    ) -> Result<(), QubesdError> {
        let patience = deadline.saturating_duration_since(Instant::now());
        call(
            &self.socket,
            &request("admin.vm.Start", "", name, ""),
            patience,
            Some(stop),
        )
        .map(drop)
    }

    /// Notes that a far end has ended, and its disposable is not needed any more.
    pub(super) fn end(&mut self, service: Service) {
        for made in self
            .made
            .iter_mut()
            .filter(|made| made.service == Some(service))
        {
            made.service = None;
            self.retry = Some((Instant::now(), RETRY_FIRST));
        }
    }

    /// Milliseconds until [`kill_ended`](Self::kill_ended) is due; `None` if no qube is left to
    /// kill.
    pub(super) fn due_millis(&self) -> Option<u64> {
        self.retry.map(|(due, _)| {
            u64::try_from(due.saturating_duration_since(Instant::now()).as_millis())
                .unwrap_or(u64::MAX)
        })
    }

    /// Whether [`kill_ended`](Self::kill_ended) was put off for so long that nothing puts it off
    /// any more.
    pub(super) fn is_overdue(&self) -> bool {
        self.retry
            .is_some_and(|(due, _)| due.elapsed() > PUT_OFF_MAX)
    }

    /// Kills disposables that are not needed any more, and those that earlier daemons left. A
    /// failed attempt is repeated later. The rest is put off when `stop` becomes readable.
    pub(super) fn kill_ended(&mut self, stop: Option<BorrowedFd<'_>>) {
        if !self.swept {
            self.swept = self.sweep(stop).is_ok();
        }
        for mut made in std::mem::take(&mut self.made) {
            if made.service.is_some() {
                self.made.push(made);
                continue;
            }
            match self.kill(&mut made, stop) {
                Ok(()) => {}
                Err(error) => {
                    tracing::info!(name = made.name, reason = %error, "a disposable is still there");
                    self.made.push(made);
                }
            }
        }
        let is_left = !self.swept || self.is_left();
        self.retry = self.retry.filter(|_| is_left).map(|(_, after)| {
            (
                Instant::now() + after,
                after.saturating_mul(2).min(RETRY_LAST),
            )
        });
    }

    /// Takes over the disposables that an earlier daemon over the same state directory left.
    fn sweep(&mut self, stop: Option<BorrowedFd<'_>>) -> Result<(), QubesdError> {
        let list = self.ask(
            &request("admin.vm.List", "", "dom0", ""),
            KILL_PATIENCE,
            stop,
        )?;
        for Listed { name, class, .. } in listed(&list)? {
            if class == DISPOSABLE && self.names.is_left_over(&name) {
                tracing::warn!(name, "a disposable that was left over is killed");
                self.made.push(Made {
                    name,
                    service: None,
                    making: None,
                });
            }
        }
        Ok(())
    }

    /// Kills a disposable; `Ok` when it is gone for good. A disposable that was never started, or
    /// has not cleaned up after itself, has to be removed.
    fn kill(&self, made: &mut Made, stop: Option<BorrowedFd<'_>>) -> Result<(), QubesdError> {
        for _ in 0..KILL_ROUNDS {
            if let Some(making) = &mut made.making
                && !is_unanswered(&making.answer(Instant::now(), None))
            {
                made.making = None;
            }
            let (method, not_now) = match self.look(&made.name, KILL_PATIENCE, stop)? {
                _ if made.making.is_some() => return Err(QubesdError::Socket(Errno::INPROGRESS)),
                None => return Ok(()),
                Some(found) if found.class != DISPOSABLE => return Ok(()),
                // While it starts it is still halted: Remove waits for the start, and is refused.
                Some(found) if found.state == "Halted" => {
                    ("admin.vm.Remove", "QubesVMNotHaltedError")
                }
                Some(_) => ("admin.vm.Kill", "QubesVMNotStartedError"),
            };
            match self.ask(&request(method, "", &made.name, ""), KILL_PATIENCE, stop) {
                Err(error) if !error.is(not_now) && !error.is("QubesVMNotFoundError") => {
                    return Err(error);
                }
                // It is looked for again: only List shows that it is gone.
                _ => {}
            }
        }
        Err(QubesdError::Socket(Errno::AGAIN))
    }

    fn is_left(&self) -> bool {
        self.made.iter().any(|made| made.service.is_none())
    }

    /// Kills all disposables, and continues for a limited time.
    pub(super) fn end_all(mut self) {
        for made in &mut self.made {
            made.service = None;
        }
        let deadline = Instant::now() + self.start_patience + LAST_PATIENCE;
        self.retry = Some((Instant::now(), RETRY_FIRST));
        self.kill_ended(None);
        // Where qubesd cannot be asked, the next daemon kills what earlier ones left.
        self.swept = true;
        if self.is_left() {
            tracing::warn!(
                "disposables are still there: this process goes on killing them, and says no more"
            );
            // A program that waits for the end of standard error is not to wait for this.
            let _ = rustix::stdio::dup2_stderr(rustix::stdio::stdin());
        }
        while let Some((due, _)) = self
            .retry
            .filter(|_| self.is_left() && Instant::now() < deadline)
        {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.kill_ended(None);
        }
    }

    /// The qube with this name, if it exists.
    fn look(
        &self,
        name: &str,
        patience: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Listed>, QubesdError> {
        match self.ask(&request("admin.vm.List", "", name, ""), patience, stop) {
            Err(error) if error.is("QubesVMNotFoundError") => Ok(None),
            answer => Ok(listed(&answer?)?
                .into_iter()
                .find(|found| found.name == name)),
        }
    }

    fn ask(
        &self,
        request: &[u8],
        patience: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<String, QubesdError> {
        call(
            &self.socket,
            request,
            patience.min(self.start_patience),
            stop,
        )
    }
}

impl Names {
    fn of(owner: &str) -> Self {
        let digits = blake3::hash(owner.as_bytes()).to_hex();
        let owner = format!(
            "{PREFIX}{}-",
            digits.get(..OWNER_DIGITS).unwrap_or_default()
        );
        let mut random = [0; RUN_BYTES];
        // Without random digits two runs have the same names, and one does not kill what the other
        // left. That is safe.
        let _ = getrandom::fill(&mut random);
        let run = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            owner,
            run,
            count: 0,
        }
    }

    fn next(&mut self) -> String {
        self.count = self.count.saturating_add(1);
        format!("{}{}-{}", self.owner, self.run, self.count)
    }

    fn is_left_over(&self, name: &str) -> bool {
        name.strip_prefix(&self.owner)
            .is_some_and(|rest| !rest.starts_with(&self.run))
    }
}

/// Whether qubesd may still work on the request.
fn is_unanswered(answer: &Result<String, QubesdError>) -> bool {
    matches!(
        answer,
        Err(QubesdError::GivenUp | QubesdError::Socket(Errno::TIMEDOUT))
    )
}

fn failure(qube: &str, error: QubesdError) -> Failure {
    let qube = qube.to_owned();
    match error {
        QubesdError::Socket(errno) => Failure::QubesdUnreachable {
            errno: errno.raw_os_error(),
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_qubes_and_is_never_the_same() {
        let mut names = Names::of("fe00-ffffffffffffffff");
        names.count = 9_999_998;
        let (last, other_run) = (names.next(), Names::of("fe00-ffffffffffffffff"));
        assert!(wyng_control::is_qube(&last), "{last}");
        assert_ne!(names.next(), last);
        assert!(other_run.is_left_over(&last) && !names.is_left_over(&last));
        assert!(!Names::of("fe00-2").is_left_over(&last));
    }
}
