// SPDX-License-Identifier: GPL-3.0-or-later
//! One client's conversation. Nothing here waits for it: what it does not take stays here until it does.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use wyng_control::{ToClient, ToDaemon};

use crate::ipc::{Fatal, Received, Wire};

/// How clients are called in logs.
pub(super) const PEER: &str = "the client";

/// Where a conversation stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the client's first word.
    Greeting,
    /// Before its command.
    Idle,
    /// Others' commands come first.
    Queued,
    /// The keyholder works.
    Working,
    /// It hears how far others' commands are.
    Watching,
    /// Its command has ended.
    Over,
}

pub(super) struct Client {
    wire: Wire<ToClient, ToDaemon>,
    pub(super) phase: Phase,
    behind: VecDeque<ToClient>,
    uid: Option<u32>,
}

impl Client {
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Fatal> {
        rustix::fs::fcntl_setfl(&socket, rustix::fs::fcntl_getfl(&socket)? | rustix::fs::OFlags::NONBLOCK)?;
        let uid = rustix::net::sockopt::socket_peercred(&socket).ok().map(|peer| peer.uid.as_raw());
        Ok(Self { wire: Wire::new(socket, PEER), phase: Phase::Greeting, behind: VecDeque::new(), uid })
    }

    /// Whose process connected.
    pub(super) fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFd<'_> {
        let writes = if self.behind.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        PollFd::new(&self.wire, PollFlags::IN | writes)
    }

    /// How many messages it has not taken.
    pub(super) fn behind(&self) -> usize {
        self.behind.len()
    }

    /// Whether its command has ended and it has heard of that.
    pub(super) fn is_told_all(&self) -> bool {
        self.phase == Phase::Over && self.behind.is_empty()
    }

    /// Says something now or later. How far a job was is not said later.
    pub(super) fn tell(&mut self, event: ToClient) -> Result<(), Fatal> {
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
                Err(Fatal::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(fatal) => return Err(fatal),
            };
        }
        Ok(())
    }

    pub(super) fn receive(&self) -> Result<Received<ToDaemon>, Fatal> {
        self.wire.receive()
    }
}
