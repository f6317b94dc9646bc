// SPDX-License-Identifier: GPL-3.0-or-later
//! What passes between the keyholder and the client of its command, by way of control: results,
//! passphrases, locks. Nothing here waits for a client without hearing control.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, splice};
use wyng_control::{Asked, Failure, ToClient};
use zeroize::Zeroizing;

use super::RealWorld;
use crate::ipc::{ControlToKeyholder, Encoded, Fatal, KeyholderToControl, Received, wait};
use crate::keyholder::job;

/// Numbers of passphrase questions; sources and targets count from 0.
const PASSPHRASE_ITEMS: u32 = 1 << 31;
/// Maximum length of a passphrase, bytes.
const PASSPHRASE_MAX_BYTES: usize = 1024;
/// A passphrase is in its pipe, and the pipe is closed, before it is passed on: the pipe is read
/// for no longer than this.
const PIPE_PATIENCE: Duration = Duration::from_secs(10);

/// A passphrase that was typed, and which one was asked for.
struct Typed {
    asked: Asked,
    secret: Zeroizing<Vec<u8>>,
}

/// Passphrases of commands that may have to begin anew.
///
/// While a person types, others may want the daemon. Then the command gives its turn back: it ends
/// without effect, and begins anew when the passphrase is there. What was typed before is kept
/// until the command goes on to its work, so that nobody is asked twice.
#[derive(Default)]
pub(super) struct Prompts {
    next_item: u32,
    /// The command that runs.
    turn: u64,
    /// What was typed for it in this turn.
    typed: Vec<Typed>,
    /// What was typed for it in earlier turns, and is to be answered again.
    replayed: VecDeque<Typed>,
    /// What was typed after it gave its turn back.
    pipe: Option<OwnedFd>,
    /// The question which that answers.
    asked: Option<Asked>,
    /// What was typed for commands that wait for their turn, and what they were asking when they
    /// gave it back.
    waiting: HashMap<u64, (Vec<Typed>, Option<Asked>)>,
    /// The turn is given back, while this was asked; no passphrase, where it was a look at a
    /// target.
    given_back: Option<Option<Asked>>,
}

impl Prompts {
    /// A command begins, perhaps anew.
    pub(super) fn begin(&mut self, turn: u64, pipe: Option<OwnedFd>) {
        let (replayed, asked) = self.waiting.remove(&turn).unwrap_or_default();
        (
            self.turn,
            self.replayed,
            self.pipe,
            self.asked,
            self.given_back,
        ) = (turn, replayed.into(), pipe, asked, None);
        self.typed.clear();
    }

    /// The command has ended. What was typed is wiped, unless it begins anew.
    pub(super) fn end(&mut self) {
        let typed = std::mem::take(&mut self.typed);
        if let Some(asked) = self.given_back {
            self.waiting.insert(self.turn, (typed, asked));
        }
        self.replayed.clear();
        self.pipe = None;
    }

    /// The command goes on to its work, and needs no longer what was typed.
    pub(super) fn work_begins(&mut self) {
        self.typed.clear();
    }

    /// A command that waited for its turn does not begin anew.
    pub(super) fn abandon(&mut self, turn: u64) {
        self.waiting.remove(&turn);
    }

    /// The command ends without effect, to begin anew with the answer to what was asked.
    pub(super) fn give_back(&mut self, asked: Option<Asked>) {
        self.given_back = Some(asked);
    }

    pub(super) fn has_given_back(&self) -> bool {
        self.given_back.is_some()
    }

    fn take_item(&mut self) -> u32 {
        let item = self.next_item.max(PASSPHRASE_ITEMS);
        self.next_item = item.checked_add(1).unwrap_or(PASSPHRASE_ITEMS);
        item
    }

    fn keep(&mut self, asked: Asked, secret: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
        self.typed.push(Typed {
            asked,
            secret: secret.clone(),
        });
        secret
    }
}

