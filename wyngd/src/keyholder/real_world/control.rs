// SPDX-License-Identifier: GPL-3.0-or-later
//! The wire to control, which every part hears while it waits: a cancel, a lock, the end of a far
//! end, and answers about the client of the command.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use wyng_control::{Command, ExitStatus, Failure};

use super::files::StateFiles;
use super::keys::Keys;
use super::prompts::Prompts;
use crate::ipc::{
    ControlToKeyholder, Encoded, Fatal, KeyholderToControl, Received, Service, Wire, wait,
};

/// The wire to control.
pub type ControlWire = Wire<KeyholderToControl, ControlToKeyholder>;

/// The wire to control, shared by the parts of one world.
#[derive(Clone)]
pub(super) struct SharedControl(Rc<RefCell<Control>>);

impl SharedControl {
    /// Shares a wire. `names` is a view of the state directory.
    pub(super) fn new(wire: ControlWire, names: StateFiles) -> Self {
        Self(Rc::new(RefCell::new(Control::new(wire, names))))
    }

    /// Uses the wire for one call, which uses no other part.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut Control) -> T) -> T {
        call(&mut self.0.borrow_mut())
    }
}

/// The wire to control, and what was heard on it.
pub(super) struct Control {
    wire: ControlWire,
    /// Finds the archive that a lock names.
    names: StateFiles,
    /// When the person interrupted.
    pub(super) cancelled: Option<Instant>,
    /// Whose process asked for the command.
    pub(super) client_uid: u32,
    from_control: VecDeque<Received<ControlToKeyholder>>,
    /// Messages that control has not taken yet.
    to_control: VecDeque<Encoded<KeyholderToControl>>,
    /// Services whose far end runs.
    pub(super) running: HashSet<Service>,
    /// How the last far end of each service ended, once it has; `None`: well.
    pub(super) ended: HashMap<Service, Option<Failure>>,
    /// What the person was asked.
    pub(super) prompts: Prompts,
    /// The keys that `unlock` keeps.
    pub(super) keys: Keys,
}

impl Control {
    fn new(wire: ControlWire, names: StateFiles) -> Self {
        Self {
            wire,
            names,
            cancelled: None,
            client_uid: u32::MAX,
            from_control: VecDeque::new(),
            to_control: VecDeque::new(),
            running: HashSet::new(),
            ended: HashMap::new(),
            prompts: Prompts::default(),
            keys: Keys::default(),
        }
    }

    /// Waits for the next job; `None` once `until` has passed without one.
    pub(super) fn next_command(
        &mut self,
        until: Option<Duration>,
    ) -> Result<Option<Command>, Fatal> {
        let began = Instant::now();
        loop {
            let left = until.map(|until| until.saturating_sub(began.elapsed()));
            let left_millis = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            let timeout = self
                .keys
                .wipe_expired()
                .into_iter()
                .chain(left_millis)
                .min();
            let unsaid = if self.to_control.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            let [says, takes] = wait(
                [
                    (self.wire.as_fd(), PollFlags::IN),
                    (self.wire.as_fd(), unsaid),
                ],
                timeout,
            )?;
            if takes {
                self.flush().map_err(|_| Fatal::Gone(self.wire.peer()))?;
            }
            if !says {
                if left.is_some_and(|left| left < Duration::from_millis(1)) {
                    return Ok(None);
                }
                continue;
            }
            let received = self.wire.receive()?;
            match received.message.clone() {
                ControlToKeyholder::Start {
                    command,
                    uid,
                    turn,
                    typed,
                } => {
                    let pipe = if typed {
                        Some(received.descriptor()?)
                    } else {
                        None
                    };
                    self.prompts.begin(turn, pipe);
                    self.client_uid = uid;
                    self.cancelled = None;
                    return Ok(Some(command));
                }
                ControlToKeyholder::Lock { archive } => {
                    self.lock(archive.as_deref())
                        .and_then(|()| self.flush())
                        .map_err(|_| Fatal::Gone(self.wire.peer()))?;
                }
                ControlToKeyholder::Abandon { turn } => self.prompts.abandon(turn),
                // A message about the previous job that came after its end.
                ControlToKeyholder::FarEndEnded { service, .. } => {
                    self.running.remove(&service);
                }
                ControlToKeyholder::Cancel => {}
                _ => return Err(Fatal::Unexpected(self.wire.peer())),
            }
        }
    }

    /// Reports that the job has ended, or that it has given its turn back and begins anew.
    pub(super) fn end_command(&mut self, exit: ExitStatus) -> Result<(), Fatal> {
        self.prompts.end();
        self.from_control.clear();
        let ended = if self.prompts.has_given_back() {
            KeyholderToControl::GivenBack
        } else {
            KeyholderToControl::Done(exit)
        };
        self.send(&ended).map_err(|_| Fatal::Gone(self.wire.peer()))
    }

    /// Takes one message from control. A message that the engine need not answer is dealt with at
    /// once and not returned: a cancel, a lock, the end of a far end.
    pub(super) fn message(&mut self) -> Result<Option<Received<ControlToKeyholder>>, Failure> {
        let received = self.wire.receive().map_err(|fatal| broken(&fatal))?;
        match &received.message {
            ControlToKeyholder::Cancel => {
                self.cancelled = self.cancelled.or_else(|| Some(Instant::now()))
            }
            ControlToKeyholder::FarEndEnded { service, failure } => {
                self.running.remove(service);
                self.ended.insert(*service, failure.clone());
            }
            ControlToKeyholder::Lock { archive } => {
                let archive = archive.clone();
                self.lock(archive.as_deref())?;
            }
            ControlToKeyholder::Abandon { turn } => self.prompts.abandon(*turn),
            _ => return Ok(Some(received)),
        }
        Ok(None)
    }

