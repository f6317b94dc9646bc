// SPDX-License-Identifier: GPL-3.0-or-later
//! One client's conversation. Nothing here waits for the client: events that it does not take are
//! queued until it does, or until its time is over.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use wyng_control::{CONTROL_VERSION, Failure, ToClient, ToDaemon};

use crate::ipc::{Fatal, Received, Wire};

/// The name of clients in logs.
pub(super) const PEER: &str = "the client";
/// Maximum number of queued events; with more, the client's own command waits.
const BEHIND_MAX: usize = 256;
/// Maximum time for a connection before its command, and after the command's end. A client needs no
/// time for either.
const SILENCE: Duration = Duration::from_secs(10);
/// Maximum time for a client to take an event of a look. Other looks wait for this one.
const LOOK_PATIENCE: Duration = Duration::from_secs(30);

/// Number of messages that are read of a refused client: its greeting and its command.
const UNREAD_MAX: usize = 2;

/// The phase of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the client's greeting.
    Greeting,
    /// After the greeting, before the command.
    Idle,
    /// Other commands come first.
    Queued,
    /// The keyholder works on its command.
    Working,
    /// Its command gave its turn back while a person answers.
    Prompting,
    /// Its look runs or waits.
    Looking,
    /// The pool role answers it.
    AskingPools,
    /// The keyholder wipes keys for it.
    Locking,
    /// It watches the progress of other commands.
    Watching {
        /// It does so until it is gone, whether a command runs or not.
        stays: bool,
    },
    /// Its command has ended.
    Over,
}

pub(super) struct Client {
    wire: Wire<ToClient, ToDaemon>,
    phase: Phase,
    behind: VecDeque<ToClient>,
    uid: Option<u32>,
    /// When the phase began.
    since: Instant,
    /// When it last took an event, or had none to take.
    taken: Instant,
}

impl Client {
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Fatal> {
        rustix::fs::fcntl_setfl(
            &socket,
            rustix::fs::fcntl_getfl(&socket)? | rustix::fs::OFlags::NONBLOCK,
        )?;
        let uid = rustix::net::sockopt::socket_peercred(&socket)
            .ok()
            .map(|peer| peer.uid.as_raw());
        let now = Instant::now();
        let wire = Wire::new(socket, PEER);
        Ok(Self {
            wire,
            phase: Phase::Greeting,
            behind: VecDeque::new(),
            uid,
            since: now,
            taken: now,
        })
    }

    /// The user of the client's process, if it is known.
    pub(super) fn uid(&self) -> Option<u32> {
        self.uid
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> PollFd<'_> {
        let writes = if self.behind.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::OUT
        };
        PollFd::new(&self.wire, PollFlags::IN | writes)
    }

    /// Whether so many events are queued that its command has to wait.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.len() > BEHIND_MAX
    }

    /// Whether its command has ended and it has taken all events.
    pub(super) fn is_told_all(&self) -> bool {
        self.phase == Phase::Over && self.behind.is_empty()
    }

    /// When the connection ends if the client neither sends nor takes anything; none if there is no
    /// limit. `patience` is the time limit while its command waits for it.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        let (since, patience) = match self.phase {
            Phase::Greeting | Phase::Idle | Phase::Over => (self.since, SILENCE),
            Phase::Looking if self.is_behind() => (self.taken, LOOK_PATIENCE),
            Phase::Working if self.is_behind() => (self.taken, patience),
            // Other commands do not wait for a client that watches.
            Phase::Watching { .. } if self.is_behind() => (self.taken, Duration::ZERO),
            _ => return None,
        };
        since.checked_add(patience)
    }

    /// Reports why the client is refused, as far as it takes that at once. Messages that it has
    /// sent by now are read first: the kernel discards sent data when a socket is closed with
    /// unread data in it.
    pub(super) fn tell_and_drop(mut self, failure: Failure) {
        let exit = failure.exit();
        let told = [
            ToClient::Hello {
                version: CONTROL_VERSION,
            },
            ToClient::Failed(failure),
            ToClient::Done { exit },
        ];
        if told.into_iter().all(|event| self.tell(event).is_ok()) {
            for _ in 0..UNREAD_MAX {
                if self.receive().is_err() {
                    break;
                }
            }
        }
    }

    /// Sends an event now or queues it. Progress is never queued.
    pub(super) fn tell(&mut self, event: ToClient) -> Result<(), Fatal> {
        if self.behind.is_empty() {
            self.taken = Instant::now();
        }
        if self.behind.is_empty() || !matches!(event, ToClient::Progress(_)) {
            self.behind.push_back(event);
        }
        self.flush()
    }

    /// Sends queued events as far as the client takes them.
    pub(super) fn flush(&mut self) -> Result<(), Fatal> {
        while let Some(event) = self.behind.front() {
            match self.wire.send(event, &[]) {
                Ok(()) => self.behind.pop_front(),
                Err(Fatal::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(());
                }
                Err(fatal) => return Err(fatal),
            };
            self.taken = Instant::now();
        }
        Ok(())
    }

    pub(super) fn receive(&self) -> Result<Received<ToDaemon>, Fatal> {
        self.wire.receive()
    }
}