impl RealWorld {
    /// Takes one message from control. What needs no answer of the engine's is done at once and not
    /// returned: a cancel, a lock, the end of a far end.
    pub(super) fn control_message(
        &mut self,
    ) -> Result<Option<Received<ControlToKeyholder>>, Failure> {
        let received = self
            .control
            .receive()
            .map_err(|fatal| Self::fatal(&fatal))?;
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

    /// Wipes kept keys at once, whatever runs. A command that uses one of them still has it until
    /// it ends. Control hears of it when it takes the next message.
    pub(super) fn lock(&mut self, archive: Option<&str>) -> Result<(), Failure> {
        let failure = job::lock(self, archive).err();
        self.say_later(&KeyholderToControl::Locked(failure))
    }

    fn say_later(&mut self, message: &KeyholderToControl) -> Result<(), Failure> {
        self.to_control
            .push_back(Encoded::new(message).map_err(|fatal| Self::fatal(&fatal))?);
        Ok(())
    }

    /// The next answer of control.
    pub(super) fn control_answer(&mut self) -> Result<Received<ControlToKeyholder>, Failure> {
        loop {
            if let Some(received) = self.from_control.pop_front() {
                return Ok(received);
            }
            // A person may be asked, and a key's time may be over meanwhile; a lock is answered
            // before the person has answered.
            let timeout = self.wipe_expired();
            let unsaid = if self.to_control.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            let polled = [
                (self.control.as_fd(), PollFlags::IN),
                (self.control.as_fd(), unsaid),
            ];
            let [says, takes] = wait(polled, timeout).map_err(|fatal| Self::fatal(&fatal))?;
            if takes {
                self.flush_control()?;
            }
            if says && let Some(received) = self.control_message()? {
                return Ok(received);
            }
        }
    }

    /// Hears what control has said by now, and says what it takes.
    pub(super) fn poll_control(&mut self) -> Result<(), Failure> {
        self.wipe_expired();
        while wait([(self.control.as_fd(), PollFlags::IN)], Some(0))
            .map_err(|fatal| Self::fatal(&fatal))?
            == [true]
        {
            if let Some(received) = self.control_message()? {
                self.from_control.push_back(received);
            }
        }
        self.flush_control()
    }

    /// Says to control what it takes without waiting.
    pub(super) fn flush_control(&mut self) -> Result<(), Failure> {
        while let Some(message) = self.to_control.front() {
            if wait([(self.control.as_fd(), PollFlags::OUT)], Some(0))
                .map_err(|fatal| Self::fatal(&fatal))?
                == [false]
            {
                break;
            }
            self.control
                .send_encoded(message, &[])
                .map_err(|fatal| Self::fatal(&fatal))?;
            self.to_control.pop_front();
        }
        Ok(())
    }

    /// Says something to control, and hears it while its queue is full: control may wait for a
    /// client that is behind.
    pub(super) fn send_control(&mut self, message: &KeyholderToControl) -> Result<(), Failure> {
        self.say_later(message)?;
        self.flush_control()?;
        while !self.to_control.is_empty() {
            let polled = [
                (self.control.as_fd(), PollFlags::OUT),
                (self.control.as_fd(), PollFlags::IN),
            ];
            wait(polled, None).map_err(|fatal| Self::fatal(&fatal))?;
            self.poll_control()?;
        }
        Ok(())
    }

    /// Fails once the person has interrupted. Every loop that reads from a far end passes here.
    pub(super) fn unless_cancelled(&mut self) -> Result<(), Failure> {
        self.poll_control()?;
        if self.cancelled.is_some() {
            Err(Failure::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Waits until a descriptor of the client's is ready, and hears control meanwhile. `ECANCELED`
    /// after a cancel, `ETIMEDOUT` after `patience`.
    pub(super) fn wait_for_client(
        &mut self,
        descriptor: &OwnedFd,
        ready: PollFlags,
        patience: Duration,
    ) -> Result<(), Errno> {
        let until = Instant::now().checked_add(patience);
        loop {
            self.poll_control().map_err(|_| Errno::CANCELED)?;
            if self.cancelled.is_some() {
                return Err(Errno::CANCELED);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            let polled = [
                (descriptor.as_fd(), ready),
                (self.control.as_fd(), PollFlags::IN),
            ];
            match wait(polled, left_ms).map_err(|_| Errno::IO)? {
                [true, _] => return Ok(()),
                [false, true] => {}
                [false, false] => return Err(Errno::TIMEDOUT),
            }
        }
    }

    pub(super) fn ask_passphrase(&mut self, asked: Asked) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if let Some(typed) = self.prompts.replayed.pop_front() {
            if typed.asked == asked {
                return Ok(self.prompts.keep(asked, typed.secret));
            }
            // It is not the question of the last time: nothing is taken for its answer.
            self.prompts.replayed.clear();
            self.prompts.pipe = None;
        }
        if let Some(pipe) = self
            .prompts
            .pipe
            .take()
            .filter(|_| self.prompts.asked == Some(asked))
        {
            return self.read_passphrase(&pipe, asked);
        }
        let item = self.prompts.take_item();
        self.send_control(&KeyholderToControl::WantPassphrase { item, asked })?;
        let received = self.control_answer()?;
        match received.message {
            ControlToKeyholder::Passphrase { item: found } if found == item => {
                let pipe = received.descriptor().map_err(|fatal| Self::fatal(&fatal))?;
                self.read_passphrase(&pipe, asked)
            }
            ControlToKeyholder::NoPassphrase { item: found } if found == item => {
                Err(if self.cancelled.is_some() {
                    Failure::Interrupted
                } else {
                    Failure::NoPassphrase
                })
            }
            ControlToKeyholder::GiveBack => {
                self.prompts.give_back(Some(asked));
                Err(Failure::Interrupted)
            }
            _ => Err(Self::fatal(&Fatal::Unexpected("control"))),
        }
    }

    fn read_passphrase(
        &mut self,
        pipe: &OwnedFd,
        asked: Asked,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match self.read_secret(pipe) {
            Ok(secret) => Ok(self.prompts.keep(asked, secret)),
            Err(Errno::CANCELED) => Err(Failure::Interrupted),
            Err(errno) => {
                tracing::info!(%errno, "a passphrase's pipe cannot be read");
                Err(Failure::NoPassphrase)
            }
        }
    }

    /// Reads a client's pipe to its end, without leaving copies behind as a growing buffer would.
    /// The client may hold the pipe too, and could have a read of it wait for ever: so its pages
    /// are moved into a pipe that nobody else has.
    fn read_secret(&mut self, pipe: &OwnedFd) -> Result<Zeroizing<Vec<u8>>, Errno> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(pipe)?.st_mode);
        if kind != FileType::Fifo {
            return Err(Errno::INVAL);
        }
        let (own_end, own_begin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let mut secret = Zeroizing::new(vec![0; PASSPHRASE_MAX_BYTES + 1]);
        let mut length = 0usize;
        let until = Instant::now()
            .checked_add(PIPE_PATIENCE)
            .ok_or(Errno::TIMEDOUT)?;
        while let Some(room) = secret.get_mut(length..).filter(|room| !room.is_empty()) {
            match splice(
                pipe,
                None,
                &own_begin,
                None,
                room.len(),
                SpliceFlags::NONBLOCK,
            ) {
                Ok(0) => break,
                Ok(_) => {
                    length = length.saturating_add(rustix::io::retry_on_intr(|| {
                        rustix::io::read(&own_end, &mut *room)
                    })?)
                }
                Err(Errno::AGAIN) => self.wait_for_client(
                    pipe,
                    PollFlags::IN,
                    until.saturating_duration_since(Instant::now()),
                )?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        secret.truncate(length);
        Ok(secret)
    }

    pub(super) fn write_secret(&mut self, text: &[u8]) -> Result<(), Failure> {
        let item = self.prompts.take_item();
        self.send_control(&KeyholderToControl::WantSecretPipe { item })?;
        let received = self.control_answer()?;
        match received.message {
            ControlToKeyholder::Passphrase { item: found } if found == item => {
                let pipe = received.descriptor().map_err(|fatal| Self::fatal(&fatal))?;
                put_secret(&pipe, text).map_err(|errno| {
                    tracing::info!(%errno, "a pipe for a secret takes none");
                    Failure::NoPassphrase
                })
            }
            ControlToKeyholder::NoPassphrase { item: found } if found == item => {
                Err(Failure::NoPassphrase)
            }
            _ => Err(Self::fatal(&Fatal::Unexpected("control"))),
        }
    }

    pub(super) fn tell_client(&mut self, event: ToClient) -> Result<(), Failure> {
        self.send_control(&KeyholderToControl::Tell(event))
    }
}

/// Puts a short text into an empty pipe of the client's at once, or not at all.
fn put_secret(pipe: &OwnedFd, text: &[u8]) -> Result<(), Errno> {
    let (own_end, own_begin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&own_begin, text))?;
    let moved = splice(&own_end, None, pipe, None, written, SpliceFlags::NONBLOCK)?;
    if moved == text.len() {
        Ok(())
    } else {
        Err(Errno::AGAIN)
    }
}