    /// Wipes kept keys at once, whatever runs. A command that uses a key still has it until it
    /// ends. Control is informed when it takes the next message.
    fn lock(&mut self, archive: Option<&str>) -> Result<(), Failure> {
        let failure = match wyng_engine::named_archive(&mut self.names, archive) {
            Ok(archive) => {
                self.keys.wipe(archive);
                None
            }
            Err(failure) => Some(failure),
        };
        self.say_later(&KeyholderToControl::Locked(failure))
    }

    fn say_later(&mut self, message: &KeyholderToControl) -> Result<(), Failure> {
        self.to_control
            .push_back(Encoded::new(message).map_err(|fatal| broken(&fatal))?);
        Ok(())
    }

    /// The next answer of control.
    pub(super) fn answer(&mut self) -> Result<Received<ControlToKeyholder>, Failure> {
        loop {
            if let Some(received) = self.from_control.pop_front() {
                return Ok(received);
            }
            // While a person is asked, the time of a key may end; a lock is answered before the
            // person has answered.
            let timeout = self.keys.wipe_expired();
            let unsaid = if self.to_control.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            let polled = [
                (self.wire.as_fd(), PollFlags::IN),
                (self.wire.as_fd(), unsaid),
            ];
            let [says, takes] = wait(polled, timeout).map_err(|fatal| broken(&fatal))?;
            if takes {
                self.flush()?;
            }
            if says && let Some(received) = self.message()? {
                return Ok(received);
            }
        }
    }

    /// Hears what control has said by now, and sends it what it takes without waiting.
    pub(super) fn poll(&mut self) -> Result<(), Failure> {
        self.keys.wipe_expired();
        while wait([(self.wire.as_fd(), PollFlags::IN)], Some(0)).map_err(|fatal| broken(&fatal))?
            == [true]
        {
            if let Some(received) = self.message()? {
                self.from_control.push_back(received);
            }
        }
        self.flush()
    }

    /// Sends to control what it takes without waiting.
    fn flush(&mut self) -> Result<(), Failure> {
        while let Some(message) = self.to_control.front() {
            if wait([(self.wire.as_fd(), PollFlags::OUT)], Some(0))
                .map_err(|fatal| broken(&fatal))?
                == [false]
            {
                break;
            }
            self.wire
                .send_encoded(message, &[])
                .map_err(|fatal| broken(&fatal))?;
            self.to_control.pop_front();
        }
        Ok(())
    }

    /// Sends a message to control, and hears control while its queue is full: control may wait for
    /// a client that is behind.
    pub(super) fn send(&mut self, message: &KeyholderToControl) -> Result<(), Failure> {
        self.say_later(message)?;
        self.flush()?;
        while !self.to_control.is_empty() {
            let polled = [
                (self.wire.as_fd(), PollFlags::OUT),
                (self.wire.as_fd(), PollFlags::IN),
            ];
            wait(polled, None).map_err(|fatal| broken(&fatal))?;
            self.poll()?;
        }
        Ok(())
    }

    /// Fails once the person has interrupted. Every loop that reads from a far end passes here.
    pub(super) fn unless_cancelled(&mut self) -> Result<(), Failure> {
        self.poll()?;
        if self.cancelled.is_some() {
            Err(Failure::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Waits until the other descriptor is ready or control says something; returns which.
    pub(super) fn wait_beside(
        &self,
        other: (BorrowedFd<'_>, PollFlags),
        timeout_ms: Option<u64>,
    ) -> Result<[bool; 2], Failure> {
        wait([other, (self.wire.as_fd(), PollFlags::IN)], timeout_ms)
            .map_err(|fatal| broken(&fatal))
    }

    /// Waits at most `timeout_ms` for a message of control, which is heard if it comes; returns
    /// whether it came.
    pub(super) fn hear_within(&mut self, timeout_ms: u64) -> Result<bool, Failure> {
        let said = wait([(self.wire.as_fd(), PollFlags::IN)], Some(timeout_ms))
            .map_err(|fatal| broken(&fatal))?
            == [true];
        if said && let Some(received) = self.message()? {
            self.from_control.push_back(received);
        }
        Ok(said)
    }

    /// Waits until a descriptor of the client is ready, and hears control meanwhile. `ECANCELED`
    /// after a cancel, `ETIMEDOUT` after `patience`.
    pub(super) fn wait_for_client(
        &mut self,
        descriptor: &OwnedFd,
        ready: PollFlags,
        patience: Duration,
    ) -> Result<(), Errno> {
        let until = Instant::now().checked_add(patience);
        loop {
            self.poll().map_err(|_| Errno::CANCELED)?;
            if self.cancelled.is_some() {
                return Err(Errno::CANCELED);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            let polled = [
                (descriptor.as_fd(), ready),
                (self.wire.as_fd(), PollFlags::IN),
            ];
            match wait(polled, left_ms).map_err(|_| Errno::IO)? {
                [true, _] => return Ok(()),
                [false, true] => {}
                [false, false] => return Err(Errno::TIMEDOUT),
            }
        }
    }
}

/// The failure after a wire broke: there is nobody left to whom it could be reported, and nothing
/// to finish.
pub(super) fn broken(fatal: &Fatal) -> Failure {
    if !matches!(fatal, Fatal::Gone(_)) {
        tracing::error!(reason = %fatal, "the keyholder stops its job");
    }
    Failure::internal("a wire between two roles broke")
}
