// SPDX-License-Identifier: GPL-3.0-or-later
//! One client's conversation. Nothing here waits for it: what it does not take stays here until it
//! does, or until its time is over.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use wyng_control::{CONTROL_VERSION, Failure, ToClient, ToDaemon};

use crate::ipc::{Fatal, Received, Wire};

/// How clients are called in logs.
pub(super) const PEER: &str = "the client";
/// A client that is so many messages behind makes its own command wait.
const BEHIND_MAX: usize = 256;
/// How long a client may be connected without a command, and after its end: both are said at once.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of a look. Others look after it.
const LOOK_PATIENCE: Duration = Duration::from_secs(30);

/// How much of a client that is hung up on is read: its greeting and its command.
const UNREAD_MAX: usize = 2;

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the client's first word.
    Greeting,
    /// Before its command.
    Idle,
    /// Others' commands come first.
    Queued,
    /// The keyholder works.
    Working,
    /// Its command gave its turn back, and a passphrase is typed meanwhile.
    Prompting,
    /// It looks, or others look before it.
    Looking,
    /// The keyholder wipes keys for it.
    Locking,
    /// It hears how far others' commands are.
    Watching,
    /// Its command has ended.
    Over,
}

pub(super) struct Client {
    wire: Wire<ToClient, ToDaemon>,
    phase: Phase,
    behind: VecDeque<ToClient>,
    uid: Option<u32>,
    /// Since when the phase is what it is.
    since: Instant,
    /// When it last took something, or had nothing to take.
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

    /// Whose process connected.
    pub(super) fn uid(&self) -> Option<u32> {
        self.uid
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFd<'_> {
        let writes = if self.behind.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::OUT
        };
        PollFd::new(&self.wire, PollFlags::IN | writes)
    }

    /// Whether it has so much to take that its command has to wait.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.len() > BEHIND_MAX
    }

    /// Whether its command has ended and it has heard of that.
    pub(super) fn is_told_all(&self) -> bool {
        self.phase == Phase::Over && self.behind.is_empty()
    }

    /// When it is hung up on if it neither says nor takes anything; none: it may wait. `patience`
    /// is for a client whose command waits for it.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        let (since, patience) = match self.phase {
            Phase::Greeting | Phase::Idle | Phase::Over => (self.since, SILENCE),
            Phase::Looking if self.is_behind() => (self.taken, LOOK_PATIENCE),
            Phase::Working if self.is_behind() => (self.taken, patience),
            // It hears of others' commands, which go on without it.
            Phase::Watching if self.is_behind() => (self.taken, Duration::ZERO),
            _ => return None,
        };
        since.checked_add(patience)
    }

    /// Says why nothing can be done for it, as far as it takes that at once. What it has said by
    /// now is taken from the socket first: the kernel gives up what was sent when a socket is
    /// closed with something unread in it.
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

    /// Says something now or later. How far a job was is not said later.
    pub(super) fn tell(&mut self, event: ToClient) -> Result<(), Fatal> {
        if self.behind.is_empty() {
            self.taken = Instant::now();
        }
        if self.behind.is_empty() || !matches!(event, ToClient::Progress(_)) {
            self.behind.push_back(event);
        }
        self.flush()
    }

    /// Says what it takes.
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
